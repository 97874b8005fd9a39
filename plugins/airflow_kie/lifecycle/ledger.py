"""The ledger of an account's paid requests: one folder for each request, whose objects are only ever created.

Two invariants that must not be relaxed:

- The process that creates ``<n>.intent`` may send that one request; nobody else may, and nobody may send it again.
- The listing of a folder is its whole state. None of it is changed or deleted, so two readers never disagree for long.

``<n>.intent`` is created before the POST, then ``<n>.task.<KIE's id>`` or ``<n>.refused`` (nothing was made); later
``<n>.failed`` (KIE's word, read twice) or ``<n>.released`` (a person's word). ``<n>.used`` has the credits that a task
has used, where that is not what it was quoted at. ``<n>.unanswered`` says that the POST is
over and its answer was lost, ``<n>.repeated`` that an operation that costs nothing was sent once more because of that.
Where KIE has answered with the result itself, the task is the kept answer (`kept_answers`). A chat model's answer is
not kept: of it there are ``1.intent`` and ``1.used`` alone, both written after it.
An intent alone means that somebody is sending, until it expires; from then on it is in doubt.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Protocol
from urllib.parse import quote

from airflow_kie.client.answers.inline import kept_id
from airflow_kie.client.errors import KieError
from airflow_kie.lifecycle.claims import (
    AlreadyMade,
    Attempt,
    BeingSent,
    Claim,
    Claimed,
    FailedTooOften,
    InDoubt,
    Intent,
    Known,
    RequestId,
    attempts_in,
)
from airflow_kie.lifecycle.crash_points import reached
from airflow_kie.lifecycle.kept_answers import KeptAnswers

DOUBTS = "_doubt/"
"""Where the requests are named about which a person may have to decide; a name goes once its attempt is settled."""
RELEASED = "_released/"
"""Where requests are named that a person has given up: a retry of a long list finds them in one listing."""
MOST_FAILED = 3
"""Failed attempts of one request, over all runs, after which a person decides."""


class LedgerStore(Protocol):
    """Where the ledger's objects are. One primitive matters: of two that create an object, exactly one succeeds."""

    kind: ClassVar[str]
    """``s3``, ``database`` or ``task``: where a callback's id belongs."""

    def create(self, key: str, body: bytes) -> bool:
        """Create an object; False if there is one already, which stays as it is."""

    def list(self, prefix: str) -> Iterable[str]:
        """Return the keys below a prefix."""

    def read(self, key: str) -> bytes | None:
        """Return an object's content, None if there is none."""

    def delete(self, key: str) -> None:
        """Delete an object, if there is one; of a request's own objects none ever is."""


