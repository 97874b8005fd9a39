"""The switch that stops new paid tasks of an account: an Airflow Variable for each account that is stopped.

That the Variable exists stops them; its text only says who did so, when and why. So one that is damaged stops them too,
and so does a read that fails: nothing is paid for while it is not known whether it may be.
"""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from airflow.sdk import Variable, conf

from airflow_kie._airflow_private import process, variables
from airflow_kie.client.errors import KieSpendingStopped

log = logging.getLogger(__name__)

KEY_PREFIX = "kie_spending_stopped__"
FRESH = 3.0
"""Seconds for which a process believes that new tasks may be made; with the longest request of Airflow's API that
answers, a stop is in force everywhere within ten seconds."""
SHORTEST_PAUSE = 15.0
LONGEST_PAUSE = 300.0
"""Seconds until a rescheduled task asks again: a quarter of the time that the stop has lasted, between these."""
DESCRIPTION = "New paid tasks of this KIE account are stopped; `airflow kie spending resume` deletes this."
LONGEST_TEXT = 200
"""Characters of a name or reason; people read them in one line."""


@dataclass(frozen=True)
class Stop:
    """New paid tasks of an account are stopped.

    :param account: whose.
    :param by: who has stopped them.
    :param at: when.
    :param reason: why, in that person's words.
    :param problem: why the others are not known; they are empty then.
    """

    account: str
    by: str = ""
    at: datetime | None = None
    reason: str = ""
    problem: str = ""

    def sentence(self) -> str:
        """Return who has stopped them, when and why, and what lets them be made again."""
        if self.at is None:
            return f"{self.problem}, so nothing new is sent to KIE for it."
        why = f' ("{self.reason}")' if self.reason else ""
        when = f"{self.at.astimezone(UTC):%d %b %Y %H:%M} UTC"
        return (
            f"{self.by} has stopped new paid tasks of account {self.account} on {when}{why}; nothing new is sent to "
            f"KIE until {resuming(self.account)}."
        )

    def pause(self, now: float) -> float:
        """Return the seconds after which a task asks again: the longer the stop has lasted, the rarer.

        :param now: epoch seconds.
        """
        lasted = now - self.at.timestamp() if self.at else 0.0
        return min(LONGEST_PAUSE, max(SHORTEST_PAUSE, lasted / 4))

    def to_text(self) -> str:
        """Return what the Variable holds; see :func:`stop_in`."""
        at = self.at.isoformat(timespec="seconds") if self.at else None
        return json.dumps({"by": self.by, "at": at, "reason": self.reason}, ensure_ascii=False)


def key_of(account: str) -> str:
    """Return the name of the Variable that stops an account."""
    return f"{KEY_PREFIX}{account}"


def resuming(account: str) -> str:
    """Return the command that lets new paid tasks of an account be made again."""
    return f"`airflow kie spending resume --account {shlex.quote(account)}`"


def one_line(text: str) -> str:
    """Return a person's text as one line of a bounded length."""
    return " ".join(text.split())[:LONGEST_TEXT]


def stop_in(account: str, text: str | None) -> Stop:
    """Return the stop that the Variable's text describes; what cannot be read is a stop as well.

    :param account: whose Variable it is.
    :param text: None where Airflow does not give it, for example because it was encrypted with another key.
    """
    try:
        known = json.loads(text or "")
        by, at, reason = known["by"], datetime.fromisoformat(known["at"]), known["reason"]
        if not (isinstance(by, str) and by.strip() and isinstance(reason, str) and at.tzinfo):
            raise TypeError
        at.timestamp(), at.astimezone(UTC)  # a year that no clock has
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        there = f"Airflow Variable {key_of(account)} stops account {account} and cannot be understood"
        return Stop(account, problem=f"{there} ({resuming(account)} deletes it)")
    return Stop(account, one_line(by), at, one_line(reason))


def stops() -> dict[str, Stop]:
    """Return the stops of all accounts by account: for commands and the api-server, which reach Airflow's database."""
    found = variables.variables_with_prefix(KEY_PREFIX)
    accounts = {key.removeprefix(KEY_PREFIX): text for key, text in found.items()}
    return {account: stop_in(account, text) for account, text in sorted(accounts.items())}


def stop_spending(account: str, by: str, reason: str) -> None:
    """Stop new paid tasks of an account: for commands and the api-server.

    :param by: who does it.
    :param reason: why, in that person's words.
    """
    stop = Stop(account, one_line(by), datetime.now(UTC), one_line(reason))
    variables.write_variable(key_of(account), stop.to_text(), DESCRIPTION)


def resume_spending(account: str) -> None:
    """Let new paid tasks of an account be made again: for commands and the api-server."""
    variables.delete_variable(key_of(account))


def read_in_task(account: str) -> Stop | None:
    """Return the stop of an account, None when its tasks may be made; for tasks, which ask Airflow's task API.

    `Variable.get` alone would not do: it answers "not found" for an api-server or a database that is down too. The list
    of names does not pass over errors, asks no secrets backend, and is one request.

    :raises Exception: whatever Airflow raises when it cannot be asked.
    """
    key = key_of(account)
    listed = key in Variable.keys(prefix=key)
    if not listed and not conf.getboolean("core", "multi_team", fallback=False):
        return None
    text = Variable.get(key, default=None)  # the list of a team's task lacks the Variables that are everybody's
    return stop_in(account, text) if listed or text is not None else None


def read_anywhere(account: str) -> Stop | None:
    """Return the stop of an account: in a task from Airflow's task API, elsewhere from its database.

    What fails is a stop too: it says so.
    """
    try:
        return read_in_task(account) if process.in_task() else stops().get(account)
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing may be paid for
        log.warning("Whether account %s is stopped could not be read: %s", account, type(error).__name__)
        unread = f"Whether account {account} is stopped could not be read"
        return Stop(account, problem=f"{unread} ({type(error).__name__}; the next attempt reads it again)")


@dataclass
class SpendingSwitch:
    """One account's switch, as one process reads it.

    :param account: whose.
    :param clock: seconds that only grow.
    """

    account: str
    clock: Callable[[], float] = time.monotonic
    _allowed_at: float | None = field(default=None, init=False)

    def check(self) -> None:
        """Check that new paid tasks are allowed.

        :raises KieSpendingStopped: when they are stopped, or that cannot be read.
        """
        now = self.clock()
        if self._allowed_at is not None and now - self._allowed_at < FRESH:
            return
        stop = read_anywhere(self.account)
        if stop is not None:
            self._allowed_at = None
            raise KieSpendingStopped(stop.sentence(), retry_after=stop.pause(time.time()))
        self._allowed_at = now
