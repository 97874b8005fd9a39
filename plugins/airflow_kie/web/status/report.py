"""What the status page knows: gathered beside each other, bounded in time, none of it costs anything.

What cannot be read is a sentence on the page and hides nothing else. A report is kept for some seconds, and gathered
again in a thread: a page that is requested often asks KIE no oftener.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import TypeVar

from airflow_kie import settings
from airflow_kie._airflow_private.metadata import waiting_by_dag
from airflow_kie.archive.pending import Pending
from airflow_kie.client.errors import error_class
from airflow_kie.client.rate_limiter.limiter import DAY_MS
from airflow_kie.durable.ledgers import ledgers_of
from airflow_kie.hooks.archive import configured_archive
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.spending_switch import Stop, stops
from airflow_kie.monitoring.backlog import Backlog, backlog_in, expires, expiry_of, goes_on
from airflow_kie.monitoring.callback_health import LastCallback, last_callback
from airflow_kie.monitoring.callback_test import can_be_tested
from airflow_kie.monitoring.checks.every import account_findings, installation_findings
from airflow_kie.monitoring.checks.findings import Finding, Level, error_text, failed
from airflow_kie.monitoring.restart import NEVER_FAILED, reason_of

log = logging.getLogger(__name__)
T = TypeVar("T")

FRESH = 20.0
"""Seconds for which a report is shown before it is gathered again."""
PATIENT = 4.0
"""Seconds for which a request waits for a report, if there is none yet or something was changed."""
OLD = 120.0
"""Seconds after which a report is gone, unless the next one is still gathered: minutes, where S3 does not answer."""
SONGS = 8
"""Songs of a reason that are named."""
WEEK = 7
"""Days over which what is spent a day is counted."""
_PARALLEL = 6


@dataclass(frozen=True)
class Doubt:
    """A request that may have been paid for, and whose task is not known.

    :param request: its name, such as ``suno.music/0123…``.
    :param sent_at: when it was sent.
    :param owner: who has asked for it: DAG, run, task.
    :param hint: what the balances before and after it say.
    """

    request: str
    sent_at: datetime
    owner: str
    hint: str


@dataclass(frozen=True)
class Account:
    """A connection and its account.

    :param name: of the account.
    :param credits: its balance; None where KIE does not say.
    :param problem: why something is not known.
    :param stop: new paid tasks are stopped.
    :param last: KIE's last callback.
    :param a_day: credits that it spends a day, by what was sent in the last week; None: unknown.
    :param calls_back: it has a callback URL and a secret that signs a test.
    """

    connection: str
    name: str
    credits: float | None = None
    problem: str = ""
    stop: Stop | None = None
    doubts: tuple[Doubt, ...] = ()
    last: LastCallback | None = None
    a_day: float | None = None
    calls_back: bool = False

    @property
    def lasts(self) -> float | None:
        """For how many days the balance is enough, at what was spent a day; None: unknown."""
        return self.credits / self.a_day if self.a_day and self.credits is not None else None


@dataclass(frozen=True)
class Waiting:
    """Songs that are pending for one reason.

    :param reason: as errors name it.
    :param what: what it is.
    :param todo: what a person can do.
    :param songs: ids and titles of some of them.
    :param count: how many there are.
    :param needs_person: they do not continue automatically.
    :param can_be_retried: a run can be started for each.
    """

    reason: str
    what: str
    todo: str
    songs: tuple[tuple[str, str], ...]
    count: int
    needs_person: bool
    can_be_retried: bool


@dataclass(frozen=True)
class Report:
    """All of it.

    :param at: when it was gathered.
    :param accounts: one for each connection of `[kie] kie_conn_ids`.
    :param findings: of `airflow kie doctor`.
    :param waiting: the pending songs by reason, those that need a person first.
    :param pending: how many songs are pending; None where the bucket cannot be read.
    :param files_problem: why it cannot.
    :param next_expiry: when KIE deletes the first file that is not archived.
    :param in_flight: DAG → how many of its tasks wait for KIE; None: unknown.
    """

    at: datetime
    accounts: tuple[Account, ...] = ()
    findings: tuple[Finding, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    pending: int | None = 0
    files_problem: str = ""
    next_expiry: datetime | None = None
    in_flight: Mapping[str, int] | None = None


def gathered() -> Report:
    """Return what is known now."""
    connections = settings.allowed_connections()
    now = datetime.now(UTC)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        accounts = [pool.submit(_account, conn_id) for conn_id in connections]
        backlog, in_flight = pool.submit(_backlog), pool.submit(_in_flight)
        checks: list[Callable[[], Iterable[Finding]]] = [partial(account_findings, conn_id) for conn_id in connections]
        checks.append(installation_findings)
        findings = [pool.submit(_listed, check) for check in checks]
        songs, problem = backlog.result()
        return Report(
            at=now,
            accounts=tuple(account.result() for account in accounts),
            findings=tuple(chain.from_iterable(found.result() for found in findings)),
            waiting=tuple(by_reason(songs.read)) if songs else (),
            pending=songs.count if songs else None,
            files_problem=problem,
            next_expiry=min((expiry_of(one) for one in songs.read if expires(one)), default=None) if songs else None,
            in_flight=in_flight.result(),
        )


def by_reason(pending: Iterable[Pending]) -> list[Waiting]:
    """Return pending songs by their reason: those that need a person first, then the most frequent."""
    groups: dict[tuple[str, bool], list[Pending]] = {}
    for one in pending:
        waits = one.waiting_for
        groups.setdefault((waits.reason if waits else reason_of(one), bool(waits)), []).append(one)
    found = [_waiting(reason, songs, waits=waits) for (reason, waits), songs in groups.items()]
    return sorted(found, key=lambda one: (not one.needs_person, -one.count, one.reason))


def _waiting(reason: str, songs: Sequence[Pending], *, waits: bool) -> Waiting:
    known = error_class(reason)
    if known:
        what, todo = known.what, known.todo
    elif reason == NEVER_FAILED:
        what, todo = "In progress, or waiting for a run", "Nothing: they continue automatically."
    else:
        what, todo = "A task of the song failed", "Read the log of the failed task, fix the cause, then retry."
    return Waiting(
        reason=reason,
        what=what,
        todo=todo,
        songs=tuple((one.music_task_id, one.title or "") for one in songs[:SONGS]),
        count=len(songs),
        needs_person=not waits and not all(map(goes_on, songs)),
        can_be_retried=not waits,
    )


def _backlog() -> tuple[Backlog | None, str]:
    if not settings.text("bucket"):
        return None, "No bucket is set in [kie]: pending songs are not recorded."
    try:
        return backlog_in(*configured_archive()), ""
    except Exception as error:  # noqa: BLE001 - the page shows the rest
        return None, error_text(error)


def _in_flight() -> Mapping[str, int] | None:
    try:
        return waiting_by_dag("airflow_kie.")
    except Exception as error:  # noqa: BLE001 - the page shows the rest
        log.warning("The number of tasks that wait for KIE could not be read: %s", type(error).__name__)
        return None


def _account(connection: str) -> Account:
    hook = KieHook(connection)
    problems: list[str] = []

    def known(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except Exception as error:  # noqa: BLE001 - the page shows the rest
            problems.append(error_text(error))
            return None

    name = known(lambda: hook.account.spending_name)
    if name is None:
        return Account(connection, connection, problem=problems[0])
    return Account(
        connection,
        name,
        credits=known(hook.credits),
        stop=(known(stops) or {}).get(name),
        doubts=known(lambda: _doubts(hook, problems)) or (),
        last=known(lambda: last_callback(connection)),
        a_day=known(lambda: hook.limiter().spent(WEEK * DAY_MS) / WEEK),
        calls_back=bool(known(lambda: can_be_tested(hook.account))),
        problem=" ".join(dict.fromkeys(problems)),
    )


def _doubts(hook: KieHook, problems: list[str]) -> tuple[Doubt, ...]:
    """Return what is in doubt; why some of it may be missing is added to the problems."""
    ledgers, account = ledgers_of(hook), hook.account.spending_name
    if ledgers.unread:
        problems.append(f"{ledgers.unread}.")
    return tuple(
        Doubt(
            str(request),
            datetime.fromtimestamp(doubt.intent.at, tz=UTC),
            ", ".join(f"{name} {value}" for name, value in sorted(doubt.intent.owner.items())),
            doubt.hint,
        )
        for opened in ledgers.opened
        for request, doubt in opened.ledger.doubts(account)
    )


def _listed(check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return list(check())
    except Exception as error:  # noqa: BLE001 - the page shows the rest
        return [failed("check", error)]


@dataclass
class StatusBoard:
    """Keeps the last report.

    :param gather: makes one.
    """

    gather: Callable[[], Report] = gathered
    _report: Report | None = field(default=None, init=False)
    _made_at: float = field(default=float("-inf"), init=False)
    _shown_until: float = field(default=float("-inf"), init=False)
    _changes: int = field(default=0, init=False)
    _gathering: bool = field(default=False, init=False)
    _done: threading.Condition = field(default_factory=threading.Condition, init=False, repr=False)

    def report(self, patient: float = PATIENT) -> Report | None:
        """Return a report that is about as old as :data:`FRESH`; None: the first one for long is still gathered.

        :param patient: seconds to wait for that one.
        """
        with self._done:
            now = time.monotonic()
            if not self._gathering and now - self._made_at > FRESH:
                self._gathering = True
                self._shown_until = float("inf") if now < self._shown_until else now
                threading.Thread(target=self._gather, name="kie-status", daemon=True).start()
            if now - self._made_at > 2 * FRESH:  # nobody has asked for a while, or something was changed
                self._done.wait_for(lambda: self._made_at > now, patient)
            return self._report if time.monotonic() < self._shown_until else None

    def changed(self) -> None:
        """Let the next report be gathered after this."""
        with self._done:
            self._changes += 1
            self._made_at = float("-inf")

    def _gather(self) -> None:
        changes = -1
        while changes != self._changes:  # something was changed meanwhile
            changes, report = self._changes, None
            try:
                report = self.gather()
            except Exception:
                log.exception("The status could not be read.")
            with self._done:
                if changes == self._changes:
                    self._report, self._made_at = report, time.monotonic()
                    self._shown_until, self._gathering = self._made_at + OLD, False
                    self._done.notify_all()


BOARD = StatusBoard()
"""That of this process."""


def worst(findings: Iterable[Finding]) -> list[Finding]:
    """Return what is not in order, what has failed first."""
    return sorted((one for one in findings if one.level is not Level.OK), key=lambda one: one.level is not Level.FAIL)
