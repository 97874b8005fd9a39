"""What the ledger records about a request: its owner, the intent to send it, and what can be done with it now."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

SEND_WITHIN = 30.0
"""Seconds from the intent in which its request must be sent; a process that froze longer does not send any more."""
REQUEST_SECONDS = 60.0
"""Seconds that a request may take; the client ends it then."""
CLOCK_SKEW = 30.0
"""Seconds by which the clocks of two machines may differ."""


@dataclass(frozen=True)
class RequestId:
    """The identity of a request: who pays, the operation, and the digest of what is requested.

    :param account: the connection's field `account`, else its id.
    :param operation: such as ``suno.cover``.
    :param digest: of the request's identity, hexadecimal.
    """

    account: str
    operation: str
    digest: str

    @property
    def folder(self) -> str:
        """The prefix of its objects."""
        return f"{quote(self.account, safe='')}/{self.operation}/{self.digest}/"

    def __str__(self) -> str:
        return f"{self.operation}/{self.digest}"


@dataclass(frozen=True)
class Intent:
    """What is written before a request is sent; no prompt, title or URL is in it.

    :param at: epoch seconds.
    :param not_after: epoch seconds until which it may be sent.
    :param nonce: unguessable; it travels, signed, in the callback URL, and brings a lost id back.
    :param callback_by: epoch seconds by which a callback would have named the task; None: none is expected.
    :param owner: DAG, run, task, map index and user, if known.
    :param form: the API variant in which KIE is asked.
    :param key: fingerprint of the API key, for messages.
    :param balance: credits of the account shortly before it is sent, of a request that costs some; a hint in a doubt.
    :param quoted: credits that it costs, at least and at most; empty: the price is not known.
    :param labels: people's own names.
    :param longer: seconds that the answer may take longer than that of one request; None: it is one request.
    """

    at: float
    not_after: float
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    callback_by: float | None = None
    owner: Mapping[str, Any] = field(default_factory=dict)
    form: str = ""
    key: str = ""
    balance: float | None = None
    quoted: Sequence[float] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    longer: float | None = None

    @classmethod
    def made_at(cls, now: float, form: str = "", **known: Any) -> Intent:
        """Return the intent of a request that is sent now."""
        return cls(at=now, not_after=now + SEND_WITHIN, form=form, **known)

    @classmethod
    def from_bytes(cls, body: bytes | None) -> Intent:
        """Return the intent that an object holds; one that cannot be read is in doubt at once."""
        try:
            value = json.loads(body or b"{}")
            intent = cls(**{name: value[name] for name in cls.__dataclass_fields__ if name in value})
        except (ValueError, TypeError, AttributeError):
            return cls(at=0.0, not_after=0.0)
        quoted = intent.quoted if isinstance(intent.quoted, list | tuple) and len(intent.quoted) in (0, 2) else ("",)
        others = (intent.callback_by or 0.0, intent.balance or 0.0, intent.longer or 0.0)
        times = (intent.at, intent.not_after, *others, *quoted)
        readable = (
            isinstance(intent.owner, Mapping)
            and isinstance(intent.form, str)
            and all(isinstance(at, int | float) and abs(at) < 1e12 for at in times)
        )
        return intent if readable else cls(at=0.0, not_after=0.0)

    def in_doubt_at(self, settled_after: float | None) -> float:
        """Return the epoch seconds from which on nobody is sending and no callback is expected any more.

        :param settled_after: seconds after which a request whose sender has recorded its end counts as in doubt;
            None: no end is recorded.
        """
        answered = self.not_after + REQUEST_SECONDS + (self.longer or 0.0)
        over = answered + CLOCK_SKEW if settled_after is None else self.at + settled_after
        return max(over, self.callback_by or 0.0)


@dataclass(frozen=True)
class Attempt:
    """One attempt, as the names of its objects say.

    :param number: 1 for the first.
    :param task_ids: the tasks that KIE has named for it; more than one only if somebody named a wrong one.
    :param endings: ``refused``, ``failed``, ``released``, ``unanswered``, ``repeated``.
    """

    number: int
    task_ids: tuple[str, ...] = ()
    endings: frozenset[str] = frozenset()

    @property
    def over(self) -> bool:
        """Whether another attempt may follow."""
        return bool(self.endings & {"refused", "failed", "released", "repeated"})

    @property
    def settled(self) -> bool:
        """Whether no person has to decide about it: it is over, or its task is known."""
        return self.over or bool(self.task_ids)

    @property
    def task_id(self) -> str | None:
        """KIE's task, unless it has failed or a person has released it."""
        return self.task_ids[0] if self.task_ids and not self.endings & {"failed", "released"} else None


def attempts_in(names: Iterable[str]) -> list[Attempt]:
    """Return the attempts that a folder's names describe, in their order; other names are ignored."""
    ids: dict[int, list[str]] = {}
    endings: dict[int, set[str]] = {}
    for name in sorted(names):
        number, _, rest = name.partition(".")
        word, _, task_id = rest.partition(".")
        if not (number.isascii() and number.isdigit() and word):
            continue
        endings.setdefault(int(number), set()).add(word)
        if word == "task" and task_id:
            ids.setdefault(int(number), []).append(unquote(task_id))
    return [Attempt(n, tuple(ids.get(n, ())), frozenset(endings[n])) for n in sorted(endings)]


@dataclass(frozen=True)
class Claimed:
    """The caller has created the intent: it may send, once.

    :param number: which attempt at this request.
    :param intent: what was written.
    :param failed_ids: KIE's tasks of earlier attempts, which have failed.
    """

    number: int
    intent: Intent
    failed_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class AlreadyMade:
    """KIE has created the task: nothing has to be sent.

    :param number: which attempt at this request.
    :param task_id: KIE's id.
    :param owner: who asked for it, as the intent says.
    :param form: the API variant in which it was requested; empty: somebody has named the id, and it is in either.
    """

    number: int
    task_id: str
    owner: Mapping[str, Any] = field(default_factory=dict)
    form: str = ""


@dataclass(frozen=True)
class BeingSent:
    """Somebody else is sending it, or its callback may still come.

    :param until: epoch seconds at which to ask again.
    :param intent: what its sender has written.
    """

    until: float
    intent: Intent | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class InDoubt:
    """A request was, or may have been, sent, and KIE's answer is not known.

    :param number: which attempt.
    :param intent: what was written before it.
    :param repeated: it was sent once more already because of such a doubt.
    :param balance: credits of the account when the doubt was recorded.
    :param code: with which KIE, or a gateway, has answered; None: no answer is known.
    """

    number: int
    intent: Intent
    repeated: bool = False
    balance: float | None = None
    code: int | None = None

    @property
    def hint(self) -> str:
        """What the answer and the balances say, as the end of a sentence; empty where nothing is known."""
        answered = f"; KIE answered with code {self.code}, which does not settle this" if self.code else ""
        before, after = self.intent.balance, self.balance
        if before is None or after is None:
            return answered
        balances = f"the balance was {before:,.10g} credits before it and {after:,.10g} after it, including other tasks"
        return f"{answered}; {balances}"


@dataclass(frozen=True)
class FailedTooOften:
    """As many attempts as are allowed have failed.

    :param task_ids: KIE's ids.
    :param number: the last of them: a person who releases it allows another one.
    """

    task_ids: tuple[str, ...]
    number: int = field(default=0, compare=False)


Claim = Claimed | AlreadyMade | BeingSent | InDoubt | FailedTooOften
Known = AlreadyMade | BeingSent | InDoubt | FailedTooOften
