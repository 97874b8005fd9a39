"""The health check of `kie_ops`: the accounts' balances, whether the bucket can be written, and which songs wait.

It costs nothing at KIE and never lists the archive: in the bucket it only reads `_pending/` and writes a small object.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_fixed

from airflow_kie import metrics, settings
from airflow_kie.client.errors import KieConnectionInvalid, KieError, KieKeyLimit, KieSpendingCap, Remedy, Scope
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.ledger import open_ledger
from airflow_kie.hooks.spending_switch import read_anywhere
from airflow_kie.monitoring.backlog import Backlog, backlog_in, expires, expiry_of
from airflow_kie.monitoring.incidents import Incident, level_of_credits, level_of_songs, moment
from airflow_kie.monitoring.unarchived import expiring

if TYPE_CHECKING:
    from airflow_kie.archive.layout import ArchiveKeys
    from airflow_kie.archive.s3.bucket import Bucket

log = logging.getLogger(__name__)
T = TypeVar("T")

TRIES = 3
TRY_AGAIN_AFTER = 5.0
"""Seconds between the tries of a request: a service that fails once is not down."""
GONE = timedelta(days=1)
"""How long files that KIE has deleted are still reported."""
UNTRIED = timedelta(hours=1)
"""How long a song may be pending before a run takes it."""
TURN_HELD = 1800.0
"""Seconds for which one batch may send its requests: 200 take two or three minutes at KIE's rate."""
LEDGER_NEW = 24 * 3600.0
"""Seconds for which another place of the ledger is reported; from then on it is the place."""
_CAUSES = {
    "out_of_credits": "credits",
    KieKeyLimit.reason: "account",
    KieSpendingCap.reason: "spending_cap",
    "unauthorized": "account",
    "wrong_connection": "account",
}
"""Which cause a reason is; any other one of an account is KIE's own."""


@dataclass
class HealthReport:
    """What a health check has found so far.

    :param incidents: what is wrong.
    :param unknown: causes that could not be checked.
    :param backlog: the pending songs; None when the bucket could not be read.
    """

    incidents: list[Incident] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    backlog: Backlog | None = None

    def waiting(self, kie_conn_id: str | None = None) -> int | None:
        """Return how many songs wait, all or those of a connection; None where that is not known."""
        if self.backlog is None:
            return None
        return self.backlog.waiting if kie_conn_id is None else self.backlog.of(kie_conn_id)


