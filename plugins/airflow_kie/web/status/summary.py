"""One sentence each on money, on files, and on what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from airflow_kie import settings
from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.monitoring.checks.findings import Level
from airflow_kie.web.pages.shown_files import day
from airflow_kie.web.status.report import Account, Report, Waiting, worst


@dataclass(frozen=True)
class Sentence:
    """A sentence and how good or bad it is.

    :param level: ``ok``, ``warn`` or ``FAIL``.
    :param more: how many further things there are to do.
    """

    level: Level
    text: str
    more: int = 0


def money(report: Report) -> Sentence:
    """Return what there is to spend, whether it is stopped, and what may have been paid without a result."""
    accounts = _accounts(report)
    doubts = sum(len(account.doubts) for account in accounts)
    balances = [f"{one.name} has {one.credits:,.0f} credits" for one in accounts if one.credits is not None]
    unread = [one.connection for one in report.accounts if one.credits is None]
    unclear = [one.connection for one in report.accounts if one.credits is not None and one.problem]
    stopped = [one.name for one in accounts if one.stop]
    least = settings.number("credits_alert", 0)
    empty = [one for one in report.accounts if one.credits is not None and one.credits <= max(0, least)]
    parts = [
        *([f"Account {_listed(balances)}"] if balances else []),
        *([f"the balance of connection {_listed(unread)} could not be read"] if unread else []),
        *([f"not everything could be read of connection {_listed(unclear)}"] if unclear else []),
        *([f"new paid tasks of {_listed(stopped)} are stopped"] if stopped else []),
        *([f"{doubts} request{'s' if doubts > 1 else ''} may have been paid for without a result"] if doubts else []),
    ]
    level = Level.FAIL if empty or unread else Level.WARN if stopped or doubts or unclear else Level.OK
    text = "; ".join(parts) or "No KIE connection is configured"
    calm = "; nothing is in doubt" if level is Level.OK and parts else ""
    return Sentence(level, f"{text[0].upper()}{text[1:]}{calm}.")


def files(report: Report) -> Sentence:
    """Return what is not archived yet, and until when KIE keeps it."""
    if report.pending is None:
        return Sentence(Level.FAIL, report.files_problem)
    if not report.pending:
        return Sentence(Level.OK, "Everything requested is archived.")
    text = f"{counted(report.pending)} {'is' if report.pending == 1 else 'are'} pending"
    level = Level.WARN if _need_person(report) else Level.OK
    if not report.next_expiry:
        return Sentence(level, f"{text}; no files at KIE would be lost.")
    soon = report.next_expiry - report.at < timedelta(days=settings.number("expiry_alert_days", 3))
    level = Level.FAIL if soon else level
    deletes = "deletes" if report.next_expiry > report.at else "has deleted"
    return Sentence(level, f"{text}; KIE {deletes} the first of their files on {day(report.next_expiry)}.")


def todo(report: Report) -> Sentence:
    """Return the first thing that somebody has to do."""
    doubts = any(account.doubts for account in report.accounts)
    things = [
        *((Level.FAIL, one.seen) for one in worst(report.findings) if one.level is Level.FAIL),
        *((Level.WARN, f"{counted(one.count)}: {one.what}. {one.todo}") for one in _need_person(report)),
        *([(Level.WARN, "Resolve the requests in doubt below.")] if doubts else []),
        *((Level.WARN, one.stop.sentence()) for one in _accounts(report) if one.stop),
    ]
    if not things:
        return Sentence(Level.OK, "Nothing. Pending songs continue automatically.")
    (level, text), *more = things
    return Sentence(level, text, len(more))


def _accounts(report: Report) -> Iterable[Account]:
    """Return each account once, of several connections to it one that could read its balance."""
    known = sorted(report.accounts, key=lambda one: one.credits is not None)
    return {one.name: one for one in known}.values()


def _need_person(report: Report) -> list[Waiting]:
    return [one for one in report.waiting if one.needs_person]


def _listed(names: Iterable[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last
