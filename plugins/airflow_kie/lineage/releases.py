"""The lineage of a release: from the songs and their archived files to those that are delivered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_kie.client.operations.suno import MUSIC
from airflow_kie.lineage.facts import Dataset, Facts, Made, TaskLineage, at_kie

if TYPE_CHECKING:
    from airflow_kie.archive.delivery.records import ReleaseManifest


def to_release(songs: Sequence[str]) -> TaskLineage:
    """Return the songs that a release is made from.

    :param songs: their music task ids.
    """
    return TaskLineage(tuple(at_kie(MUSIC.name, song) for song in songs), (), Facts("release", ""))


def of_release(
    begun: TaskLineage, bucket: str, folder: str, manifest: ReleaseManifest, *, changed: bool
) -> TaskLineage:
    """Return the lineage of a release: archived files in, delivered files out.

    :param begun: of :func:`to_release`.
    :param bucket: where both are.
    :param folder: the release's, with its slash.
    :param manifest: the release's.
    :param changed: something was stored now; otherwise nothing was made.
    """
    place = f"s3://{bucket}"
    keys = [key for file in manifest.files for key in (file.made_from, file.enlarged_from) if key]
    sources = {key: Dataset(place, key) for key in keys}
    made = tuple(
        Dataset(
            place,
            f"{folder}{file.name}",
            Made(
                "delivered",
                made_from=sources.get(file.made_from or ""),
                size=file.size,
                sha256=file.sha256,
                content_type=file.content_type,
            ),
        )
        for file in manifest.files
    )
    facts = replace(begun.facts, changed=changed)
    return TaskLineage((*begun.inputs, *sources.values()), made if changed else (), facts)
