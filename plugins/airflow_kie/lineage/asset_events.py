"""Which files a run has newly archived, and the events that report them: also after a crash, never old ones."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]  # NEVER_EXPIRE: not in its stub

from airflow_kie._airflow_private.asset import cheap_asset
from airflow_kie.assets import ARCHIVE
from airflow_kie.assets import COVER as COVER_ASSET
from airflow_kie.lineage.facts import Text

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

    from airflow_kie.archive.manifest import AirflowRecord, FileRecord, Manifest, TaskManifest


@dataclass(frozen=True)
class NewFiles:
    """Knows which files of a song or task this run has archived, over all attempts of its Airflow task.

    An attempt can be killed after it wrote the manifest and before Airflow knows of its success: the next one finds
    every file archived, and still has to send the events. So the time at which a run begins to archive is stored first;
    a retry keeps it, and a clear, which may follow a success, begins again.

    :param context: the task's context.
    :param name: the id of the song or task, or a name for a batch of songs.
    """

    context: Context
    name: str

    def begin(self) -> float:
        """Store when this run begins to archive, before anything is written; return it."""
        since = self._since()
        if since is None:
            since = math.floor(time.time() * 1000) / 1000  # the manifest's times are cut to milliseconds
            stored = {"at": since, "max_tries": self.context["ti"].max_tries}
            self._store.set(f"archiving/{self.name}", stored, retention=NEVER_EXPIRE)
        return since

    def among(self, manifest: TaskManifest, since: float | None = None) -> tuple[FileRecord, ...]:
        """Return the files of a manifest that this run has archived.

        :param since: what :meth:`begin` returned; None: it is read.
        """
        since = self._since() if since is None else since
        if since is None:
            return ()
        return tuple(file for file in manifest.files if self.wrote(manifest.airflow, file.archived_at, since))

    def wrote(self, by: AirflowRecord, at: datetime, since: float) -> bool:
        """Return whether this run has written something since it began.

        :param by: who has written it.
        :param at: when.
        :param since: what :meth:`begin` returned.
        """
        ti = self.context["ti"]
        return (by.dag_id, by.run_id) == (ti.dag_id, ti.run_id) and at.timestamp() >= since

    def _since(self) -> float | None:
        stored = self._store.get(f"archiving/{self.name}")
        this_try = isinstance(stored, dict) and stored.get("max_tries") == self.context["ti"].max_tries
        return float(stored["at"]) if this_try else None

    @property
    def _store(self) -> Any:
        return self.context["task_state_store"]


def emit_new_files(
    operator: BaseOperator,
    context: Context,
    bucket: str,
    prefix: str,
    songs: Sequence[tuple[str, Manifest, Sequence[FileRecord]]],
) -> None:
    """Send "a cover was archived" and "the archive has changed", for those assets that are among the outlets.

    Of several songs, each has an event with its id as partition; what the events say besides is the same for all.

    :param operator: the task; an outlet for which nothing has changed is removed from it, since Airflow sends an event
        for every asset among the outlets of a task that succeeds.
    :param context: its context.
    :param bucket: where the files are.
    :param prefix: the archive's prefix.
    :param songs: of each the key of its manifest, what the manifest says, and the files that this run has archived.
    """
    changed = [song for song in songs if song[2]]
    covered = [manifest.music_task_id for _, manifest, added in changed if any(file.kind == "cover" for file in added)]
    if len(songs) == 1:
        extra = {"prefix": prefix.strip("/"), **_extra(bucket, *songs[0][:2])}
    else:
        extra = {"prefix": prefix.strip("/"), "bucket": bucket, "kie_conn_id": songs[0][1].kie_conn_id}
    if not covered:
        operator.outlets = [outlet for outlet in operator.outlets if outlet != COVER_ASSET]
    elif COVER_ASSET in operator.outlets:
        events = context["outlet_events"][COVER_ASSET]
        events.add_partitions(covered)
        events.extra = extra
    if changed and ARCHIVE in operator.outlets:
        uri = f"s3://{bucket}/{prefix.strip('/')}".rstrip("/")
        place = cheap_asset(uri)
        context["outlet_events"][ARCHIVE].add(place, extra=extra)


def _extra(bucket: str, manifest_key: str, manifest: Manifest) -> dict[str, Any]:
    prompt = Text.of(manifest.song.prompt) if manifest.song.prompt else None
    extra: dict[str, Any] = {
        "music_task_id": manifest.music_task_id,
        "kie_conn_id": manifest.kie_conn_id,
        "title": manifest.song.title,
        "bucket": bucket,
        "manifest_key": manifest_key,
        "files": [
            {"key": file.key, "kind": file.kind, "size": file.size, "sha256": file.sha256} for file in manifest.files
        ],
        "prompt_sha256": prompt.sha256 if prompt else None,
        "prompt_length": prompt.length if prompt else None,
    }
    return {**extra, "prompt": prompt.text} if prompt and prompt.text else extra
