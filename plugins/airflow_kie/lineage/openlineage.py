"""Our lineage as OpenLineage's records. Imported by the methods that its listener calls, and by nothing else.

``openlineage.schema.json`` beside this module is the published schema of the facets; they only grow.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

import attrs
from airflow.providers.openlineage.extractors import OperatorLineage
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    DatasetFacet,
    OutputDatasetFacet,
    RunFacet,
    dataset_version_dataset,
    output_statistics_output_dataset,
)

from airflow_kie.lineage.facts import Dataset, Facts, Made, TaskLineage

SCHEMA = "urn:airflow-provider-kie-ai:openlineage:1"
FACET = "kie"
"""The name of our facets, of runs and of outputs."""


@attrs.define
class KieRunFacet(RunFacet):
    """What is known of a run of a task; :class:`~airflow_kie.lineage.facts.Facts` says what the fields mean."""

    operation: str
    kie_conn_id: str
    task_id: str | None = None
    music_task_id: str | None = None
    cover_task_ids: list[str] = attrs.Factory(list)
    model: str | None = None
    credits: float | None = None
    attempts: int | None = None
    failed_task_ids: list[str] = attrs.Factory(list)
    failures: dict[str, int] | None = None
    adopted: bool | None = None
    wait_seconds: float | None = None
    completion_source: str | None = None
    changed: bool | None = None
    prompt: dict[str, Any] | None = None
    lyrics: list[dict[str, Any]] = attrs.Factory(list)

    # Airflow masks fields by name. A deployment that adds `prompt` to these names, for the form, keeps our hashes.
    _additional_skip_redact: ClassVar[list[str]] = ["task_id", "music_task_id", "prompt", "lyrics"]

    @staticmethod
    def _get_schema() -> str:
        return f"{SCHEMA}#/$defs/KieRunFacet"


@attrs.define
class KieOutputDatasetFacet(OutputDatasetFacet):
    """What is known of something that was made; :class:`~airflow_kie.lineage.facts.Made` says what the fields mean."""

    kind: str
    task_id: str | None = None
    made_from: dict[str, str] | None = None
    expires_at: str | None = None
    files: int | None = None
    position: int | None = None
    size: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    audio_id: str | None = None

    @staticmethod
    def _get_schema() -> str:
        return f"{SCHEMA}#/$defs/KieOutputDatasetFacet"


def operator_lineage(lineage: TaskLineage) -> OperatorLineage[Any, Any]:
    """Return the lineage of a task as OpenLineage's listener takes it.

    :param lineage: what the task has read and made.
    """
    return OperatorLineage(
        inputs=[InputDataset(namespace=found.namespace, name=found.name) for found in lineage.inputs],
        outputs=[_output(made) for made in lineage.outputs],
        run_facets={FACET: _run_facet(lineage.facts)},
    )


def _run_facet(facts: Facts) -> KieRunFacet:
    fields: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(facts).items()
    }
    return KieRunFacet(**fields)


def _output(dataset: Dataset) -> OutputDataset:
    made = dataset.made or Made("unknown")
    source = {"namespace": made.made_from.namespace, "name": made.made_from.name} if made.made_from else None
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        size=made.size, fileCount=1 if made.files is None else made.files
    )
    facets: dict[str, DatasetFacet] = {}
    if made.sha256:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(made.sha256)
    return OutputDataset(
        namespace=dataset.namespace,
        name=dataset.name,
        facets=facets,
        outputFacets={
            FACET: KieOutputDatasetFacet(**{**asdict(made), "made_from": source}),
            "outputStatistics": statistics,
        },
    )
