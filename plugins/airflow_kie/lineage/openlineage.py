"""Our lineage as OpenLineage's records. Imported by the methods that its listener calls, and by nothing else.

``openlineage.schema.json`` beside this module is the published schema of the facets; they only grow.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

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


def _facet(base: type[Any], record: type[Any], name: str, not_masked: tuple[str, ...] = ()) -> Any:
    """Return a class of facets with the fields of a record, which says what they mean."""
    optional = {field.name: attrs.field(default=None) for field in fields(record)}
    schema = staticmethod(lambda: f"{SCHEMA}#/$defs/{name}")
    # Airflow masks fields by name. A deployment that adds `prompt` to these names, for the form, keeps our hashes.
    body = {"_get_schema": schema, "_additional_skip_redact": [*base._additional_skip_redact, *not_masked]}
    return attrs.make_class(name, optional, bases=(base,), class_body=body)


KieRunFacet = _facet(RunFacet, Facts, "KieRunFacet", ("task_id", "music_task_id", "prompt", "lyrics"))
KieOutputDatasetFacet = _facet(OutputDatasetFacet, Made, "KieOutputDatasetFacet")


def operator_lineage(lineage: TaskLineage) -> OperatorLineage[Any, Any]:
    """Return the lineage of a task as OpenLineage's listener takes it.

    :param lineage: what the task has read and made.
    """
    known = asdict(lineage.facts).items()
    facts = {name: list(value) if isinstance(value, tuple) else value for name, value in known}
    return OperatorLineage(
        inputs=[InputDataset(namespace=found.namespace, name=found.name) for found in lineage.inputs],
        outputs=[_output(made) for made in lineage.outputs],
        run_facets={FACET: KieRunFacet(**facts)},
    )


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
