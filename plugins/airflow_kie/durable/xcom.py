"""The XCom keys of the chain, and what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

ARCHIVED_KEY = "archived_already"
"""XCom key of the songs that had all that was requested before the run began."""
ARCHIVED_ALREADY = "archived already"
"""What the report of a run says became of these."""


FAILURE_KEY = "failure"
"""XCom key under which a task of the chain says why it failed."""


INCIDENT_CHANGES_KEY = "incident_changes"
"""XCom key of how incidents have changed: the task that sends messages reads it."""


MADE_TWICE_KEY = "made_twice"
"""XCom key of a song whose cover, which costs nothing, was made once more since an answer was lost."""


def result_of(bucket: str, manifest_key: str, manifest: Any, *, changed: bool) -> dict[str, Any]:
    """Return what goes into XCom of an archived song; its shape only grows."""
    return {
        "music_task_id": manifest.music_task_id,
        "title": manifest.song.title,
        **files_of(bucket, manifest_key, manifest, changed=changed),
    }


def files_of(bucket: str, manifest_key: str, manifest: Any, *, changed: bool) -> dict[str, Any]:
    """Return what goes into XCom of a manifest."""
    return {
        "bucket": bucket,
        "manifest_key": manifest_key,
        "changed": changed,
        "credits": manifest.credits,
        "warnings": list(manifest.warnings),
        "files": files_in(manifest.files),
    }


def files_in(files: Iterable[Any]) -> list[Mapping[str, Any]]:
    """Return what goes into XCom of archived files."""
    return [{"key": file.key, "kind": file.kind, "size": file.size, "sha256": file.sha256} for file in files]
