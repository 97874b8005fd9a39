"""Faults that can be switched on: what they match, how often, and what they do."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kie_simulator.tasks import Form

Phase = Literal[
    "api", "create", "details", "task", "file", "credit", "callback", "download_url", "call", "upload", "chat"
]

_ANSWER = frozenset(
    [
        *("code", "http", "html", "gone", "malformed", "empty", "missing_fields", "reset_before", "reset_after"),
        *("no_content_type", "slow"),
    ],
)
_DETAILS = frozenset(
    [
        "data_null",
        "record_null",
        "unknown_state",
        "unknown_shape",
        "param_unescaped",
        "pending_error",
        "without_files",
        "flag_message",
        "wrong_parent",
        "input_repeated",
    ],
)
# The phase "api" means all of these.
_API = frozenset({"create", "details", "credit", "download_url", "call", "upload", "chat"})
ACTIONS: Mapping[str, frozenset[str]] = {
    "api": _ANSWER,
    "create": _ANSWER,
    "details": _ANSWER | _DETAILS,
    "credit": _ANSWER,
    "download_url": _ANSWER,
    "call": _ANSWER,
    "upload": _ANSWER,
    "chat": _ANSWER,
    "task": frozenset({"fail", "try_again", "callback_exception", "takes"}),
    "file": frozenset(
        [
            "truncated",
            "cut",
            "zero_bytes",
            "html",
            "forbidden",
            "not_found",
            "expired",
            "slow",
            "redirect",
            "content_type",
            "http",
            "reset_before",
        ]
    ),
    "callback": frozenset(
        [
            *("lost", "double", "before_answer", "early_success", "forged_signature", "no_signature", "late"),
            "param_unescaped",
        ],
    ),
}
# These come before the task has ended, the others when a callback is due.
EARLY_CALLBACKS = frozenset({"before_answer", "early_success"})
# These spoil the answer to something that did happen; the others happen instead of it.
_AFTER_EFFECT = frozenset({"reset_after", "slow", "missing_fields", "no_content_type"}) | _DETAILS


@dataclass(frozen=True)
class Moment:
    """One point at which a fault may strike.

    :param role: for files: image, audio, stream, wav or video.
    :param model: the market's model, in the unified form, or the chat model.
    """

    phase: Phase
    kind: str = ""
    path: str = ""
    task_id: str = ""
    source_id: str = ""
    title: str = ""
    account: str = ""
    role: str = ""
    form: str = ""
    model: str = ""


class Fault(BaseModel):
    """One fault; fields that are not given match everything.

    ``times`` is how often it strikes (-1: for ever), ``skip`` how many matches it lets pass first, ``seconds_active``
    for how many real seconds it exists. ``after`` says whether the request takes effect (a task is made and charged)
    before the answer is spoilt; by default only for ``reset_after``, ``slow``, ``missing_fields`` and what changes
    details. The other fields are parameters of the actions.
    """

    model_config = ConfigDict(extra="forbid")

    phase: Phase
    action: str
    kind: str | None = None
    path: str | None = None
    task_id: str | None = None
    source_id: str | None = None
    title: str | None = None
    account: str | None = None
    role: str | None = None
    form: Form | None = None
    model: str | None = None
    times: int = Field(default=1, ge=-1)
    skip: int = Field(default=0, ge=0)
    probability: float = Field(default=1.0, ge=0, le=1)
    seconds_active: float | None = Field(default=None, gt=0)
    after: bool | None = None

    code: int = 500
    msg: str = "Server exception, please try again later"
    data: Any = None
    http: int | None = None
    retry_after: int | None = None
    seconds: float = Field(default=1.0, ge=0)
    fields: list[str] = ["data"]
    state: str | int | None = None
    error_code: int | None = None
    error_message: str | None = None
    callback_code: int = 501
    shape: Literal["empty", "null", "no_response"] = "empty"
    parent: str | None = None
    finished: bool = True
    url: str = ""
    gone: Literal["json", "html", "code"] = "json"
    content_type: str = "application/octet-stream"

    @model_validator(mode="after")
    def _known_action(self) -> Fault:
        if self.action not in ACTIONS[self.phase]:
            raise ValueError(f"The phase {self.phase!r} has the actions {sorted(ACTIONS[self.phase])}.")
        return self

    @property
    def takes_effect(self) -> bool:
        """Return whether the request takes effect before this fault strikes."""
        return self.after if self.after is not None else self.action in _AFTER_EFFECT

    def matches(self, moment: Moment) -> bool:
        """Return whether the fault is meant for a moment."""
        names = ("kind", "path", "task_id", "source_id", "title", "account", "role", "form", "model")
        in_phase = self.phase == moment.phase or (self.phase == "api" and moment.phase in _API)
        return in_phase and all(getattr(self, name) in (None, getattr(moment, name)) for name in names)


@dataclass
class _Armed:
    id: str
    fault: Fault
    left: int
    to_skip: int
    until: float
    struck: int = 0

    def strikes(self, moment: Moment, rng: random.Random) -> bool:
        if self.left == 0 or time.monotonic() >= self.until or not self.fault.matches(moment):
            return False
        if self.to_skip:
            self.to_skip -= 1
            return False
        if rng.random() >= self.fault.probability:
            return False
        self.left -= self.left > 0
        self.struck += 1
        return True


class Faults:
    """All faults that are switched on.

    :param seed: decides the outcomes of faults with a probability.
    """

    def __init__(self, seed: str) -> None:
        self._rng = random.Random(f"{seed}/faults")  # noqa: S311 - plays at chance, protects nothing
        self._armed: list[_Armed] = []
        self._numbers = itertools.count(1)

    def add(self, fault: Fault) -> str:
        """Switch a fault on and return its id."""
        until = time.monotonic() + fault.seconds_active if fault.seconds_active else float("inf")
        armed = _Armed(f"fault-{next(self._numbers)}", fault, fault.times, fault.skip, until)
        self._armed.append(armed)
        return armed.id

    def strike(self, moment: Moment, among: frozenset[str] | None = None) -> list[Fault]:
        """Return the faults that strike at a moment, in the order in which they were switched on.

        :param among: only these actions; all if None.
        """
        asked = [armed for armed in self._armed if among is None or armed.fault.action in among]
        return [armed.fault for armed in asked if armed.strikes(moment, self._rng)]

    def clear(self, fault_id: str | None = None) -> None:
        """Switch one fault off, or all of them for None."""
        self._armed = [armed for armed in self._armed if fault_id is not None and armed.id != fault_id]

    def shown(self) -> list[dict[str, Any]]:
        """Return every fault with its id, how often it struck and how often it still will (-1: for ever)."""
        return [
            {"id": a.id, "struck": a.struck, "left": a.left, **a.fault.model_dump(exclude_defaults=True)}
            for a in self._armed
        ]
