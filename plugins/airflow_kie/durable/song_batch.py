"""A batch of songs in one task of the chain: its input, the result of each song, and the log's table of them.

A single song is passed as the operator's arguments. In a larger batch each song is independent: a failed or late one
leaves the batch and stays pending, and the others continue. What is known of each survives the task's legs and tries.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]  # in its __all__, not in its stub

from airflow_kie import metrics
from airflow_kie.client.errors import KieBatchFailed, KieError, Scope
from airflow_kie.client.operations.operation import Form, TaskOperation
from airflow_kie.client.redact import one_line
from airflow_kie.durable.task_state import TaskStateStore
from airflow_kie.durable.xcom import FAILURE_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.s3.bucket import Bucket

log = logging.getLogger(__name__)

LATE_SECONDS = 75.0
"""How much longer than usual a song of a batch is waited for: then it leaves, and the next run continues with it.

So the others of a batch are archived within two minutes of the end of their covers."""
COVER_KEY = "cover_task_id"
"""What a map of one song calls its cover task."""
STORE_KEY = "songs"
"""Key in the task state store: what became of the songs of a batch so far."""


def returned_by(task_id: str) -> Callable[..., Any]:
    """Return what a step is given of another one of the same song or batch: a callable, which Airflow calls.

    It asks the api-server once. An XComArg asks three times, twice to find out which map index is meant.

    :param task_id: the other step's, in the same mapped task group.
    """

    def pull(context: Context, jinja_env: object) -> Any:
        return context["ti"].xcom_pull(task_ids=task_id, map_indexes=context["ti"].map_index)

    return pull


def batch_seconds(row: TaskOperation) -> float:
    """Return for how many seconds the songs of a batch are waited for.

    :param row: the operation that is waited for.
    """
    return row.timing.typical + LATE_SECONDS


class TakesSongs:
    """A base of the chain's steps, before Airflow's own: takes one mapped argument, a song or a batch of many.

    A song's arguments become the operator's own, as if they had been given. The steps pass on what they know of it:
    one song a map, many songs a list of such maps, in which a song that has left the batch is missing.
    """

    batch: Any = None
    """What :class:`~airflow_kie.operators.song_list.KieSongListOperator` returned of it."""
    music: Any = None
    """What ``music_complete`` returned."""
    cover: Any = None
    """What the step returned that knows the cover task."""
    kie_conn_id: str
    music_task_id: Any
    song_title: str | None
    songs: SongBatch | None = None

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], *args: Any, **kwargs: Any
    ) -> None:
        super()._do_render_template_fields(parent, template_fields, *args, **kwargs)  # type: ignore[misc]
        given = dict(parent.batch) if isinstance(parent.batch, Mapping) else {}
        if isinstance(parent.music, Mapping):
            title, expires_at = (parent.music.get(name) or "" for name in ("title", "expires_at"))
            given |= {"song_title": title, "expires_at": expires_at}
        if isinstance(parent.cover, str | Mapping):
            cover: Any = parent.cover
            given[COVER_KEY] = cover if isinstance(cover, str) else cover[COVER_KEY]
        for name in given.keys() & set(parent.template_fields):
            setattr(parent, name, given[name])

    @property
    def has_many(self) -> bool:
        """Whether this task instance works on many songs."""
        return isinstance(self.batch, Mapping) and "list" in self.batch

    @property
    def song_label(self) -> str:
        """What the grid calls the task instance."""
        if self.has_many:
            first, songs = self.batch["first"], self.batch["songs"]
            return f"songs {first} to {first + songs - 1}"
        return self.song_title or self.music_task_id

    def songs_failed(self, error: str, reason: str, task_id: str) -> list[dict[str, Any]]:
        """Return how each song has failed, for the run's report, after the task has failed.

        :param error: why the task has failed.
        :param reason: its short reason.
        :param task_id: the task's.
        """
        if self.songs is None:
            return []
        rest = {"task_id": task_id, "reason": reason, "message": error, "at": time.time()}
        left = [{**self.songs.known(song), **rest} for song in self.songs.ids if song not in self.songs.failures]
        return [*self.songs.failures.values(), *left]

    def begin(
        self, context: Context, known: Sequence[Mapping[str, Any]], *, resumed: bool, operation: str
    ) -> SongBatch:
        """Return the batch as far as it has come.

        :param context: the task's context.
        :param known: what is known of each song; each has a ``music_task_id``.
        :param resumed: this leg follows a wait; a new try tries again what has failed.
        :param operation: what the log calls the step.
        """
        songs = {str(song["music_task_id"]): dict(song) for song in known}
        self.songs = SongBatch(context, songs, operation)
        self.songs.load(resumed=resumed)
        return self.songs


@dataclass
class SongBatch:
    """What became of each song of a batch in one step.

    :param context: the task's context.
    :param given: what is known of each, by its music task id.
    :param operation: what the log calls the step.
    :param since: epoch seconds at which the first song was ready for the next step; None: none is.
    :param counted: songs whose failure is in the metric, with its reason: until a clear, a further try adds nothing.
    """

    context: Context
    given: Mapping[str, Mapping[str, Any]]
    operation: str
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)
    since: float | None = None
    counted: dict[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """The songs, in their order."""
        return list(self.given)

    @property
    def left(self) -> list[str]:
        """The songs without a result so far."""
        return [song for song in self.given if song not in self.rows and song not in self.failures]

    def load(self, *, resumed: bool) -> None:
        """Read what earlier legs and tries have stored."""
        stored: Any = self._store.get(STORE_KEY) or {}
        self.rows = {song: row for song, row in stored.get("rows", {}).items() if self._is_of(row, song)}
        self.failures = stored.get("failures", {}) if resumed else {}
        self.since = stored.get("since") if resumed else None
        self.counted = stored.get("counted", {}) if stored.get("max_tries") == self._max_tries else {}

    def _is_of(self, row: Mapping[str, Any], song: str) -> bool:
        """Return whether a stored row is about what is given now: a cover that was given up has another one's id."""
        given = self.given.get(song)
        return given is not None and given.get(COVER_KEY, row.get(COVER_KEY)) == row.get(COVER_KEY)

    def keep(self) -> None:
        """Store it: the next leg, or try, continues from here."""
        value = {"rows": self.rows, "failures": self.failures, "since": self.since, "counted": self.counted}
        self._store.set(STORE_KEY, {**value, "max_tries": self._max_tries}, retention=NEVER_EXPIRE)

    @property
    def _max_tries(self) -> int:
        """Which a clear raises."""
        return int(self.context["ti"].max_tries)

    @property
    def _store(self) -> TaskStateStore:
        return cast("TaskStateStore", self.context["task_state_store"])

    def seconds_left(self, usual: float) -> float:
        """Return for how many seconds the songs that are left are waited for: once others are ready, not for long.

        So a song whose tasks fail one after the other holds no other one.

        :param usual: seconds where none is ready.
        """
        if not self.rows:
            return usual
        self.since = self.since or time.time()
        return max(0.0, min(usual, self.since + LATE_SECONDS - time.time()))

    def known(self, song: str) -> dict[str, Any]:
        """Return what the run's report says of a song, whatever became of it."""
        known = self.given[song]
        return {"music_task_id": song, "title": known.get("title"), "expires_at": known.get("expires_at")}

    def leave(self, errors: Mapping[str, KieError], *, waiting: bool = False) -> None:
        """Let songs leave the batch; an outage that all of them have met is not theirs.

        :param errors: why, by song.
        :param waiting: others are still waited for.
        :raises KieError: the outage, where no song continues.
        """
        outage = next((error for error in errors.values() if error.scope is not Scope.TASK), None)
        if outage and not (self.rows or waiting):
            self.keep()
            raise outage
        for song, error in errors.items():
            self.leave_as(song, error.reason, str(error))

    def leave_as(self, song: str, reason: str, message: str) -> None:
        """Let a song leave the batch.

        :param reason: short reason.
        :param message: what a person reads.
        """
        facts = {"task_id": self.context["ti"].task_id, "reason": reason, "message": message, "at": time.time()}
        self.failures[song] = {**self.known(song), **facts}

    def end(self) -> list[dict[str, Any]]:
        """Log the table, failures first, and return the songs that continue.

        :raises KieBatchFailed: when none continues.
        """
        for song_id, failure in self.failures.items():
            if self.counted.get(song_id) != failure["reason"]:
                metrics.FAILED.add(reason=failure["reason"])
                self.counted[song_id] = failure["reason"]
        self.keep()
        failures = [self.failures[song] for song in self.given if song in self.failures]
        rows = [{**self.rows[song], **_set(self.known(song))} for song in self.given if song in self.rows]
        log.info("%s: %d songs continue, %d have left the batch.", self.operation, len(rows), len(failures))
        for song in failures:
            log.info("%s | left the batch | %s", song["music_task_id"], one_line(song["message"]))
        for song in rows:
            log.info("%s | continues | %s", song["music_task_id"], one_line(song.get("title") or ""))
        if failures:
            self.context["ti"].xcom_push(key=FAILURE_KEY, value=failures)
        if not rows:
            raise KieBatchFailed(f"{len(failures)} songs, the first one: {failures[0]['message']}")
        return rows


def _set(known: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in known.items() if value}


def form_of(song: Any) -> str:
    """Return the API variant in which a song was found, as the sensor that has read it passes it on; empty: unknown.

    :param song: what the sensor returned of it.
    """
    known = song.get("form") if isinstance(song, Mapping) else None
    return known if known in tuple(Form) else ""


def songs_of(bucket: Bucket, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the songs of a batch, whether it has one or many.

    :param bucket: where the list of many is.
    :param batch: what the task that lists them returned of it.
    """
    from airflow_kie.archive.run_songs import read_songs

    return read_songs(bucket, batch) if "list" in batch else [dict(batch)]
