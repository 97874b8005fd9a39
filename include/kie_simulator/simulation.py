"""The simulated KIE as a whole: its tasks, charges, counters and the readings of its tasks."""

from __future__ import annotations

import hashlib
import random
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kie_simulator.accounts import Account, Accounts
from kie_simulator.clock import Clock
from kie_simulator.faults import Faults
from kie_simulator.files import DAY, FileStore
from kie_simulator.operations import Operation
from kie_simulator.readings import Family, Reading
from kie_simulator.settings import OF_ACCOUNT, Settings
from kie_simulator.tasks import Form, State, Task
from kie_simulator.unified.rows import operation_of


@dataclass
class Charge:
    """One create that KIE would have charged.

    :param refunded: whether KIE has given the credits back, because the task has failed.
    :param at: simulated unix time in seconds.
    :param real_at: unix time in seconds: for measuring how fast creates really came.
    """

    kind: str
    task_id: str
    source_id: str
    credits: float
    account: str
    at: float
    real_at: float
    request: Mapping[str, Any]
    form: Form = "dedicated"
    refunded: bool = False


@dataclass
class Counts:
    """What the simulator has seen."""

    requests: Counter[str] = field(default_factory=Counter)
    reads: Counter[str] = field(default_factory=Counter)
    rate_limited: int = 0
    excess_reads: Counter[str] = field(default_factory=Counter)
    downloads: Counter[str] = field(default_factory=Counter)
    authorization_leaks: list[str] = field(default_factory=list)
    recent_reads: dict[str, deque[float]] = field(default_factory=dict)


