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
from urllib.parse import urlsplit, urlunsplit

from kie_simulator.accounts import Account, Accounts
from kie_simulator.clock import Clock
from kie_simulator.faults import Faults
from kie_simulator.files import DAY, FileStore
from kie_simulator.operations import BY_KIND, Operation
from kie_simulator.readings import Reading
from kie_simulator.settings import Settings
from kie_simulator.tasks import State, Task


@dataclass(frozen=True)
class Charge:
    """One create that KIE would have charged.

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
        if isinstance(value, str) and value.startswith(("http://", "https://")):
            return urlunsplit(urlsplit(value)._replace(query="", fragment=""))
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
        self.files.forget()

    def change_settings(self, changes: Mapping[str, Any]) -> None:
        """Change settings by name.

        :raises pydantic.ValidationError: if a name or value is not known.
        """
        self.settings = self.settings.changed(changes)
        self.clock.speed = self.settings.speed

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

    def keep(self, task: Task) -> None:
        """Make a new task known."""
        self.tasks[task.id] = task
        self._by_source.setdefault((task.account, task.kind, task.source_id), []).append(task)

    def made_from(self, account: Account, kind: str, source_id: str) -> list[Task]:
        """Return an account's tasks of a kind that were made from something, the oldest first."""
        return self._by_source.get((account.name, kind, source_id), [])

    def charge(self, account: Account, task: Task, credits: float) -> None:
        """Take credits for a task and write it into the ledger."""
        self.charge_call(account, task.kind, task.id, task.source_id, credits, task.request)

    def charge_call(
        self, account: Account, kind: str, task_id: str, source_id: str, credits: float, request: Mapping[str, Any]
    ) -> None:
        """Take credits for something and write it into the ledger."""
        account.credits = round(account.credits - credits, 2)
        at, body = self.clock.now(), without_secrets(request)
        self.ledger.append(Charge(kind, task_id, source_id, credits, account.name, at, time.time(), body))

    def reading(self, task: Task, base_url: str, *, stage: int | None = None) -> Reading:
        """Return a task as it is now.

        :param stage: read it as it was in this state instead.
        """
        family = BY_KIND[task.kind].family
        now = self.clock.now()
        at = task.stage(now) if stage is None else stage
        last = len(family.stages) - 1
        ended = at >= last
        succeeded = ended and task.ending.succeeded
        state: State = family.words()[min(at, last)]
        if ended and not succeeded:
            state = task.ending.state if task.ending.state is not None else family.failed
        return Reading(
            task=task,
            now=now,
            state=state,
            stage=min(at, last),
            ended=ended,
            succeeded=succeeded,
            has_results=ended and task.ending.has_results,
            base_url=base_url,
            time_format=self.settings.time_format,
        )

    def count_read(self, task_id: str) -> bool:
        """Count a read of a task's details and return whether it comes within KIE's limit per second."""
        recent, now = self.counts.recent_reads.setdefault(task_id, deque()), time.monotonic()
        while recent and now - recent[0] >= 1.0:
            recent.popleft()
        recent.append(now)
        self.counts.reads[task_id] += 1
        if len(recent) <= self.settings.reads_per_second:
            return True
        self.counts.excess_reads[task_id] += 1
        return False
