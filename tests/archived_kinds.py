"""What KIE has of a song, for manifests that tests write themselves."""

from __future__ import annotations

from airflow_kie.archive.manifest import AvailableRecord, FileRecord


def all_archived(*files: FileRecord) -> tuple[AvailableRecord, ...]:
    """Return that KIE has these files of their kinds and no more."""
    kinds = sorted({file.kind for file in files})
    return tuple(
        AvailableRecord(kind=kind, positions=tuple(file.position for file in files if file.kind == kind))
        for kind in kinds
    )
