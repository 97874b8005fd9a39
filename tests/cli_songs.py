"""Songs in a bucket, what `airflow kie where` and `redrive` say of them, and their runs."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.manifest import AirflowRecord, FileRecord, Manifest, SongRecord
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.cli import backlog, library, where
from archived_kinds import all_archived

KEYS = ArchiveKeys("songs")
SONG, OTHER, THIRD = (f"{number:032x}" for number in range(1, 4))
COVER = "c0ffee00" * 4
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Ran:
    """What a command printed, and its exit code."""

    code: Any
    out: str
    err: str


@dataclass(frozen=True)
class Songs:
    """The bucket's songs, and the two commands."""

    bucket: Bucket
    capsys: pytest.CaptureFixture[str]

    def owed(self, music_task_id: str, **known: Any) -> None:
        SongArchive(self.bucket, KEYS.song(music_task_id)).update_pending(received_from="event", **known)

    def archived(self, music_task_id: str) -> None:
        own = KEYS.song(music_task_id)
        file = FileRecord(
            key=own.file("cover", 1, "png"), kind="cover", position=1, size=7, sha256="0" * 64,
            content_type="image/png",
            archived_at=NOW,
        )  # fmt: skip
        manifest = Manifest(
            music_task_id=music_task_id, cover_task_ids=(COVER,), files=(file,), available=all_archived(file),
            song=SongRecord(title="Velvet Harbour"), airflow=AirflowRecord(dag_id="music_cover", run_id="event__7"),
            created_at=NOW, updated_at=NOW,
        )  # fmt: skip
        self.bucket.put_json(manifest.to_json(), own.manifest)

    def where(self, task_id: str, archive: str | None = None) -> Ran:
        return self._run(where.where, id=task_id, archive=archive)

    def redrive(self, **options: Any) -> Ran:
        defaults = {"id": None, "reason": None, "since": None, "run": None, "dry_run": False, "yes": True}
        return self._run(backlog.redrive, **defaults | options)

    def forget(self, task_id: str, *, yes: bool = True) -> Ran:
        return self._run(backlog.forget, id=task_id, yes=yes)

    def delete(self, task_id: str, *, yes: bool = False, archive: str | None = None) -> Ran:
        return self._run(library.delete, id=task_id, yes=yes, archive=archive)

    def _run(self, command: Callable[[Namespace], None], **arguments: Any) -> Ran:
        with pytest.raises(SystemExit) as ended:
            command(Namespace(**arguments))
        printed = self.capsys.readouterr()
        return Ran(ended.value.code, printed.out, printed.err)


def run_of(music_task_id: str, state: str, run_id: str = "event__1") -> Any:
    """Return a run that an event started for a song."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.types import DagRunType

    return DagRun(
        dag_id="music_cover", run_id=run_id, run_type=DagRunType.ASSET_TRIGGERED, state=state,
        partition_key=music_task_id,
    )  # fmt: skip
