"""Checks of one KIE account, all of them free: key, credits, clocks, limiter."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from airflow_kie import settings
from airflow_kie.cli.checks.findings import Finding, Level, failed, finding
from airflow_kie.cli.http_log import Exchange, ListeningTransport
from airflow_kie.client.api import Kie
from airflow_kie.client.callbacks.signature import NEWEST
from airflow_kie.client.errors import KieError
from airflow_kie.hooks.kie import KieHook, spreads_over_machines
from airflow_kie.hooks.spending_switch import stops

CLOCK_TOLERANCE = 10.0
"""Seconds: the Date header counts whole ones, and the answer was on its way."""
FEW_COVERS = 20
"""A balance for fewer covers is worth a word."""


def key_findings(hook: KieHook) -> Iterator[Finding]:
    """Ask for the balance, which is free: whether the key works, what is left, and whose clock is right."""
    transport = ListeningTransport(hook.account)
    try:
        credits = Kie(transport).credits()
    except KieError as error:
        yield failed("key", error)
    else:
        yield finding("key", Level.OK, "KIE accepts the API key.")
        yield _credits(credits)
    finally:
        transport.close()
    yield from (_clock(exchange) for exchange in transport.exchanges)


def _credits(credits: float) -> Finding:
    price = settings.number("credits_per_cover", 0)
    left = f"{credits:g}"
    if credits <= 0 or credits < price:
        return finding("credits", Level.FAIL, "{credits} credits are left: nothing can be made. Top up.", credits=left)
    if price and credits < FEW_COVERS * price:
        covers = int(credits // price)
        return finding(
            "credits",
            Level.WARN,
            "{credits} credits are left: enough for {covers} covers at [kie] credits_per_cover. Top up soon.",
            credits=left,
            covers=covers,
        )
    return finding("credits", Level.OK, "{credits} credits are left.", credits=left)


def _clock(exchange: Exchange) -> Finding:
    told = exchange.response.headers.get("date", "")
    try:
        theirs = parsedate_to_datetime(told).astimezone(UTC)
    except ValueError:
        return finding("clock", Level.WARN, "KIE's answer carries no readable Date, so the clocks cannot be compared.")
    return clock_finding(exchange.ahead_of(theirs))


def clock_finding(ahead: float) -> Finding:
    """Return what a difference of the clocks means.

    :param ahead: seconds by which this machine's clock is before KIE's.
    """
    which = "ahead of" if ahead > 0 else "behind"
    sentence = f"This machine's clock is {abs(ahead):.0f} s {which} KIE's."
    if abs(ahead) <= CLOCK_TOLERANCE:
        return finding("clock", Level.OK, f"This machine's clock and KIE's agree to {CLOCK_TOLERANCE:.0f} s.")
    if abs(ahead) < NEWEST:
        return finding("clock", Level.WARN, f"{sentence} Set it by NTP before it gets worse.")
    return finding(
        "clock",
        Level.FAIL,
        f"{sentence} Signed callbacks are refused from {NEWEST:.0f} s on, and S3 refuses requests from 15 minutes on. "
        "Set it by NTP.",
    )


def limiter_findings(hook: KieHook) -> Iterator[Finding]:
    """Reach the store that counts the account's new tasks; nothing is counted."""
    limiter = hook.limiter()
    try:
        limiter.reach()
    except KieError as error:
        yield failed("limiter", error)
        return
    if limiter.local and spreads_over_machines():
        yield finding(
            "limiter",
            Level.WARN,
            "New tasks are counted in {place} of this machine, but the executor runs tasks on several: together they "
            "can exceed KIE's rate. Name a redis or postgres connection in the connection's limiter_conn_id.",
            place=limiter.place,
        )
        return
    shared = "this machine's processes" if limiter.local else "all machines"
    yield finding("limiter", Level.OK, f"New tasks are counted in {{place}}, for {shared}.", place=limiter.place)


def spending_findings(hook: KieHook) -> Iterator[Finding]:
    """Read from Airflow's database whether somebody has stopped the account's new paid tasks."""
    stop = stops().get(hook.account.spending_name)
    if stop is None:
        yield finding("spending", Level.OK, "New paid tasks may be made.")
    else:
        yield finding("spending", Level.WARN, "New paid tasks are stopped: {who_and_why}", who_and_why=stop.sentence())


def ago(moment: datetime) -> str:
    """Return how long ago a moment was, as people say it."""
    seconds = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} seconds ago"
