"""What KIE answers, as typed records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from airflow_kie.client.operations.operation import State

MEDIA_LIFETIME = timedelta(days=14)
"""docs.kie.ai getting-started: generated media are deleted after 14 days."""

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
class TaskDetails:
    """A task as KIE's details showed it.

    :param kind: the operation, such as ``suno.cover``.
    :param task_id: the id that KIE's answer names, or the one asked for where it names none.
    :param state: what the state word comes to.
    :param word: the state word as KIE wrote it.
    :param known_word: False for a word that no page documents; it counts as running.
    :param parent_id: the source that KIE names, None where it names none.
    :param results: the result URLs (of a lyrics task: the texts), in KIE's order.
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
    parent_id: str | None = None
    results: tuple[str, ...] = field(default=(), repr=False)
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
        return bool(self.results)

    @property
    def expires_at(self) -> datetime | None:
        """When KIE deletes the files: 14 days after the end, or, where that is unknown, after the beginning."""
        start = self.completed_at or self.created_at
        return start + MEDIA_LIFETIME if start else None

    @property
    def title(self) -> str | None:
        """The song's title: that of the first track, or the one that was asked for."""
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