@dataclass(frozen=True)
class Ledger:
    """The paid requests of all accounts that archive to one place.

    :param store: where.
    :param clock: returns epoch seconds.
    :param settle_seconds: after which a request whose answer was lost counts as in doubt.
    :param answers: where answers are kept that were results themselves; empty: in the same place.
    """

    store: LedgerStore
    clock: Callable[[], float] = time.time
    settle_seconds: float = 30.0
    answers: Sequence[LedgerStore] = ()

    @property
    def kept_answers(self) -> KeptAnswers:
        """The answers that were results themselves."""
        return KeptAnswers(self.answers or (self.store,))

    def claim(self, request: RequestId, intent: Intent) -> Claim:
        """Take the right to send a request, or learn what is known of it.

        :param intent: what is written if it may be sent.
        """
        if self._create(request, 1, "intent", asdict(intent)):
            return Claimed(1, intent)
        while True:
            attempts = self.attempts(request)
            failed = tuple(task_id for attempt in attempts for task_id in attempt.task_ids)
            known = self._known(request, attempts)
            # A write whose answer was lost is repeated by the store's client, and refused: the first one counts.
            if isinstance(known, BeingSent | InDoubt):
                mine = known.intent is not None and known.intent.nonce == intent.nonce
                return Claimed(attempts[-1].number, intent, failed) if mine else known
            if known is not None:
                return known
            number = attempts[-1].number + 1 if attempts else 1
            if self._create(request, number, "intent", asdict(intent)):
                return Claimed(number, intent, failed)

    def find(self, request: RequestId) -> Known | None:
        """Return what is known of a request, None if it may be sent."""
        return self._known(request, self.attempts(request))

    def attempts(self, request: RequestId) -> list[Attempt]:
        """Return the attempts at a request."""
        return attempts_in(key.removeprefix(request.folder) for key in self.store.list(request.folder))

    def form(self, request: RequestId, number: int) -> str:
        """Return the API variant in which KIE was asked in an attempt; empty if unknown."""
        return self._intent(request, number).form

    def record_task(self, request: RequestId, number: int, task_id: str, **known: Any) -> None:
        """Record the task that KIE has made for an attempt.

        :param number: which attempt.
        :param task_id: KIE's id.
        :param known: what else is known of it, such as how the id came.
        """
        self._create(request, number, f"task.{quote(task_id, safe='')}", known)

    def record(self, request: RequestId, number: int, ending: str, **known: Any) -> bool:
        """Record how an attempt ended; False if that is recorded already.

        :param ending: ``refused``, ``failed``, ``released``, ``unanswered`` or ``repeated``.
        :param known: why, who.
        """
        if ending == "released":
            self.store.create(f"{RELEASED}{request.folder.rstrip('/')}", b"{}")
        return self._create(request, number, ending, known)

    def released(self, account: str, operation: str) -> set[str]:
        """Return the digests of an operation's requests of which a person has given up a task at some time."""
        prefix = f"{RELEASED}{quote(account, safe='')}/{operation}/"
        return {key.removeprefix(prefix) for key in self.store.list(prefix)}

    def record_doubt(self, request: RequestId, doubt: InDoubt) -> None:
        """Record that a person has to decide about an attempt; :meth:`doubts` lists it until that is done."""
        known = json.dumps({"at": self.clock(), "balance": doubt.balance})
        self.store.create(f"{DOUBTS}{request.folder}{doubt.number}", known.encode())

    def expect_doubt(self, request: RequestId, number: int) -> None:
        """Let :meth:`doubts` list an attempt once it is in doubt, whatever becomes of its sender; it stops none."""
        with contextlib.suppress(Exception):  # a store that cannot be used is noticed at the request's own objects
            self.store.create(_expected(request, number), b"{}")

    def expect_no_doubt(self, request: RequestId, number: int) -> None:
        """Take :meth:`expect_doubt` back once the attempt is settled; :meth:`doubts` does it where this cannot."""
        with contextlib.suppress(Exception):
            self.store.delete(_expected(request, number))

    def doubts(self, account: str) -> list[tuple[RequestId, InDoubt]]:
        """Return the requests of an account about which a person has to decide."""
        prefix = f"{DOUBTS}{quote(account, safe='')}/"
        named: dict[str, list[str]] = {}
        for key in self.store.list(prefix):
            named.setdefault(key.removeprefix(prefix).rpartition("/")[0], []).append(key)
        found: list[tuple[RequestId, InDoubt]] = []
        for name, keys in named.items():
            if name.count("/") != 1:  # nobody's request, such as a folder that a console has made
                continue
            request = RequestId(account, *name.split("/"))
            attempts = self.attempts(request)
            known = self._known(request, attempts)
            if isinstance(known, InDoubt):
                found.append((request, self._with_balance(request, known)))
            settled = {str(attempt.number) for attempt in attempts if attempt.settled}
            with contextlib.suppress(KieError):  # the next listing finds, and deletes, them again
                for key in keys:
                    if key.rpartition("/")[2].partition(".")[0] in settled:
                        self.store.delete(key)
        return found

    def _with_balance(self, request: RequestId, doubt: InDoubt) -> InDoubt:
        try:
            balance = json.loads(self.store.read(f"{DOUBTS}{request.folder}{doubt.number}") or b"{}")["balance"]
        except (ValueError, KeyError, TypeError):  # it is a hint; a damaged one stops no listing
            return doubt
        return replace(doubt, balance=balance if isinstance(balance, int | float) else None)

    def adopt(self, request: RequestId, task_id: str, **known: Any) -> int:
        """Record a task that somebody else has made, or has found after its answer was lost; return its attempt.

        :param task_id: KIE's id.
        :param known: who says so.
        """
        attempts = self.attempts(request)
        for attempt in attempts:
            if task_id in attempt.task_ids and "released" not in attempt.endings:
                return attempt.number
        open_ones = [attempt.number for attempt in attempts if not attempt.over and not attempt.task_ids]
        number = open_ones[-1] if open_ones else (attempts[-1].number + 1 if attempts else 1)
        if not open_ones:
            self._create(request, number, "intent", {"at": self.clock(), "not_after": 0.0, "owner": known})
        self.record_task(request, number, task_id, **known)
        return number

    def _known(self, request: RequestId, attempts: list[Attempt]) -> Known | None:
        for attempt in reversed(attempts):
            if attempt.task_id:
                intent = self._intent(request, attempt.number)
                # Of several ids one was named by a person: its form is unknown.
                form = intent.form if len(attempt.task_ids) == 1 else ""
                return AlreadyMade(attempt.number, attempt.task_id, intent.owner, form)
        failed = [attempt for attempt in attempts if "failed" in attempt.endings and "released" not in attempt.endings]
        if len(failed) >= MOST_FAILED:
            task_ids = dict.fromkeys(task_id for attempt in failed for task_id in attempt.task_ids)
            return FailedTooOften(tuple(task_ids), failed[-1].number)
        if not attempts or attempts[-1].over:
            return None
        last = attempts[-1]
        intent = self._intent(request, last.number)
        doubt_at = intent.in_doubt_at(self.settle_seconds if "unanswered" in last.endings else None)
        if self.clock() < doubt_at:
            return BeingSent(doubt_at, intent)
        if self.kept_answers.read(request, last.number):  # the process ended before it had named it here
            task_id = kept_id(request.digest, last.number)
            self.record_task(request, last.number, task_id)
            return AlreadyMade(last.number, task_id, intent.owner, intent.form)
        repeated = any("repeated" in attempt.endings for attempt in attempts)
        return InDoubt(last.number, intent, repeated, code=self._code(request, last))

    def _code(self, request: RequestId, attempt: Attempt) -> int | None:
        """Return the code of an answer that did not say whether a task was made; a hint, so a damaged one is none."""
        if "unanswered" not in attempt.endings:
            return None
        with contextlib.suppress(ValueError, AttributeError):
            code = json.loads(self.store.read(f"{request.folder}{attempt.number}.unanswered") or b"{}").get("code")
            return code if isinstance(code, int) else None
        return None

    def _intent(self, request: RequestId, number: int) -> Intent:
        return Intent.from_bytes(self.store.read(f"{request.folder}{number}.intent"))

    def _create(self, request: RequestId, number: int, ending: str, body: Mapping[str, Any]) -> bool:
        known = {name: value for name, value in body.items() if value not in (None, "", {}, ())}
        reached(f"before {ending.partition('.')[0]}")
        created = self.store.create(f"{request.folder}{number}.{ending}", json.dumps(known, sort_keys=True).encode())
        reached(f"after {ending.partition('.')[0]}")
        return created


