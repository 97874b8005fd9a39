"""The shape of every error: what happened, what is paid and safe, what happens next, what a person can do.

`str(error)` gives these four on one line, in this order. The reasons are the classes of the modules beside this one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar

from airflow_kie.client.redact import one_line, storable, without_urls


class Scope(StrEnum):
    """How far an error reaches."""

    TASK = "task"
    """Only this task or file: other songs are not touched."""
    ACCOUNT = "account"
    """Every request with this account's key."""
    SERVICE = "service"
    """Everybody: KIE, its CDN, the network or the bucket."""


class Remedy(StrEnum):
    """What helps."""

    READ_AGAIN = "read_again"
    """Nothing new is sent: the next attempt reads the same task or file again."""
    RETRY = "retry"
    """The same request later. It was refused before it took effect, so it costs nothing."""
    NEW_TASK = "new_task"
    """A new paid task: KIE says that this one failed for good."""
    PERSON = "person"
    """Only a person: no retry can succeed."""


@dataclass(frozen=True)
class Facts:
    """What is known of a failure, besides its reason. Plain values, so that it fits into a trigger's event.

    None of them contains a URL: an address can be a credential, and these are logged, shown and stored.

    :param message: KIE's own words, or what was seen; URLs are cut out of it (they can carry tokens).
    :param code: the `code` in KIE's envelope, or the HTTP status where there was no envelope.
    :param kind: the operation, such as ``suno.cover``.
    :param task_id: the KIE task that this is about.
    :param source_id: what the task was made from: the music task of a cover.
    :param last_state: the last state that KIE's details showed, in KIE's word.
    :param retry_after: seconds after which KIE asks to be tried again.
    :param paid: what is paid and safe, as a sentence without a full stop.
    :param connection: the Airflow connection whose account this is about, where a task works with several.
    :param until: ISO time at which KIE deletes the song's files: until then a person can act.
    """

    message: str = ""
    code: int | None = None
    kind: str | None = None
    task_id: str | None = None
    source_id: str | None = None
    last_state: str | None = None
    retry_after: float | None = None
    paid: str | None = None
    until: str | None = None
    connection: str | None = None

    def __post_init__(self) -> None:
        for fact in fields(self):
            value = getattr(self, fact.name)
            if isinstance(value, str):
                safe = storable(value) if fact.name in ("task_id", "source_id") else without_urls(value)
                object.__setattr__(self, fact.name, safe)

    def known(self) -> dict[str, Any]:
        """Return the facts that are known, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


class KieError(Exception):
    """Base of everything that this package raises about KIE, its files and the archive.

    :param message: what happened, in KIE's own words where there are any.
    :param facts: the other fields of :class:`Facts`.
    """

    reason: ClassVar[str] = "error"
    scope: ClassVar[Scope] = Scope.TASK
    remedy: ClassVar[Remedy] = Remedy.PERSON
    what: ClassVar[str] = "The KIE job failed"
    todo: ClassVar[str] = "Read KIE's message above and the task log."
    paid: ClassVar[str | None] = None
    """What is paid and safe, if the reason alone decides it; None: it depends on whether there is a task."""
    by_when: ClassVar[str] = "KIE deletes a song's files 14 days after it was made."
    """Until when a person can act, if the song's own date is not known."""

    by_reason: ClassVar[dict[str, type[KieError]]] = {}

    def __init_subclass__(
        cls, *, reason: str = "", scope: Scope | None = None, remedy: Remedy | None = None, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        cls.reason, cls.scope, cls.remedy = reason or cls.reason, scope or cls.scope, remedy or cls.remedy
        if cls.reason in KieError.by_reason:
            raise TypeError(f"Two error classes share the reason {cls.reason!r}.")
        KieError.by_reason[cls.reason] = cls

    def __init__(self, message: str = "", **facts: Any) -> None:
        self.facts = Facts(message=message, **facts)
        super().__init__(self.facts.message)

    def __str__(self) -> str:
        return one_line(f"{self.without_deadline()} {self._by_when()}")

    def without_deadline(self) -> str:
        """Return the error's line without until when a person can act, for what has no files."""
        parts = [self._happened(), self._paid(), NEXT[self.remedy], self.todo]
        return one_line(" ".join(part for part in parts if part))  # it is logged, and stored for others who log it

    def _happened(self) -> str:
        facts = self.facts
        about = f" (KIE task {facts.task_id})" if facts.task_id else ""
        source = f" for {facts.source_id}" if facts.source_id and facts.source_id != facts.task_id else ""
        words = one_line(facts.message).rstrip(". ")  # a log shows the last line alone, so there is only one
        code = f" [code {facts.code}]" if facts.code is not None else ""
        state = f" Last state: {facts.last_state}." if facts.last_state else ""
        return f"{self.what}{source}{about}{words and f': {words}'}{code}.{state}"

    def _paid(self) -> str:
        if self.facts.paid:
            return f"{self.facts.paid.rstrip('.')}."
        if self.paid is not None:
            return self.paid
        if self.facts.task_id:
            return f"KIE task {self.facts.task_id} is kept and is not paid for again."
        # A refusing service says nothing about what this song has cost before.
        kept = "Anything already paid for is kept and is not paid for again."
        return kept if self.scope is Scope.SERVICE else "Nothing was paid for this."

    def _by_when(self) -> str:
        return f"KIE deletes its files on {self.facts.until[:10]}." if self.facts.until else self.by_when

    def with_facts(self, **facts: Any) -> KieError:
        """Return the same error with further facts where they were unknown (a decoder does not know the task)."""
        error = type(self)(**{**facts, **self.facts.known()})
        error.__cause__ = self.__cause__
        return error

    def to_event(self) -> dict[str, Any]:
        """Return the error as plain values, for a trigger's event or a store: see :func:`error_from_event`."""
        return {"reason": self.reason, **self.facts.known()}


@contextmanager
def naming(**facts: Any) -> Iterator[None]:
    """Add facts to an error that is raised inside, where they are unknown.

    :param facts: fields of :class:`Facts`.
    """
    try:
        yield
    except KieError as error:
        raise error.with_facts(**facts) from error


NEXT: dict[Remedy, str] = {
    Remedy.READ_AGAIN: "A retry reads it again and pays for nothing.",
    Remedy.RETRY: "A retry sends the same request later.",
    Remedy.NEW_TASK: "A retry may start a new task, a limited number of times.",
    Remedy.PERSON: "No retry can help.",
}


NOTHING_EXPIRES = "This is not urgent: nothing expires."
"""The deadline of errors about work that has no file at KIE yet."""

ELSEWHERE = (
    "airflow_kie.archive.inbox.song_request",
    "airflow_kie.archive.layout",
    "airflow_kie.archive.s3.errors",
)
"""Modules with errors of their own, by name: they are imported only where a stored reason is one of theirs."""


def error_class(reason: str) -> type[KieError] | None:
    """Return the error class with this reason, None for a reason of a newer version.

    :param reason: as an event or a record stores it.
    """
    for module in ELSEWHERE:
        if reason in KieError.by_reason:
            break
        importlib.import_module(module)
    return KieError.by_reason.get(reason)


def all_reasons() -> tuple[str, ...]:
    """Return the reasons of all error classes, also of those that nothing here has needed yet."""
    for module in ELSEWHERE:
        importlib.import_module(module)
    return tuple(KieError.by_reason)


def error_from_event(event: dict[str, Any]) -> KieError:
    """Rebuild the typed error that :meth:`KieError.to_event` described; what a newer version added is ignored."""
    facts = {fact.name: event[fact.name] for fact in fields(Facts) if fact.name in event}
    return (error_class(event.get("reason", "")) or KieError)(**facts)
