"""One reading of a task: what its details and its callbacks are rendered from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from kie_simulator.tasks import Json, State, StoredFile, Task

Stages = tuple[tuple[State, tuple[float, float]], ...]


@dataclass(frozen=True)
class Reading:
    """A task as it is at one moment.

    :param now: simulated unix time in seconds.
    :param state: the state word or flag of the kind.
    :param stage: index of the state among the kind's states.
    :param has_results: whether finished files are listed.
    :param base_url: where the simulator is reached by the client.
    :param cover_result: the shape of a cover's result in the unified form.
    """

    task: Task
    now: float
    state: State
    stage: int
    ended: bool
    succeeded: bool
    has_results: bool
    base_url: str
    time_format: Literal["iso", "epoch"] = "iso"
    cover_result: str = "resultUrls"

    def link(self, file: StoredFile) -> str:
        """Return the URL of a file."""
        return f"{self.base_url}/files/{file.path}"

    def links(self, role: str) -> list[str]:
        """Return the URLs of the task's files of a role."""
        return [self.link(file) for file in self.task.files if file.role == role]

    def created_ms(self) -> int:
        """Return when the task was made, in epoch milliseconds."""
        return int(self.task.created * 1000)

    def completed_ms(self) -> int | None:
        """Return when the task ended, in epoch milliseconds, or None."""
        return int(self.task.ends * 1000) if self.ended else None

    def time(self, milliseconds: int | None) -> str | int | None:
        """Return a time in the format that is switched on: ISO with milliseconds, or epoch milliseconds."""
        if milliseconds is None or self.time_format == "epoch":
            return milliseconds
        moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"

    def plain_time(self, milliseconds: int | None) -> str | None:
        """Return a time as ``YYYY-MM-DD HH:MM:SS``, as the WAV and MP4 pages show it."""
        if milliseconds is None:
            return None
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")

    def error(self) -> tuple[int | None, str | None]:
        """Return the error code and message of a task that ended badly, otherwise None for both."""
        return (self.task.ending.code, self.task.ending.message) if self.ended else (None, None)


@dataclass(frozen=True)
class CallbackBody:
    """The body of one callback.

    :param stage: a word for the log: text, first, complete or error.
    """

    stage: str
    code: int
    msg: str
    data: Json | None
    top_level: Json | None = None

    def json(self) -> Json:
        """Return the body as KIE posts it."""
        return {**(self.top_level or {}), "code": self.code, "msg": self.msg, "data": self.data}


@dataclass(frozen=True)
class Family:
    """What tasks of one details endpoint have in common.

    :param stages: state words in order, each with the earliest and latest second at which it begins.
    :param failed: the usual state word of a failure.
    :param state_field: where the state is in the details.
    :param error_fields: where error code and message are in the details.
    :param files: the roles of the files that a task makes.
    :param details: renders ``data`` of the details answer.
    :param callback: renders the callback of a stage.
    :param every_stage: whether a callback follows each stage, not only the last.
    :param unknown: code and message for an id that does not exist.
    """

    stages: Stages
    failed: State
    details: Callable[[Reading], Json]
    callback: Callable[[Reading], CallbackBody]
    state_field: str = "successFlag"
    error_fields: tuple[str, str] = ("errorCode", "errorMessage")
    files: tuple[str, ...] = ()
    every_stage: bool = False
    unknown: tuple[int, str] = (200, "success")
    id_style: Literal["hex", "uuid", "veo"] = "hex"

    def words(self) -> tuple[State, ...]:
        """Return the state words of a task that goes well, in order."""
        return tuple(word for word, _ in self.stages)
