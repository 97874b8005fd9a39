"""What the ledger says of one request: whose it is, the intent to send it, and what may be done about it now."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

SEND_WITHIN = 30.0
"""Seconds from the intent in which its request must be sent; a process that froze longer does not send any more."""
REQUEST_SECONDS = 60.0
"""Seconds that a request may take; the client ends it then."""
CLOCK_SKEW = 30.0
"""Seconds by which the clocks of two machines may differ."""


@dataclass(frozen=True)
class RequestId:
    """What makes two requests the same: who pays, the operation, and the digest of what is asked for.

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
    :param owner: DAG, run, task, map index and user, as far as they are known.
    :param form: the form in which KIE is asked.
    :param key: fingerprint of the API key, for messages.
    :param balance: credits of the account shortly before it is sent, of a request that costs some; a hint in a doubt.
    :param quoted: credits that it costs, at least and at most; empty: the price is not known.
    :param labels: people's own names.
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
        times = (intent.at, intent.not_after, intent.callback_by or 0.0, intent.balance or 0.0, *quoted)
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
        over = self.not_after + REQUEST_SECONDS + CLOCK_SKEW if settled_after is None else self.at + settled_after
        return max(over, self.callback_by or 0.0)


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
    """KIE has made the task: nothing is to be sent.

    :param number: which attempt at this request.
    :param task_id: KIE's id.
    :param owner: who asked for it, as the intent says.
    :param form: the form in which it was asked for; empty: somebody has named the id, and it is in either.
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
        answered = f"; it was answered with code {self.code}, which does not say" if self.code else ""
        before, after = self.intent.balance, self.balance
        if before is None or after is None:
            return answered
        balances = f"the balance was {before:,.10g} credits before it and {after:,.10g} after it, other tasks included"
        return f"{answered}; {balances}"


@dataclass(frozen=True)
class FailedTooOften:
    """As many attempts as are allowed have failed.

    :param task_ids: KIE's ids.
    """

    task_ids: tuple[str, ...]


Claim = Claimed | AlreadyMade | BeingSent | InDoubt | FailedTooOften
Known = AlreadyMade | BeingSent | InDoubt | FailedTooOften
