"""The ledgers that a command or a page reads: an account's own, or where it has none the states of all its tasks.

A task whose account has no ledger records what it pays for in its own state. Airflow shows that to no other task; its
database has it, which commands and the api-server reach.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_kie._airflow_private.task_states import StateOf, is_running, kept_elsewhere, stored_keys
from airflow_kie.durable.task_state import PAID, TaskStateLedgerStore
from airflow_kie.hooks.ledger import OpenedLedger, open_ledger
from airflow_kie.lifecycle.ledger import DOUBTS

if TYPE_CHECKING:
    from airflow_kie.hooks.kie import KieHook
    from airflow_kie.lifecycle.claims import RequestId


class LedgerInUse(RuntimeError):
    """A task runs whose state is to be changed; what it writes itself would be lost, or this would."""


@dataclass(frozen=True)
class Ledgers:
    """Where requests of an account are recorded.

    :param opened: the account's ledger; or this machine's, and the state of each task that has sent something.
    :param where: where tasks record them.
    :param not_covered: what can still be paid for twice; empty: nothing.
    :param unread: why the states of tasks are not among them, as a sentence; empty: they are, or none is a ledger.
    """

    opened: Sequence[OpenedLedger]
    where: str
    not_covered: str = ""
    unread: str = ""

    @property
    def in_states(self) -> bool:
        """Whether tasks record their requests in their own states."""
        return self.opened[0].where != self.where

    def knowing(self, request: RequestId) -> list[OpenedLedger]:
        """Return those in which a request is recorded; where there is one for the whole account, that one."""
        return [opened for opened in self.opened if not self.in_states or opened.ledger.attempts(request)]


def ledgers_of(hook: KieHook) -> Ledgers:
    """Return where requests of an account are recorded, for commands and the api-server.

    :param hook: the account.
    :raises S3Error: when the bucket cannot be reached.
    :raises KieLimiterUnavailable: when the database cannot be used.
    """
    opened = open_ledger(hook, _StoredState(StateOf("", "", ""), []))
    if not opened.in_task_states:
        return Ledgers([opened], opened.where, opened.not_covered)
    account, keys = quote(hook.account.spending_name, safe=""), defaultdict[StateOf, list[str]](list)
    for prefix in (account, f"{DOUBTS}{account}"):
        for of, names in stored_keys(f"{PAID}{prefix}/").items():
            keys[of] += names
    of_tasks = [
        OpenedLedger(replace(opened.ledger, store=_StoredState(of, keys[of])), f"the state of {of}")
        for of in sorted(keys, key=str)
    ]
    elsewhere = kept_elsewhere()
    unread = (
        f"Tasks record what they pay for in their own states, and {elsewhere} keeps those where this cannot list them: "
        "give an operator the id of its task in adopt_task_id, or clear it with force_new"
        if elsewhere
        else ""
    )
    return Ledgers([open_ledger(hook), *of_tasks], opened.where, opened.not_covered, unread)


class _StoredState(TaskStateLedgerStore):
    """The ledger in the state of a task instance that is not this process's.

    :param of: which.
    :param keys: the keys of the state that are the ledger's; a new request of the task is not among them.
    """

    def __init__(self, of: StateOf, keys: Iterable[str]) -> None:
        super().__init__(of)
        self._of, self._folders = of, {key.removeprefix(PAID) for key in keys}

    def create(self, key: str, body: bytes) -> bool:
        """Create an entry; False if there is one already.

        :raises LedgerInUse: while the task runs.
        """
        if is_running(self._of):
            raise LedgerInUse(f"The {self._of}, runs now and records its requests itself: try again when it has ended")
        return super().create(key, body)

    def list(self, prefix: str) -> Iterable[str]:
        """Return the keys below a prefix."""
        begun = prefix.rstrip("/")
        folders = [folder for folder in sorted(self._folders) if folder.startswith(begun)]
        return [key for folder in folders for key in self._entries(f"{folder}/") if key.startswith(prefix)]