@dataclass(frozen=True)
class HealthCheck:
    """Checks one thing after the other.

    :param now: epoch seconds of this check.
    :param ledgers: where each account's paid requests were recorded, and since when; this check adds what it sees.
    :param report: what it has found.
    """

    now: float
    ledgers: dict[str, Any] = field(default_factory=dict)
    report: HealthReport = field(default_factory=HealthReport)

    @property
    def _time(self) -> datetime:
        return datetime.fromtimestamp(self.now, tz=UTC)

    def run(self, aws_conn_id: str | None) -> HealthReport:
        """Check the configured bucket and every account, and set the gauges.

        :param aws_conn_id: Airflow connection for S3.
        """
        if settings.text("bucket"):
            self._check_bucket(aws_conn_id)
        for kie_conn_id in settings.allowed_connections():
            self._check_account(KieHook(kie_conn_id))
        return self.report

    def _found(
        self,
        cause: str,
        where: str,
        summary: str,
        *,
        since: float | None = None,
        level: int | None = None,
        songs: int | None = None,
        dated: bool = True,
    ) -> None:
        """Add an incident; as bad as the number of songs that wait, where it has no level of its own."""
        level = level_of_songs(songs) if level is None else level
        since = self.now if since is None else since
        self.report.incidents.append(Incident(cause, where, summary, since, level, songs, dated))

    # --- the bucket ---

    def _check_bucket(self, aws_conn_id: str | None) -> None:
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.hooks.archive import open_bucket

        report, name, keys = self.report, settings.text("bucket"), ArchiveKeys(settings.text("prefix", "songs"))
        unknown = {"record", "untried", "expiry", "inbox"}
        try:
            bucket = open_bucket(aws_conn_id, name)
            bucket.create_on_loopback()
            report.backlog = _persistent(lambda: backlog_in(bucket, keys))
            self._check_records(report.backlog, name)
            unknown -= {"record", "untried"}
            self._check_unarchived(bucket, keys, aws_conn_id)
            unknown.remove("expiry")
            _persistent(lambda: bucket.probe(keys.probe))
        except KieError as error:
            report.unknown |= unknown
            action = re.match(r"(\w+) on bucket ", error.facts.message)
            summary = f"bucket {name} refuses {action[1] if action else 'access'} ({error.what})"
            self._found("s3", name, summary, songs=report.waiting())
        else:
            self._check_inbox(bucket, keys)

    def _check_inbox(self, bucket: Bucket, keys: ArchiveKeys) -> None:
        from airflow_kie.archive.inbox.bucket import InboxBucket

        try:
            late = InboxBucket(bucket, keys).late(self._time, settings.inbox_interval())
        except KieError as error:  # without access nothing is known; a damaged count is
            if error.scope is Scope.TASK:
                self._found("inbox", bucket.name, str(error), dated=False)
            else:
                self.report.unknown.add("inbox")
                log.warning("The inbox could not be checked: %s", error)
            return
        if late:
            summary = f"an object in s3://{bucket.name}/inbox/ is not read by DAG cover_inbox; its log says why"
            self._found("inbox", bucket.name, summary, since=late.last_modified.timestamp())

    def _check_records(self, backlog: Backlog, bucket: str) -> None:
        backlog.set_gauges(self._time)
        self._check_expiry(backlog)
        if untried := backlog.untried(self._time - UNTRIED):
            summary = "no run has taken them: is music_cover paused, or are its runs all busy?"
            since = min(pending.first_seen_at for pending in untried).timestamp()
            self._found("untried", "", summary, since=since, songs=len(untried))
        if damaged := backlog.damaged:
            summary = f"s3://{bucket}/{damaged[0]} cannot be read, so no run can work on its song"
            self._found("record", bucket, summary, songs=len(damaged), dated=False)

    def _check_expiry(self, backlog: Backlog) -> None:
        alert = timedelta(days=settings.number("expiry_alert_days", 3))
        expiries = {
            pending.music_task_id: expiry_of(pending) - self._time for pending in backlog.read if expires(pending)
        }
        ending = {song: left for song, left in expiries.items() if -GONE < left <= alert}
        if not ending:
            return
        first, left = min(ending.items(), key=lambda item: item[1])
        urgency = (left <= timedelta(days=1)) + (left <= timedelta(0))
        summary = f"KIE deletes their files, first those of song {first}, by {moment(self.now + left.total_seconds())}"
        level = level_of_songs(len(ending)) + urgency
        self._found("expiry", "", summary, level=level, songs=len(ending), dated=False)

    def _check_unarchived(self, bucket: Bucket, keys: ArchiveKeys, aws_conn_id: str | None) -> None:
        """Check whether KIE is about to delete what other tasks have made and nobody has archived."""
        alert = timedelta(days=settings.number("expiry_alert_days", 3))
        if ending := _persistent(lambda: expiring(bucket, keys, aws_conn_id, self._time, alert)):
            first, left = ending[0], ending[0].expires_at - self._time
            by = moment(first.expires_at.timestamp())
            many = f"{len(ending)} paid tasks" if len(ending) > 1 else "1 paid task"
            summary = (
                f"KIE deletes the unarchived results of {many}, first those of task "
                f"{first.task_id} ({first.operation}), by {by}: `airflow kie redrive {first.task_id}` archives it"
            )
            level = level_of_songs(len(ending)) + (left <= timedelta(days=1)) + (left <= timedelta(0))
            self._found("expiry", "tasks", summary, level=level, dated=False)

    # --- the accounts ---

    def _check_account(self, hook: KieHook) -> None:
        name, report = hook.kie_conn_id, self.report
        account = None
        try:
            account = hook.account
            metrics.CALLBACKS_EXPECTED.set(float(account.calls_back), connection=name)
            balance = _persistent(hook.credits)
        except KieError as error:
            report.unknown.update({"credits", "kie", "account"} - {_CAUSES.get(error.reason, "kie")})
            self._unusable(hook, type(error))
        else:
            metrics.CREDITS.set(balance, connection=name)
            if level := level_of_credits(balance, settings.number("credits_alert", 0)):
                summary = f"connection {name} has {balance:g} credits left"
                self._found("credits", account.name, summary, level=level, songs=report.waiting(name))
        if account:  # what is read of our own holds while KIE is down, too
            self._check_limits(hook)
            self._check_sending(hook, account.spending_name)
        else:
            report.unknown.update(("spending_cap", "doubt", "turn", "ledger"))
        self._check_spending(hook)

    def _check_limits(self, hook: KieHook) -> None:
        """Check what refuses new tasks alone: the connection's own cap, and the key's own limit at KIE."""
        backlog = self.report.backlog
        if backlog and (limited := backlog.key_limit_since(hook.kie_conn_id, self._time)):
            self._unusable(hook, KieKeyLimit, limited.timestamp())
        try:
            if self.report.waiting(hook.kie_conn_id) != 0 and hook.limiter().cap_is_reached():
                self._unusable(hook, KieSpendingCap)
        except KieError as error:
            self.report.unknown.add("spending_cap")
            log.warning("The caps of connection %s could not be checked. %s", hook.kie_conn_id, error)

    def _check_sending(self, hook: KieHook, account: str) -> None:
        """Check what is in doubt, who sends, and whether the ledger is where it was."""
        try:
            opened = open_ledger(hook, hook.ledger_database()[0])
            doubts = None if opened.in_task_states else len(opened.ledger.doubts(account))
            turn = hook.limiter().turn("").held()
        except KieError as error:
            self.report.unknown.update(("doubt", "turn", "ledger"))
            log.warning("The ledger of connection %s could not be checked. %s", hook.kie_conn_id, error)
            if isinstance(error, KieConnectionInvalid):  # such as its limiter_conn_id: nothing can be paid for with it
                self._unusable(hook, type(error))
            return
        if doubts is None:
            self.report.unknown.add("doubt")
            log.warning(
                "What is in doubt of connection %s is recorded in the states of its tasks, which only commands and the "
                "status page read: `airflow kie doubts` lists it. Set [kie] bucket or ledger, or limiter_conn_id.",
                hook.kie_conn_id,
            )
        else:
            metrics.DOUBTS.set(doubts, connection=hook.kie_conn_id)
        if doubts:
            summary = f"{doubts} requests may have been paid for, and `airflow kie doubts` lists what a person decides"
            self._found("doubt", account, summary, level=level_of_songs(doubts), dated=False)
        if turn and turn[1] > TURN_HELD:
            self._found("turn", account, f"{turn[0]} sends its requests, and others wait", since=self.now - turn[1])
        before = self.ledgers.setdefault(account, {"where": opened.where})
        if before["where"] != opened.where:
            since = before.setdefault("changed_at", self.now)
            if self.now - since < LEDGER_NEW:
                what = f"what is recorded in {before['where']} is not read there, and could be paid for again"
                self._found("ledger", account, f"paid requests are recorded in {opened.where}: {what}", since=since)
                return
            self.ledgers[account] = {"where": opened.where}
        before.pop("changed_at", None)

    def _check_spending(self, hook: KieHook) -> None:
        """Check whether a person has stopped the account's new paid tasks."""
        try:
            account = hook.account.spending_name
        except KieConnectionInvalid:
            self.report.unknown.add("spending")
            return
        stop = read_anywhere(account)
        metrics.SPENDING_STOPPED.set(float(stop is not None), connection=hook.kie_conn_id)
        if stop:
            since = stop.at.timestamp() if stop.at else None
            self._found("spending", account, stop.sentence().rstrip("."), since=since, dated=False)

    def _unusable(self, hook: KieHook, error: type[KieError], since: float | None = None) -> None:
        cause = _CAUSES.get(error.reason, "kie")
        if cause == "kie":
            self._found(cause, "", error.what, since=since, songs=self.report.waiting())
            return
        try:
            account = hook.account.name
        except KieError:
            account = hook.kie_conn_id
        # An empty account is as bad as its balance, however many songs wait for it.
        level = level_of_credits(0, 0) if cause == "credits" else None
        songs, summary = self.report.waiting(hook.kie_conn_id), f"{error.what} (connection {hook.kie_conn_id})"
        self._found(cause, account, summary, since=since, level=level, songs=songs)


def _persistent(ask: Callable[[], T]) -> T:
    """Ask a service that may fail once."""
    retrying = Retrying(
        retry=retry_if_exception(_is_passing),
        stop=stop_after_attempt(TRIES),
        wait=wait_fixed(TRY_AGAIN_AFTER),
        before_sleep=_log_retry,
        reraise=True,
    )
    return retrying(ask)


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, KieError) and error.scope is Scope.SERVICE and error.remedy is not Remedy.PERSON


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome and state.outcome.exception()
    log.info("%s. Trying again in %g s.", error.what if isinstance(error, KieError) else error, TRY_AGAIN_AFTER)
