"""The end of a run: what became of each of its songs, in sentences; a run with a failed song fails."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from airflow.sdk import NEVER_EXPIRE, BaseOperator  # type: ignore[attr-defined]  # NEVER_EXPIRE: not in its stub
from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError

from airflow_kie import settings
from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.assets import PENDING
from airflow_kie.client.errors import KieError
from airflow_kie.client.redact import one_line, without_urls
from airflow_kie.durable.defaults import RETRIES
from airflow_kie.durable.song_batch import TakesSongs, songs_of
from airflow_kie.durable.xcom import ARCHIVED_ALREADY, ARCHIVED_KEY, FAILURE_KEY, MADE_TWICE_KEY
from airflow_kie.links.kie import SONG_PAGES_DAG_ID

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.hooks.archive import ExtraArgs

_PARALLEL = 8
"""Requests to S3 at a time, while failures are recorded."""
_REPORTED = "reported"
_KEPT = "Anything already paid for is kept and is not paid for again. No retry can help."


class KieSongReportOperator(BaseOperator):
    """Reports the result of every song of a run, and fails if a song failed. It is the run's last task.

    Clear only this task to retry the failed songs: it starts a new run of `music_cover` for them and succeeds. If that
    DAG is missing or paused, or their archive is not the one configured in `[kie]`, clear their failed tasks instead.

    :param songs: what :class:`KieSongListOperator` returned.
    :param list_task_id: its task id.
    :param chain_task_ids: the tasks of a song, in order: the second one creates its cover, the last one archives. The
        first one that failed gives the reason.
    :param aws_conn_id: Airflow connection for S3. The reason is written to a failed song's pending record, so that DAG
        `cover_inbox` knows whether a retry can help.
    :param extra_args: for S3, such as ``{"ServerSideEncryption": "aws:kms"}``; None: `[kie] s3_extra_args`.
    """

    template_fields: Sequence[str] = ("songs", "aws_conn_id", "extra_args")
    ui_color = "#eeeeee"

    def __init__(
        self,
        *,
        songs: Any,
        list_task_id: str,
        chain_task_ids: Sequence[str],
        aws_conn_id: str | None = "aws_default",
        extra_args: ExtraArgs = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"retries": RETRIES, "outlets": [PENDING], **kwargs})
        self.songs = songs
        self.list_task_id = list_task_id
        self.chain_task_ids = tuple(chain_task_ids)
        self.aws_conn_id = aws_conn_id
        self.extra_args = extra_args

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Log and return the table: song, result, keys, reason.

        :raises AirflowFailException: when songs are not archived; it counts and names them.
        """
        songs, self.outlets = self.songs, [outlet for outlet in self.outlets if outlet != PENDING]
        if not isinstance(songs, list):
            raise AirflowFailException(
                f"Nothing was started: task {self.list_task_id} did not finish. {_KEPT} Fix what the log of "
                f"{self.list_task_id} names and clear it. {KieError.by_when}"
            )
        songs = self._songs(songs)
        archived = _pulled(context, self.chain_task_ids[-1], "return_value")
        failures: dict[str, Mapping[str, Any]] = {}
        for task_id in reversed(self.chain_task_ids):
            failures.update(_pulled(context, task_id, FAILURE_KEY))
        twice = {name for task_id in self.chain_task_ids[1:2] for name in _pulled(context, task_id, MADE_TWICE_KEY)}
        rows = [_row(song, ARCHIVED_ALREADY) for song in _pulled(context, self.list_task_id, ARCHIVED_KEY).values()]
        for song in songs:
            name = song["music_task_id"]
            rows.append(_row(archived[name], "archived") if name in archived else _not_archived(name, failures))
        rows = [{**row, "made_twice": row["music_task_id"] in twice} for row in rows]
        context["ti"].xcom_push(key="table", value=rows)
        for row in rows:
            self.log.info("%s", " | ".join(one_line(cell) for cell in _cells(row)))
        left = [song for song in songs if song["music_task_id"] not in archived]
        if left and self._was_reported(context, failures) and self._start_again(context["ti"], left):
            self.outlets.append(PENDING)
            return rows
        # After the table: a bucket that cannot be opened hides nothing.
        self._record_failures([song for song in left if song["music_task_id"] in failures], failures)
        if any(row["reason"] for row in rows):
            raise AirflowFailException(_verdict(rows))
        self.log.info("%s", _verdict(rows))
        return rows

    def _was_reported(self, context: Context, failures: Mapping[str, Mapping[str, Any]]) -> bool:
        """Return whether these very failures were reported before somebody has cleared this task."""
        store, tries = context["task_state_store"], context["ti"].max_tries
        digest = hashlib.sha256(json.dumps(failures, sort_keys=True).encode()).hexdigest()
        before: Any = store.get(_REPORTED) or {}
        store.set(_REPORTED, {"failures": digest, "max_tries": tries}, retention=NEVER_EXPIRE)
        return before.get("failures") == digest and bool(before["max_tries"] < tries)

    def _start_again(self, ti: Any, songs: Sequence[Mapping[str, Any]]) -> bool:
        """Let a run that is woken take these songs; return False where none would find them."""
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.archive.pending import list_held
        from airflow_kie.hooks.archive import open_bucket

        place = (settings.text("bucket"), settings.text("prefix", "songs").strip("/"))
        if (songs[0]["bucket"], songs[0]["prefix"].strip("/")) != place:
            self.log.warning("These songs are not in the archive that [kie] names: clear their failed tasks instead.")
            return False
        try:
            is_paused = ti.get_dag(SONG_PAGES_DAG_ID).is_paused
        except AirflowRuntimeError:  # there is none
            is_paused = True
        if is_paused:
            self.log.warning("music_cover is paused or missing: unpause it, or clear the songs' failed tasks.")
            return False
        bucket = open_bucket(self.aws_conn_id, place[0], self.extra_args)
        held, named = list_held(bucket, ArchiveKeys(place[1])), {song["music_task_id"] for song in songs}
        with ThreadPoolExecutor(_PARALLEL) as pool:
            list(pool.map(bucket.delete, [one.key for song, one in held.items() if song in named]))
        self.log.info("Restarted %s in a new run of music_cover.", counted(len(songs)))
        return True

    def _songs(self, batches: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return every song of the run's batches, each with where it is archived."""
        from airflow_kie.hooks.archive import open_bucket

        if not any("list" in batch for batch in batches):
            return list(batches)
        bucket = open_bucket(self.aws_conn_id, batches[0]["bucket"], self.extra_args)
        return [
            {**song, "bucket": batch["bucket"], "prefix": batch["prefix"]}
            for batch in batches
            for song in songs_of(bucket, batch)
        ]

    def _record_failures(self, songs: Sequence[Mapping[str, Any]], failures: Mapping[str, Mapping[str, Any]]) -> None:
        """Write into the pending records why these songs failed."""
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.archive.song_folder import SongArchive
        from airflow_kie.hooks.archive import open_bucket

        def record(song: Mapping[str, Any]) -> None:
            failure = failures[song["music_task_id"]]
            archive = SongArchive(bucket, ArchiveKeys(song["prefix"]).song(song["music_task_id"]))
            try:
                title = one_line(failure["title"]) if failure.get("title") else None
                message = one_line(failure["message"])
                archive.record_failure(failure["reason"], message, title, failure.get("expires_at"))
            except Exception as error:  # noqa: BLE001 - whatever it is: the other songs, and the verdict, still come
                self._warn(f"The bucket does not say why song {one_line(song['music_task_id'])} failed", error)

        if not songs:
            return
        name = songs[0]["bucket"]  # the same for all songs of a run
        try:
            bucket = open_bucket(self.aws_conn_id, name, self.extra_args)
        except Exception as error:  # noqa: BLE001 - of a connection or its provider; the report is still worth reading
            self._warn(f"Bucket {one_line(name)} does not say why songs failed; the table above does", error)
            return
        with ThreadPoolExecutor(_PARALLEL) as pool:
            list(pool.map(record, songs))

    def _warn(self, what: str, error: Exception) -> None:
        self.log.warning("%s. %s: %s", what, type(error).__name__, one_line(without_urls(str(error))))


def record_failure(context: Context) -> None:
    """Push why a song failed, for the run's report: the `on_failure_callback` of the chain's tasks."""
    error, ti, task = context.get("exception"), context["ti"], context["task"]
    reason = error.reason if isinstance(error, KieError) else type(error).__name__
    if isinstance(task, TakesSongs) and task.has_many:
        ti.xcom_push(key=FAILURE_KEY, value=task.songs_failed(str(error), reason, ti.task_id))
        return
    texts = {name: getattr(task, name, None) for name in ("music_task_id", "song_title", "expires_at")}
    given = {name: text if isinstance(text, str) else None for name, text in texts.items()}
    failure = {
        "music_task_id": given["music_task_id"],
        "title": given["song_title"],
        "expires_at": given["expires_at"],
        "task_id": ti.task_id,
        "reason": reason,
        "message": str(error),
        "at": time.time(),
    }
    ti.xcom_push(key=FAILURE_KEY, value=failure)


def _pulled(context: Context, task_id: str, key: str) -> dict[str, Mapping[str, Any]]:
    """Return what all instances of a task have pushed under a key, by song; each pushes one song, a list, or None."""
    pulled = context["ti"].xcom_pull(task_ids=task_id, key=key)
    values = pulled if isinstance(pulled, list) else [pulled]
    flat = [song for value in values for song in (value if isinstance(value, list) else [value])]
    return {song["music_task_id"]: song for song in flat if song}


def _not_archived(music_task_id: str, failures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    song = {"music_task_id": music_task_id}
    if failure := failures.get(music_task_id):
        facts = {"title": failure.get("title"), "reason": failure["message"], "cause": failure["reason"]}
        return _row({**song, **facts}, f"failed at {failure['task_id']}")
    reason = f"It did not finish. {_KEPT} See the log of its failed task, then clear that task. {KieError.by_when}"
    return _row({**song, "reason": reason}, "not archived")


def _row(song: Mapping[str, Any], result: str) -> dict[str, Any]:
    return {
        **{name: song.get(name) for name in ("music_task_id", "title", "manifest_key", "credits", "reason", "cause")},
        "result": result,
        "keys": [file["key"] for file in song.get("files", ())],
        "warnings": list(song.get("warnings", ())),
    }


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    keys = ", ".join(row["keys"]) or "no files"
    cost = (f"{row['credits']:g} credits",) if row["credits"] is not None else ()
    warnings = (f"Warning: {warning}" for warning in row["warnings"])
    return (row["title"] or "", row["music_task_id"], row["result"], row["reason"] or keys, *cost, *warnings)


def _verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the last line: "9 songs are archived, 3 failed: …"."""
    failed = [row for row in rows if row["reason"]]
    archived = len(rows) - len(failed)
    sentence = f"{counted(archived)} {'is' if archived == 1 else 'are'} archived"
    twice = sum(row["made_twice"] for row in rows)
    lost = f" {counted(twice, 'cover')} may have been made twice, at no cost: KIE's first answer was lost."
    made = lost if twice else ""
    if not failed:
        return f"{sentence}.{made}"
    named = " ".join(one_line(f"[{row['title'] or row['music_task_id']}] {row['reason']}") for row in failed)
    return f"{sentence}, {len(failed)} failed: {named}{made}"
