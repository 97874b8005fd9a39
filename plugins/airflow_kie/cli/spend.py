"""`airflow kie spend`: what a month has cost, by the ledger of paid requests, compared with the account's balance."""

from __future__ import annotations

import csv
import io
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from airflow_kie.cli.arguments import with_each_account
from airflow_kie.cli.terminal import InvalidArgument, command, complain, say
from airflow_kie.client.errors import KieError
from airflow_kie.durable.ledgers import ledgers_of
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.spent import Spent, Total, balances, by_group, spent, total
from airflow_kie.monitoring.checks.findings import error_text

HEADS = ("tasks", "quoted_low", "quoted_high", "used", "unknown", "connection")


@command()
def spend(args: Namespace) -> int:
    """Show what a month has cost.

    :param args: `month` (None: this one), `by`, `csv`, `kie_conn_id`.
    :return: 0; 1 where one of several connections could not be used, or a balance or tasks' own states not be read.
    """
    since, until = _month(args.month)
    if args.csv:
        say(",".join((args.by, *HEADS)))

    ended = 0

    def balance(hook: KieHook) -> tuple[float, float] | None:
        nonlocal ended
        if not since <= time.time() < until:
            return None
        try:
            return time.time(), hook.credits()
        except KieError as error:
            ended = 1
            complain(f"Connection {hook.kie_conn_id}: the balance could not be read. {error_text(error)}")
            return None

    def show(hook: KieHook) -> None:
        nonlocal ended
        ledgers = ledgers_of(hook)
        name = hook.account.spending_name
        found = (one for opened in ledgers.opened for one in spent(opened.ledger, name, since, until))
        requests = sorted(found, key=lambda one: one.at)
        if ledgers.unread:
            ended = 1
            complain(f"Connection {hook.kie_conn_id}: {ledgers.unread}.")
        compared = compare(requests, balance(hook))
        for line in (_csv if args.csv else _lines)(args.by, hook.kie_conn_id, requests, compared):
            say(line)

    return max(with_each_account(args.kie_conn_id, show), ended)


@dataclass(frozen=True)
class Comparison:
    """A balance at two times, and what the ledger says of the time between them.

    :param since: epoch seconds of the first.
    :param before: credits then.
    :param after: credits at the end.
    :param used: credits that the ledger says were used in between.
    """

    since: float
    before: float
    after: float
    used: float

    @property
    def unexplained(self) -> float:
        """Credits that are gone and are not in the ledger; what was topped up counts against them."""
        return round(self.before - self.after - self.used, 4) + 0.0  # and never -0


def compare(requests: Sequence[Spent], now: tuple[float, float] | None) -> Comparison | None:
    """Return how the balance has changed since the first request that names it; None where that is not known.

    :param requests: in their order.
    :param now: the time and the balance; None: the month is over, and the last request that names it counts.
    """
    known = list(balances(requests))
    end = now or (known[-1] if len(known) > 1 else None)
    if not known or end is None:
        return None
    (since, before), (until, after) = known[0], end
    used = total(one for one in requests if since <= one.at < until).used
    return Comparison(since, before, after, used)


def _lines(by: str, conn_id: str, requests: Sequence[Spent], compared: Comparison | None) -> Iterator[str]:
    yield f"Connection {conn_id}:"
    for name, one in by_group(requests, by).items():
        yield f"  {name}: {_sentence(one)}"
    yield f"  all: {_sentence(total(requests))}"
    if compared is None:
        yield "  KIE's balance cannot be compared: fewer than two balances of the month are known."
        return
    when = datetime.fromtimestamp(compared.since, tz=UTC).isoformat(timespec="minutes")
    yield (
        f"  KIE's balance: {compared.before:g} at {when}, {compared.after:g} at the end; "
        f"{compared.used:g} of the difference are in the ledger."
    )
    yield f"  not explained by the ledger: {compared.unexplained:g} (other programs; below 0: topped up)"


def _sentence(one: Total) -> str:
    quoted = f"{one.low:g}" if one.low == one.high else f"{one.low:g} to {one.high:g}"
    unknown = f", unknown for {one.unknown}" if one.unknown else ""
    return f"{one.used:g} credits used, {quoted} quoted, {one.tasks} task{'' if one.tasks == 1 else 's'}{unknown}"


def _csv(by: str, conn_id: str, requests: Sequence[Spent], compared: Comparison | None) -> Iterator[str]:
    rows = {**by_group(requests, by), "(all)": total(requests)}
    for name, one in rows.items():
        amounts = (f"{amount:.10g}" for amount in (one.low, one.high, one.used))
        yield _row(_no_formula(name), one.tasks, *amounts, one.unknown, conn_id)
    if compared is not None:
        yield _row("(not explained)", "", "", "", f"{compared.unexplained:.10g}", "", conn_id)


def _row(*cells: object) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _no_formula(name: str) -> str:
    """Return a name that a spreadsheet takes for a text."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def _month(text: str | None) -> tuple[float, float]:
    """Return when a month begins and ends, in epoch seconds.

    :raises InvalidArgument: when the text is not a month.
    """
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC) if text else datetime.now(UTC)
    except ValueError:
        raise InvalidArgument(f"{text!r} is not a month, such as 2026-11.") from None
    first = first.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return first.timestamp(), following.timestamp()
