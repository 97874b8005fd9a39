"""Which files a run has newly archived, and the events that report them: also after a crash, never old ones."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]  # NEVER_EXPIRE: not in its stub

from airflow_kie._airflow_private.asset import cheap_asset
from airflow_kie.assets import ARCHIVE
from airflow_kie.assets import COVER as COVER_ASSET
from airflow_kie.lineage.facts import Text

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

    from airflow_kie.archive.manifest import FileRecord, Manifest


@dataclass(frozen=True)
class NewFiles:
    """Knows which files of a song this run has archived, over all attempts of its task.

    An attempt can be killed after it wrote the manifest and before Airflow knows of its success: the next one finds
    every file archived, and still has to send the events. So the time at which a run begins to archive is stored first;
    a retry keeps it, and a clear, which may follow a success, begins again.

    :param context: the task's context.
    :param music_task_id: the song.
    """

    context: Context
    music_task_id: str

    def begin(self) -> None:
        """Store when this run begins to archive, before anything is written."""
        if self._since() is None:
            now = math.floor(time.time() * 1000) / 1000  # the manifest's times are cut to milliseconds
            stored = {"at": now, "max_tries": self.context["ti"].max_tries}
            self._store.set(f"archiving/{self.music_task_id}", stored, retention=NEVER_EXPIRE)

    def among(self, manifest: Manifest) -> tuple[FileRecord, ...]:
        """Return the files of a manifest that this run has archived."""
        since, ti, wrote = self._since(), self.context["ti"], manifest.airflow
        if since is None or (wrote.dag_id, wrote.run_id) != (ti.dag_id, ti.run_id):
            return ()
        return tuple(file for file in manifest.files if file.archived_at.timestamp() >= since)

    def _since(self) -> float | None:
        stored = self._store.get(f"archiving/{self.music_task_id}")
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
    manifest_key: str,
    manifest: Manifest,
    added: Sequence[FileRecord],
) -> None:
    """Send "a cover was archived" and "the archive has changed", for those assets that are among the outlets.

    :param operator: the task; an outlet for which nothing has changed is removed from it, since Airflow sends an event
        for every asset among the outlets of a task that succeeds.
    :param context: its context.
    :param bucket: where the files are.
    :param prefix: the archive's prefix.
    :param manifest_key: the key of the song's manifest.
    :param manifest: what the song's folder holds.
    :param added: the files that this run has archived.
    """
    extra = _extra(bucket, manifest_key, manifest)
    if not any(file.kind == "cover" for file in added):
        operator.outlets = [outlet for outlet in operator.outlets if outlet != COVER_ASSET]
    elif COVER_ASSET in operator.outlets:
        events = context["outlet_events"][COVER_ASSET]
        events.add_partitions(manifest.music_task_id)
        events.extra = extra
    if added and ARCHIVE in operator.outlets:
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
