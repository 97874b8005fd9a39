"""Checks of one KIE account, all of them free: key, credits, clocks, limiter."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from airflow_kie import settings
from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.api import Kie
from airflow_kie.client.callbacks.signature import NEWEST
from airflow_kie.client.errors import KieError
from airflow_kie.client.http.transport import KieTransport
from airflow_kie.client.operations.operation import Form
from airflow_kie.client.requests import Request
from airflow_kie.durable.ledgers import ledgers_of
from airflow_kie.hooks.cost import check_countable
from airflow_kie.hooks.kie import KieHook, spreads_over_machines
from airflow_kie.hooks.spending_switch import stops
from airflow_kie.monitoring.checks.findings import Finding, Level, failed, finding

COVERS_SEEN = "No recorded cover of either API variant is public; docs/seen-on-kie.md lists what is."
"""What is known of the API variants in which covers are requested."""
CLOCK_TOLERANCE = 10.0
"""Seconds: the Date header counts whole ones, and the answer was on its way."""


class _TimedTransport(KieTransport):
    """Sends for one account, and keeps the clocks' difference as the last answer shows it."""

    clock: Finding | None = None

    def send(self, request: Request) -> Response:
        """Send a request and return the answer; errors as in the transport."""
        sent = datetime.now(UTC)
        response = super().send(request)
        self.clock = clock_finding(sent, datetime.now(UTC), response.headers.get("date", ""))
        return response


def key_findings(hook: KieHook) -> Iterator[Finding]:
    """Ask for the balance, which is free: whether the key works, what is left, and whose clock is right."""
    transport = _TimedTransport(hook.account)
    try:
        credits = Kie(transport).credits()
    except KieError as error:
        yield failed("key", error)
    else:
        yield finding("key", Level.OK, "KIE accepts the API key.")
        yield _credits(credits)
    finally:
        transport.close()
    if transport.clock:
        yield transport.clock


def api_findings(hook: KieHook) -> Iterator[Finding]:
    """Say in which of KIE's API variants the account asks, and what is known of it; KIE is not asked."""
    if not (api := hook.account.api):
        usual = "Requests use KIE's unified API variant; those about a song use the variant that made it."
        yield finding("api", Level.OK, f"{usual} {COVERS_SEEN}")
        return
    alone = f"Requests use only KIE's {api} API variant, as set in `api`; ids of the other variant are not found."
    newest = " KIE documents V6 only for the other variant." if api == Form.DEDICATED else ""
    yield finding("api", Level.OK, f"{alone}{newest} {COVERS_SEEN}")


def _credits(credits: float) -> Finding:
    few = settings.number("credits_alert", 0)
    left = f"{credits:g}"
    if credits <= 0:
        return finding("credits", Level.FAIL, "{credits} credits are left: no task can be paid. Top up.", credits=left)
    if credits < few:
        below = "{credits} credits are left, fewer than [kie] credits_alert ({few}). Top up soon."
        return finding("credits", Level.WARN, below, credits=left, few=f"{few:g}")
    return finding("credits", Level.OK, "{credits} credits are left.", credits=left)


def clock_finding(sent: datetime, received: datetime, date: str) -> Finding:
    """Return what KIE's time says about this machine's clock.

    KIE has read its clock at some moment between request and answer, so only what goes beyond them is a difference.

    :param sent: when the request was sent, by this machine's clock.
    :param received: when the answer was there.
    :param date: the answer's header Date.
    """
    try:
        theirs = parsedate_to_datetime(date).astimezone(UTC)
    except ValueError:
        return finding("clock", Level.WARN, "KIE's answer has no valid Date header, so the clocks cannot be compared.")
    ahead = (min(max(theirs, sent), received) - theirs).total_seconds()
    which = "ahead of" if ahead > 0 else "behind"
    sentence = f"This machine's clock is {abs(ahead):.0f} s {which} KIE's."
    if abs(ahead) <= CLOCK_TOLERANCE:
        return finding("clock", Level.OK, f"This machine's clock and KIE's agree to {CLOCK_TOLERANCE:.0f} s.")
    if abs(ahead) < NEWEST:
        return finding("clock", Level.WARN, f"{sentence} Set it with NTP before it gets worse.")
    refused = f"Signed callbacks are refused from {NEWEST:.0f} s on, and S3 requests from 15 minutes on."
    return finding("clock", Level.FAIL, f"{sentence} {refused} Set it with NTP.")


def limiter_findings(hook: KieHook) -> Iterator[Finding]:
    """Reach the store that counts the account's new tasks; nothing is counted."""
    try:
        store = hook.limiter().store
        with store.locked("health check"):
            pass
    except KieError as error:
        yield failed("limiter", error)
        return
    if store.local and spreads_over_machines():
        try:
            check_countable(hook, hook.caps)
        except KieError as error:
            yield failed("limiter", error)
            return
        yield finding(
            "limiter",
            Level.WARN,
            "New tasks are counted in {place} of this machine, but the executor runs tasks on several: together they "
            "can exceed KIE's rate. Name a Postgres connection in the connection's limiter_conn_id.",
            place=store.shown,
        )
        return
    shared = "this machine's processes" if store.local else "all machines"
    yield finding("limiter", Level.OK, f"New tasks are counted in {{place}}, for {shared}.", place=store.shown)


def ledger_findings(hook: KieHook) -> Iterator[Finding]:
    """Open the ledger of paid requests, which writes and deletes a probe once a day, and count what is in doubt."""
    try:
        ledgers = ledgers_of(hook)
        doubts = [one for opened in ledgers.opened for one in opened.ledger.doubts(hook.account.spending_name)]
    except KieError as error:
        yield failed("ledger", error)
        return
    level = Level.WARN if ledgers.not_covered else Level.OK
    text = "Paid requests are recorded in {place}." + (" Not covered: {rest}." if ledgers.not_covered else "")
    yield finding("ledger", level, text, place=ledgers.where, rest=ledgers.not_covered)
    if ledgers.unread:
        yield finding("in doubt", Level.WARN, "{why}.", why=ledgers.unread)
    if doubts:
        yield finding(
            "in doubt",
            Level.WARN,
            "{count} requests may have been paid for, but have no task id: `airflow kie doubts` lists them.",
            count=len(doubts),
        )


def spending_findings(hook: KieHook) -> Iterator[Finding]:
    """Read from Airflow's database whether somebody has stopped the account's new paid tasks."""
    stop = stops().get(hook.account.spending_name)
    if stop is None:
        yield finding("spending", Level.OK, "New paid tasks are allowed.")
    else:
        yield finding("spending", Level.WARN, "New paid tasks are stopped: {who_and_why}", who_and_why=stop.sentence())
