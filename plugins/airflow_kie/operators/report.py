"""The end of a run of many songs: what became of each, in words; a run with a failed song fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.client.errors import KieError
from airflow_kie.client.redact import one_line, without_urls
from airflow_kie.durable.defaults import RETRIES
from airflow_kie.durable.xcom import ARCHIVED_KEY, FAILURE_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.hooks.archive import ExtraArgs

_PARALLEL = 8
"""Requests to S3 at a time, while failures are noted."""


class KieSongReportOperator(BaseOperator):
    """Says what became of every song of a run, and fails if a song failed: it is the run's last task.

    :param songs: what :class:`KieSongListOperator` returned.
    :param list_task_id: its task id.
    :param archive_task_id: the task that archives.
    :param chain_task_ids: every task of a song, in order; the first one that failed explains the song.
    :param aws_conn_id: Airflow connection for S3: a failed song's pending record says why it is still owed, so that
        a later sweep knows whether starting it again can help.
    :param extra_args: for S3, such as ``{"ServerSideEncryption": "aws:kms"}``; None: `[kie] s3_extra_args`.
    """

    template_fields: Sequence[str] = ("songs", "extra_args")
    ui_color = "#eeeeee"

    def __init__(
        self,
        *,
        songs: Any,
        list_task_id: str,
        archive_task_id: str,
        chain_task_ids: Sequence[str],
        aws_conn_id: str | None = "aws_default",
        extra_args: ExtraArgs = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retries", RETRIES)
        super().__init__(**kwargs)
        self.songs = songs
        self.aws_conn_id = aws_conn_id
        self.extra_args = extra_args
        self.list_task_id = list_task_id
        self.archive_task_id = archive_task_id
        self.chain_task_ids = tuple(chain_task_ids)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Log and return the table: song, result in words, keys, reason.

        :raises AirflowFailException: when a song is not archived, counting and naming them.
        """
        songs = self.songs
        if not isinstance(songs, list):
            raise AirflowFailException(
                f"Nothing was started: task {self.list_task_id} did not come to an end. {_HELD} Fix what the log of "
                f"{self.list_task_id} names and clear it. {KieError.by_when}"
            )
        archived = {song["music_task_id"]: song for song in _pulled(context, self.archive_task_id, "return_value")}
        failures = self._failures(context)
        rows = [*self._archived_before(context), *(_outcome(song, archived, failures) for song in songs)]
        context["ti"].xcom_push(key="table", value=rows)
        for row in rows:
            self.log.info("%s", " | ".join(one_line(cell) for cell in _cells(row)))
        # After the table: a bucket that cannot be opened hides nothing.
        self._record_failures([song for song in songs if song["music_task_id"] in {*failures} - {*archived}], failures)
        failed = [row for row in rows if row["reason"]]
        if failed:
            raise AirflowFailException(_verdict(rows, failed))
        self.log.info("%s", _verdict(rows, failed))
        return rows

    def _archived_before(self, context: Context) -> list[dict[str, Any]]:
        pulled = _pulled(context, self.list_task_id, ARCHIVED_KEY)
        flat = [song for item in pulled for song in (item if isinstance(item, list) else [item])]
        return [_row(song, "archived already") for song in flat]

    def _failures(self, context: Context) -> dict[str, Mapping[str, Any]]:
        failures: dict[str, Mapping[str, Any]] = {}
        for task_id in self.chain_task_ids:
            for failure in _pulled(context, task_id, FAILURE_KEY):
                failures.setdefault(failure["music_task_id"], failure)
        return failures

    def _record_failures(self, owed: Sequence[Mapping[str, Any]], failures: Mapping[str, Mapping[str, Any]]) -> None:
        buckets = self._opened({song["bucket"] for song in owed})

        def note(song: Mapping[str, Any]) -> None:
            self._record_failure(buckets[song["bucket"]], song, failures[song["music_task_id"]])

        with ThreadPoolExecutor(_PARALLEL) as pool:
            list(pool.map(note, (song for song in owed if song["bucket"] in buckets)))

    def _opened(self, names: Iterable[str]) -> dict[str, Bucket]:
        """Return the buckets that can be opened; making a client takes most of a second, so each is made once."""
        from airflow_kie.hooks.archive import open_bucket

        buckets = {}
        for name in sorted(names):
            try:
                buckets[name] = open_bucket(self.aws_conn_id, name, self.extra_args)
            except Exception as error:  # noqa: BLE001 - of a connection or its provider; the report is still worth reading
                self.log.warning(
                    "Bucket %s cannot be opened, so it does not say why songs failed; the table above does. %s: %s",
                    one_line(name),
                    type(error).__name__,
                    one_line(without_urls(str(error))),
                )
        return buckets

    def _record_failure(self, bucket: Bucket, song: Mapping[str, Any], failure: Mapping[str, Any]) -> None:
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.archive.song_folder import SongArchive

        archive = SongArchive(bucket, ArchiveKeys(song["prefix"]).song(song["music_task_id"]))
        try:
            title = one_line(failure["title"]) if failure.get("title") else None
            archive.record_failure(failure["reason"], one_line(failure["message"]), title, failure.get("expires_at"))
        except Exception as error:  # noqa: BLE001 - whatever it is: the other songs, and the verdict, still come
            self.log.warning(
                "The bucket does not say why song %s failed: %s",
                one_line(song["music_task_id"]),
                one_line(without_urls(str(error))),
            )