def _expected(request: RequestId, number: int) -> str:
    return f"{DOUBTS}{request.folder}{number}.sent"


@dataclass(frozen=True)
class PaidRequest:
    """One request in the ledger, as its sender works with it.

    :param open_ledger: returns where; it is called when the ledger is first needed.
    :param request: which.
    :param new_intent: makes the intent that is written before it is sent.
    :param adopted: called when a task that was made before is used.
    :param balance: returns the account's credits as a hint, None where they cannot be read now.
    :param made: called with a task that KIE has made, once the ledger has it; it must not raise.
    """

    open_ledger: Callable[[], Ledger]
    request: RequestId
    new_intent: Callable[[float, str], Intent]
    adopted: Callable[[AlreadyMade], None] = lambda made: None
    balance: Callable[[], float | None] = lambda: None
    made: Callable[[str], None] = lambda task_id: None

    @property
    def ledger(self) -> Ledger:
        """Where it is recorded."""
        return self.open_ledger()

    def claim(self, form: str = "") -> Claim:
        """Take the right to send it, or learn what is known of it.

        :param form: the API variant in which it has to be sent; empty: in the one that it is usually sent in.
        """
        return self.ledger.claim(self.request, self.new_intent(self.ledger.clock(), form))

    def find(self) -> Known | None:
        """Return what is known of it, None if it may be sent."""
        return self.ledger.find(self.request)

    def is_released(self, task_id: str) -> bool:
        """Return whether a person has given a task up, and nobody has named it again: the request may be sent again."""
        found = [one.endings for one in self.ledger.attempts(self.request) if task_id in one.task_ids]
        return bool(found) and all("released" in endings for endings in found)

    def adopt(self, task_id: str) -> int:
        """Record a task that was made or found elsewhere; return which attempt it counts as."""
        return self.ledger.adopt(self.request, task_id)

    def record_doubt(self, doubt: InDoubt) -> None:
        """Record that a person has to decide about an attempt."""
        self.ledger.record_doubt(self.request, doubt)

    def record_task(self, number: int, task_id: str) -> None:
        """Record the task that KIE has named in its answer."""
        self.ledger.record_task(self.request, number, task_id)
        self.made(task_id)

    def keep_answer(self, claimed: Claimed, answer: Any) -> str:
        """Keep an answer of KIE's that is the result itself; return its id from now on."""
        kept, at = self.ledger.kept_answers, self.ledger.clock()
        return kept.keep(self.request, claimed.number, answer, form=claimed.intent.form, at=at)

    def record(self, number: int, ending: str, **known: Any) -> bool:
        """Record how an attempt ended; see :meth:`Ledger.record`."""
        return self.ledger.record(self.request, number, ending, **known)
