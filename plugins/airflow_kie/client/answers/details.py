"""What KIE answers, as typed records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from airflow_kie.client.operations.operation import MEDIA_LIFETIME, Form, Medium, State
from airflow_kie.client.redact import map_texts, without_queries

_TIME = TypeAdapter(datetime)
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Track:
    """One track of a music task.

    :param position: 1-based position in KIE's answer.
    :param audio_id: KIE's id of the track.
    :param audio_url: the finished audio, None until it is there. Never the streaming URL, which is replaced later.
    :param image_url: KIE's own thumbnail of the track.
    :param lyrics: the text that is sung.
    :param duration_seconds: length in seconds.
    """

    position: int
    audio_id: str | None = None
    audio_url: str | None = field(default=None, repr=False)
    image_url: str | None = field(default=None, repr=False)
    lyrics: str | None = None
    title: str | None = None
    tags: str | None = None
    model: str | None = None
    duration_seconds: float | None = None


@dataclass(frozen=True)
class Result:
    """One result of a task; it has a URL or a value.

    :param role: the row's.
    :param position: position among the results of its role, from 1.
    :param medium: the row's.
    :param url: link to the file, which can be a credential.
    :param value: the result itself.
    """

    role: str
    position: int
    medium: Medium
    url: str | None = field(default=None, repr=False)
    value: Any = field(default=None, repr=False)


ANSWER = "answer"
"""Role of KIE's answer itself: the result of a task that has succeeded in a shape that its row does not know."""


@dataclass(frozen=True)
class TaskDetails:
    """A task as KIE's details showed it.

    :param kind: the operation, such as ``suno.cover``.
    :param form: the API variant in which it was read.
    :param task_id: the id that KIE's answer names, or the one asked for where it names none.
    :param state: what the state word means.
    :param word: the state word as KIE wrote it.
    :param known_word: False for a word that no page documents; it counts as running.
    :param parent_id: the source that KIE names, None where it names none.
    :param results: what the task has made, in the order of its row and of KIE.
    :param required: the roles of which a success has at least one result.
    :param kept: how long KIE keeps the files.
    :param tracks: of a music task, all tracks that KIE names, finished or not.
    :param error_code: the error code beside the state; 200 and 0 are not errors.
    :param error_message: the error message beside the state.
    :param param: the request that made the task, where details repeat it.
    :param created_at: when KIE made the task.
    :param completed_at: when it ended.
    :param credits_consumed: credits, where KIE reports them for the task.
    :param raw: the `data` of the answer, as it came.
    """

    kind: str
    task_id: str
    state: State
    word: str
    known_word: bool = True
    form: Form = Form.DEDICATED
    parent_id: str | None = None
    results: tuple[Result, ...] = field(default=(), repr=False)
    required: frozenset[str] = frozenset()
    kept: timedelta = MEDIA_LIFETIME
    tracks: tuple[Track, ...] = ()
    error_code: int | None = None
    error_message: str | None = field(default=None, repr=False)
    param: dict[str, Any] = field(default_factory=dict, repr=False)
    created_at: datetime | None = None
    completed_at: datetime | None = None
    credits_consumed: float | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def complete(self) -> bool:
        """Whether every file that KIE names is there; a task may say success and name none."""
        if self.tracks:
            return all(track.audio_url for track in self.tracks)
        return bool(self.results) and self.required <= {result.role for result in self.results}

    @property
    def expires_at(self) -> datetime | None:
        """When KIE deletes the files: its days count from the end, or, where that is unknown, from the beginning."""
        start = self.completed_at or self.created_at
        return start + self.kept if start else None

    @property
    def urls(self) -> tuple[str, ...]:
        """The links to the result files."""
        return tuple(result.url for result in self.results if result.url)

    def with_answer(self) -> TaskDetails:
        """Return the details with KIE's answer as one more result, without the queries of the addresses in it."""
        answer = Result(ANSWER, 1, Medium.JSON, value=map_texts(without_queries, self.raw))
        return replace(self, results=(*self.results, answer))

    @property
    def title(self) -> str | None:
        """The song's title: that of the first track, or the one that was requested."""
        asked = self.param.get("title")
        return next((track.title for track in self.tracks if track.title), asked if isinstance(asked, str) else None)


def parse_time(value: Any) -> datetime | None:
    """Return one of KIE's times as an aware UTC time, or None.

    KIE writes epoch milliseconds, ISO with Z, and ``2025-01-01 00:00:00`` for the same field of different products.

    :param value: a number of milliseconds, a string, or None; what lies outside this century is not a time.
    """
    try:
        parsed = _TIME.validate_python(None if isinstance(value, bool) else value)
        parsed = parsed.replace(tzinfo=parsed.tzinfo or UTC).astimezone(UTC)
    except (ValidationError, OverflowError):
        return None
    return parsed if _EARLIEST <= parsed < _LATEST else None