_HELD = "What was paid for before is kept and is not paid for again. No retry can help."


def record_failure(context: Context) -> None:
    """Tell the run's report why a song failed: the `on_failure_callback` of the chain's tasks."""
    error = context.get("exception")
    task: Any = context["task"]
    ti = context["ti"]
    failure = {
        "music_task_id": getattr(task, "music_task_id", None),
        "title": task.song_title if isinstance(getattr(task, "song_title", None), str) else None,
        "expires_at": task.expires_at if isinstance(getattr(task, "expires_at", None), str) else None,
        "task_id": ti.task_id,
        "reason": error.reason if isinstance(error, KieError) else type(error).__name__,
        "message": str(error),
    }
    ti.xcom_push(key=FAILURE_KEY, value=failure)


def _pulled(context: Context, task_id: str, key: str) -> list[Any]:
    """Return what all instances of a task have pushed under a key."""
    pulled = context["ti"].xcom_pull(task_ids=task_id, key=key)
    values = pulled if isinstance(pulled, list) else [pulled]
    return [value for value in values if value is not None]


def _outcome(
    song: Mapping[str, Any], archived: Mapping[str, Mapping[str, Any]], failures: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    music_task_id = song["music_task_id"]
    if music_task_id in archived:
        return _row(archived[music_task_id], "archived")
    failure = failures.get(music_task_id)
    ended = f"It did not come to an end. {_HELD} Clear its red task, whose log says why. {KieError.by_when}"
    said = failure["message"] if failure else ended
    where = f"failed at {failure['task_id']}" if failure else "not archived"
    cause = failure["reason"] if failure else None
    return _row({**song, "title": failure and failure.get("title"), "reason": said, "cause": cause}, where)


def _row(song: Mapping[str, Any], result: str) -> dict[str, Any]:
    return {
        "music_task_id": song["music_task_id"],
        "title": song.get("title"),
        "result": result,
        "manifest_key": song.get("manifest_key"),
        "credits": song.get("credits"),
        "keys": [file["key"] for file in song.get("files", ())],
        "warnings": list(song.get("warnings", ())),
        "reason": song.get("reason"),
        "cause": song.get("cause"),
    }


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    keys = ", ".join(row["keys"]) or "no files"
    cost = (f"{row['credits']:g} credits",) if row["credits"] is not None else ()
    warnings = (f"Warning: {warning}" for warning in row["warnings"])
    return (row["title"] or "", row["music_task_id"], row["result"], row["reason"] or keys, *cost, *warnings)


def _verdict(rows: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]) -> str:
    """Return the last line: "9 songs are archived, 3 failed: …"."""
    archived = len(rows) - len(failed)
    verb = "is" if archived == 1 else "are"
    told = f"{counted(archived)} {verb} archived"
    if not failed:
        return f"{told}."
    named = " ".join(one_line(f"[{row['title'] or row['music_task_id']}] {row['reason']}") for row in failed)
    return f"{told}, {len(failed)} failed: {named}"
