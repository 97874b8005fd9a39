"""The records of a simulated task: what was asked, how it ends and which files it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = str | int
Json = dict[str, Any]
Form = Literal["dedicated", "unified"]


@dataclass(frozen=True)
class StoredFile:
    """One file that the simulator serves.

    :param path: path below ``/files/``.
    :param role: image, upscaled, audio, stream, wav, video or upload.
    :param seed: what the content is drawn from: equal seeds give equal bytes.
    :param expires: simulated unix time in seconds after which it answers 404.
    :param content: given instead of drawn.
    :param made_from: of a picture that is made larger: the picture that was sent.
    :param factor: how much longer its sides become.
    :param seconds: of a video.
    """

    path: str
    role: str
    media_type: str
    title: str
    seed: str
    task_id: str
    expires: float
    content: bytes | None = None
    made_from: bytes | None = None
    factor: int = 1
    seconds: float = 8.0


@dataclass(frozen=True)
class Track:
    """One track of a music task; ``duration`` in seconds."""

    audio_id: str
    title: str
    tags: str
    prompt: str
    model: str
    duration: float
    audio: StoredFile
    stream: StoredFile
    image: StoredFile


@dataclass(frozen=True)
class Ending:
    """How a task ends.

    :param succeeded: whether its result is complete and its state word the one for success.
    :param state: the failing state word; the kind's usual one if None.
    :param code: the ``errorCode`` of the details.
    :param message: the ``errorMessage`` of the details.
    :param callback_code: the code of the callback about the failure.
    :param refused: whether KIE made a task only to say that it makes nothing.
    :param has_results: whether finished files are listed although the state word is not success.
    """

    succeeded: bool = True
    state: State | None = None
    code: int | None = None
    message: str | None = None
    callback_code: int = 501
    has_results: bool = True
    refused: bool = False


@dataclass
class Task:
    """One task of an account.

    :param created: simulated unix time in seconds.
    :param offsets: seconds after ``created`` at which each state of the kind begins; the first is 0.
    :param source_id: the task or audio id that it was made from, if any.
    :param model: the market's model of a task made at ``createTask``; empty for the dedicated form.
    :param credits: what it costs.
    """

    id: str
    kind: str
    account: str
    created: float
    offsets: tuple[float, ...]
    request: Mapping[str, Any]
    base_url: str
    title: str = ""
    source_id: str = ""
    callback_url: str = ""
    tracks: tuple[Track, ...] = ()
    files: tuple[StoredFile, ...] = ()
    ending: Ending = field(default_factory=Ending)
    model: str = ""
    credits: float = 0.0

    @property
    def form(self) -> Form:
        """Return the form in which it was asked for."""
        return "unified" if self.model else "dedicated"

    @property
    def chargeable(self) -> bool:
        """Return whether it costs anything: one whose source KIE does not know fails without being charged."""
        return not self.ending.refused

    @property
    def ends(self) -> float:
        """Return the simulated unix time at which the task ends."""
        return self.created + self.offsets[-1]

    def ended(self, now: float) -> bool:
        """Return whether the task has ended.

        :param now: simulated unix time in seconds.
        """
        return now >= self.ends

    def stage(self, now: float) -> int:
        """Return the index of the state that the task is in.

        :param now: simulated unix time in seconds.
        """
        return max(i for i, offset in enumerate(self.offsets) if i == 0 or now >= self.created + offset)

    def pass_earlier(self, stage: int) -> None:
        """Let a state begin half way between the one before it and the end.

        :param stage: its index; neither the first nor the last.
        """
        begins = (self.offsets[stage - 1] + self.offsets[-1]) / 2
        self.offsets = (*self.offsets[:stage], begins, *self.offsets[stage + 1 :])

    def finish_within(self, seconds: float) -> None:
        """Stretch or squeeze the task's states to a new total duration.

        :param seconds: simulated seconds from the creation to the end.
        """
        total = self.offsets[-1]
        if total > 0:
            self.offsets = tuple(offset * seconds / total for offset in self.offsets)
        else:
            self.offsets = (0.0, *([seconds] * (len(self.offsets) - 1)))


def given(task: Task) -> Mapping[str, Any]:
    """Return the fields that a task was asked for with: in the unified form they are in ``input``."""
    return asked(task.request)


def asked(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of a request."""
    inner = body.get("input")
    return inner if isinstance(inner, Mapping) else body