def without_secrets(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request body whose URLs have lost their query strings: those may carry signatures."""

    def cleaned(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: cleaned(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [cleaned(inner) for inner in value]
        if isinstance(value, str) and value.startswith(("http://", "https://")):
            return value.partition("#")[0].partition("?")[0]
        return value

    return {key: cleaned(value) for key, value in request.items()}


class Simulation:
    """One simulated KIE.

    :param api_keys: the keys it accepts; each is an account of its own.
    :param credits: what each account begins with.
    :param seed: decides ids, durations, songs and pictures; random if None.
    :param public_url: the URL under which clients reach it; that of each request if None.
    """

    def __init__(
        self,
        api_keys: list[str],
        *,
        credits: float = 10_000.0,
        settings: Settings | None = None,
        seed: str | None = None,
        public_url: str | None = None,
    ) -> None:
        self._keys, self._credits, self._initial = api_keys, credits, settings or Settings()
        self.seed = seed if seed is not None else uuid.uuid4().hex
        self.public_url = public_url.rstrip("/") if public_url else None
        self.files = FileStore()
        self._number = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything that happened and return to the settings of the start."""
        self.settings = self._initial.model_copy(deep=True)
        self.clock = Clock(self.settings.speed)
        self.accounts = Accounts(self._keys, self._credits)
        self.faults = Faults(self.seed)
        self.counts = Counts()
        self.tasks: dict[str, Task] = {}
        self._by_source: dict[tuple[str, str, str], list[Task]] = {}
        self.ledger: list[Charge] = []
        self._unsettled: list[Charge] = []
        self.files.forget()

    def change_settings(self, changes: Mapping[str, Any], account: Account | None = None) -> None:
        """Change settings by name.

        :param account: whose alone; None: everybody's.
        :raises pydantic.ValidationError: if a name or value is not known.
        :raises KeyError: for a setting that no account has for itself.
        """
        if account is None:
            self.settings = self.settings.changed(changes)
            self.clock.speed = self.settings.speed
            return
        if others := set(changes) - OF_ACCOUNT:
            raise KeyError(", ".join(sorted(others)))
        own = {**account.settings, **changes}
        self.settings.changed(own)
        account.settings = own

    def settings_of(self, account: Account) -> Settings:
        """Return the settings as they are for an account."""
        return self.settings.changed(account.settings) if account.settings else self.settings

    def new_id(self, style: str = "hex") -> str:
        """Return a new id: 32 hexadecimal digits, a UUID or Veo's own form.

        The numbers go on after a reset: an id never means two tasks in the life of a simulator.
        """
        self._number += 1
        digest = hashlib.sha256(f"{self.seed}/{self._number}".encode()).hexdigest()[:32]
        return {"hex": digest, "uuid": str(uuid.UUID(digest)), "veo": f"veo_task_{digest[:20]}"}[style]

    def offsets(self, operation: Operation, task_id: str) -> tuple[float, ...]:
        """Return when each state of a new task begins, in simulated seconds after its creation."""
        rng = random.Random(f"{self.seed}/{task_id}")  # noqa: S311 - draws durations, protects nothing
        offsets: list[float] = []
        for _, (earliest, latest) in operation.family.stages:
            offsets.append(max(offsets[-1] if offsets else 0.0, rng.uniform(earliest, latest)))
        chosen = {"music": self.settings.music_seconds, "cover": self.settings.cover_seconds}
        total = chosen.get(operation.kind, self.settings.task_seconds)
        if total is None:
            return tuple(offsets)
        return tuple(offset * total / offsets[-1] for offset in offsets)

    def expiry(self, created: float) -> float:
        """Return when a file made at a moment is deleted, in simulated unix seconds."""
        return created + self.settings.retention_days * DAY

    def task_of(self, account: Account, task_id: str, kinds: tuple[str, ...] = ()) -> Task | None:
        """Return an account's task of an id and one of some kinds, or None: other accounts' tasks are unknown."""
        task = self.tasks.get(task_id)
        if task is None or task.account != account.name or (kinds and task.kind not in kinds):
            return None
        return task

    def source_task(self, account: Account, task_id: str, kinds: tuple[str, ...], form: Form) -> Task | None:
        """Return the task that a request in some form names, or None if that form knows no such task."""
        task = self.task_of(account, task_id, kinds)
        known = task is not None and (task.form == form or self.settings_of(account).ids_between_forms == "shared")
        return task if known else None

    def keep(self, task: Task) -> None:
        """Make a new task known."""
        self.tasks[task.id] = task
        self._by_source.setdefault((task.account, task.kind, task.source_id), []).append(task)

    def made_from(self, account: Account, kind: str, source_id: str) -> list[Task]:
        """Return an account's tasks of a kind that were made from something, the oldest first."""
        return self._by_source.get((account.name, kind, source_id), [])

    def charge(self, account: Account, task: Task, credits: float) -> None:
        """Take credits for a task and write it into the ledger."""
        task.credits = credits
        self.charge_call(account, task.kind, task.id, task.source_id, credits, task.request)
        self.ledger[-1].form = task.form
        if task.form == "unified":
            self._unsettled.append(self.ledger[-1])

    def settle(self) -> None:
        """Give back what failed tasks have cost, as KIE documents of the unified form."""
        now = self.clock.now()
        for charge in [charge for charge in self._unsettled if self.tasks[charge.task_id].ended(now)]:
            self._unsettled.remove(charge)
            charge.refunded = not self.tasks[charge.task_id].ending.succeeded
            account = self.accounts.named(charge.account)
            account.credits = round(account.credits + charge.credits * charge.refunded, 2)

    def charge_call(
        self, account: Account, kind: str, task_id: str, source_id: str, credits: float, request: Mapping[str, Any]
    ) -> None:
        """Take credits for something and write it into the ledger."""
        account.credits = round(account.credits - credits, 2)
        at, body = self.clock.now(), without_secrets(request)
        self.ledger.append(Charge(kind, task_id, source_id, credits, account.name, at, time.time(), body))

    def reading(self, task: Task, base_url: str, *, stage: int | None = None, family: Family | None = None) -> Reading:
        """Return a task as it is now.

        :param stage: read it as it was in this state instead.
        :param family: read it in the words of this family, which may be that of the other form.
        """
        words = family or operation_of(task).family
        now = self.clock.now()
        at = task.stage(now) if stage is None else stage
        ended = at >= len(task.offsets) - 1
        succeeded = ended and task.ending.succeeded
        last = len(words.stages) - 1
        stage = last if ended else min(at, max(0, last - 1))
        state: State = words.words()[stage]
        if ended and not succeeded:
            state = words.failed if words.state_field == "state" or task.ending.state is None else task.ending.state
        return Reading(
            task=task,
            now=now,
            state=state,
            stage=stage,
            ended=ended,
            succeeded=succeeded,
            has_results=ended and task.ending.has_results,
            base_url=base_url,
            time_format=self.settings.time_format,
            cover_result=self.settings.cover_result,
        )

    def count_read(self, task_id: str, limit: int) -> bool:
        """Count a read of a task's details and return whether it comes within KIE's limit per second.

        :param limit: reads of one task in a second.
        """
        recent, now = self.counts.recent_reads.setdefault(task_id, deque()), time.monotonic()
        while recent and now - recent[0] >= 1.0:
            recent.popleft()
        recent.append(now)
        self.counts.reads[task_id] += 1
        if len(recent) <= limit:
            return True
        self.counts.excess_reads[task_id] += 1
        return False
