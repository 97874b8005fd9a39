"""Calls that cost credits, paid for once: the ledger records each before it is sent, and its answer is stored.

KIE creates no task for what it answers at once: the answer is the only copy. A call whose answer was lost is in doubt,
and is not sent again automatically.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_kie.client.answers.inline import CALL_PAUSE, CALL_SECONDS, kept_id
from airflow_kie.client.catalogue.prices import Quote, quote
from airflow_kie.client.errors import KieCreateInDoubt, KieError, KieNotSent, KieThrottled, naming
from airflow_kie.client.operations.operation import CallOperation
from airflow_kie.hooks.cost import counted, may_be_charged
from airflow_kie.hooks.sending import owner_of, recent_balance
from airflow_kie.lifecycle.claims import REQUEST_SECONDS, AlreadyMade, BeingSent, Claimed, InDoubt, Intent, RequestId
from airflow_kie.lifecycle.ledger import Ledger

if TYPE_CHECKING:
    from airflow_kie.hooks.connected import Connected

log = logging.getLogger(__name__)

MADE_SECONDS = 2 * REQUEST_SECONDS + CALL_SECONDS + CALL_PAUSE
"""Seconds that a call may take beyond its first request where KIE has a second form of it, or makes a task of it."""
CHAT = "chat"
"""What the ledger calls a request to a chat model, which is not an operation: it is never found and used again."""


def is_kept(call: CallOperation, body: Mapping[str, Any]) -> bool:
    """Return whether a call is in the ledger and its answer is kept: it costs credits, or KIE makes it once.

    :param call: the operation.
    :param body: the request's fields as KIE names them.
    """
    return bool(call.once_per) or quote(call, body).high != 0


@dataclass(frozen=True)
class PaidCall:
    """One call that costs credits.

    :param hook: the account.
    :param open_ledger: returns its ledger.
    :param call: the operation.
    :param body: the request's fields as KIE names them.
    :param digest: of the request's identity.
    :param ti: the task instance that asks.
    """

    hook: Connected
    open_ledger: Callable[[], Ledger]
    call: CallOperation
    body: Mapping[str, Any] = field(repr=False)
    digest: str
    ti: Any

    @property
    def request(self) -> RequestId:
        """The call's name in the ledger."""
        return RequestId(self.hook.account.spending_name, self.call.name, self.digest)

    def answer(self) -> Any:
        """Return KIE's answer: the kept one where it was asked before.

        :raises KieThrottled: while somebody else asks.
        :raises KieCreateInDoubt: where it was asked and the answer is not known; `airflow kie release` lets it be asked
            again.
        :raises KieError: whatever KIE's code means; nothing was paid then.
        """
        ledger = self.open_ledger()
        known = ledger.find(self.request)
        if known is None:
            self.hook.spending_switch.check()
            known = ledger.claim(self.request, self._intent())  # type: ignore[assignment]
        match known:
            case Claimed() as claimed:
                return self._asked(ledger, claimed)
            case AlreadyMade(number):
                body = ledger.kept_answers.read(self.request, number)
                if body is not None:
                    log.info("%s: using KIE's earlier answer. Nothing is paid.", self.call.title)
                    return json.loads(body)["answer"]
                raise self._in_doubt("was sent before, and its answer is not stored")
            case BeingSent(until) if "unanswered" not in ledger.attempts(self.request)[-1].endings:
                waits = "the same call is being sent, or its sender has just died"
                raise KieThrottled(waits, retry_after=max(1.0, until - time.time()), kind=self.call.name)
            case InDoubt() as doubt:
                ledger.record_doubt(self.request, doubt)
        raise self._in_doubt("was sent before, and the answer was lost")

    def _asked(self, ledger: Ledger, claimed: Claimed) -> Any:
        number, sent = claimed.number, False
        ledger.expect_doubt(self.request, number)
        try:
            with counted(self.hook, self.call, self.body, self.ti):
                if time.time() >= claimed.intent.not_after:  # it was frozen: others count this attempt as in doubt
                    raise KieNotSent("too much time passed before it could be sent", kind=self.call.name)
                kie, sent = self.hook.get_conn(), True
                answer = kie.call(self.call, self.body)
        except KieError as error:
            if not may_be_charged(error):
                self._refused(ledger, number, error.reason)
                raise
            ledger.record(self.request, number, "unanswered", reason=error.reason)
            ledger.record_doubt(self.request, InDoubt(number, claimed.intent, balance=self._balance()))
            raise self._in_doubt(f"was sent, and the answer was lost ({error.facts.message})") from error
        except Exception as error:
            if not sent:  # such as an Airflow that cannot be asked for the connection
                self._refused(ledger, number, type(error).__name__)
            raise
        with naming(paid="KIE has answered, and may have charged for it, but its answer could not be stored"):
            ledger.kept_answers.keep(self.request, number, answer, form="", at=time.time())
        ledger.record_task(self.request, number, kept_id(self.digest, number))
        ledger.expect_no_doubt(self.request, number)
        return answer

    def _refused(self, ledger: Ledger, number: int, reason: str) -> None:
        """Record that an attempt has made nothing: another one may follow."""
        ledger.record(self.request, number, "refused", reason=reason)
        ledger.expect_no_doubt(self.request, number)

    def _intent(self) -> Intent:
        quoted = quote(self.call, self.body)
        return Intent.made_at(
            time.time(),
            owner=owner_of(self.ti),
            key=hashlib.sha256(self.hook.account.api_key.encode()).hexdigest()[:8],
            balance=recent_balance(self.hook.account.name, self._balance),
            quoted=(quoted.low, quoted.high) if quoted.low is not None and quoted.high is not None else (),
            longer=MADE_SECONDS if self.call.model else None,
        )

    def _balance(self) -> float | None:
        try:
            return self.hook.credits()
        except KieError:
            return None

    def _in_doubt(self, what: str) -> KieCreateInDoubt:
        return KieCreateInDoubt(
            f"{self.call.title} {what}. After `airflow kie release {self.request}`, the next attempt sends it again "
            "and pays again"
        )


def record_chat(
    hook: Connected,
    open_ledger: Callable[[], Ledger],
    name: str,
    at: float,
    quoted: Quote,
    ti: Any,
    *,
    answered: bool = False,
    used: float | None = None,
) -> None:
    """Write into the ledger that a chat model was asked, for `airflow kie spend`; it stops nothing, and never raises.

    It comes after the answer: a worker that dies meanwhile leaves nothing, and another try asks and pays again.

    :param hook: the account.
    :param open_ledger: returns its ledger.
    :param name: the request's own, hexadecimal.
    :param at: epoch seconds at which it was sent.
    :param quoted: what it costs at most.
    :param ti: the task instance that asks.
    :param answered: False: the answer was lost.
    :param used: credits; None: not known.
    """
    request = RequestId(hook.account.spending_name, CHAT, name)
    costs = (quoted.low, quoted.high) if quoted.low is not None and quoted.high is not None else ()
    try:
        ledger = open_ledger()
        ledger.claim(request, Intent.made_at(at, owner=owner_of(ti), quoted=costs))
        if answered:
            ledger.record(request, 1, "used", credits=used)
    except KieError as error:
        log.warning("A chat request could not be recorded; `airflow kie spend` does not include it. %s", error)
