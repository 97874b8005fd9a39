"""Callbacks: when they are due, how they are signed and delivered, and what became of each."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import time
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from kie_simulator.control_client import certificates
from kie_simulator.faults import ACTIONS, EARLY_CALLBACKS, Fault, Moment
from kie_simulator.operations import BY_KIND
from kie_simulator.readings import CallbackBody, Family
from kie_simulator.signing import signature
from kie_simulator.simulation import Simulation
from kie_simulator.spoiling import unescaped
from kie_simulator.tasks import Task
from kie_simulator.unified.rows import SUNO, operation_of

log = logging.getLogger(__name__)


@dataclass
class Delivery:
    """What became of one callback; ``outcome`` is delivered, undeliverable, lost, gave_up or pending."""

    task_id: str
    kind: str
    stage: str
    code: int
    outcome: str = "pending"
    statuses: list[int | str] = field(default_factory=list)


@dataclass(frozen=True)
class _Planned:
    """A callback to come.

    :param ahead: the share of the time until its state after which it is sent; 1 for when the state begins.
    """

    task: Task
    stage: int
    ahead: float = 1.0

    def due(self) -> float:
        return self.task.created + self.task.offsets[self.stage] * self.ahead


class Callbacks:
    """Sends each task's callbacks when they are due on the simulated clock."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.deliveries: list[Delivery] = []
        self._planned: list[_Planned] = []
        self._changed = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None

    def reset(self) -> None:
        """Forget all callbacks, those under way included."""
        self._planned.clear()
        self.deliveries.clear()
        for running in list(self._running):
            running.cancel()

    def wake(self) -> None:
        """Check again what is due: the clock or its speed has changed."""
        self._changed.set()

    async def run(self) -> None:
        """Send callbacks as they fall due, for ever."""
        async with httpx.AsyncClient(verify=certificates(), trust_env=False, follow_redirects=False) as self._client:
            try:
                while True:
                    await self._wait_for_next()
                    self._send_due()
            finally:
                for running in list(self._running):
                    running.cancel()
                await asyncio.gather(*self._running, return_exceptions=True)

    def _send_due(self) -> None:
        now = self._sim.clock.now()
        due = [planned for planned in self._planned if planned.due() <= now]
        self._planned = [planned for planned in self._planned if planned.due() > now]
        for planned in sorted(due, key=_Planned.due):
            self._start(self.send(planned.task, planned.stage))

    async def _wait_for_next(self) -> None:
        self._changed.clear()
        due = min((planned.due() for planned in self._planned), default=None)
        wait = None if due is None else self._sim.clock.real_seconds_until(due)
        try:
            await asyncio.wait_for(self._changed.wait(), wait)
        except TimeoutError:
            return

    def _start(self, sending: Any) -> None:
        running: asyncio.Task[None] = asyncio.ensure_future(sending)
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def expect(self, task: Task) -> None:
        """Plan the callbacks of a new task; a fault may send one before this returns."""
        if not task.callback_url:
            return
        last = len(task.offsets) - 1
        early = {fault.action for fault in self._sim.faults.strike(_moment(task), EARLY_CALLBACKS)}
        if "before_answer" in early:
            task.created -= task.offsets[last]
            await self.send(task, last)
        elif "early_success" in early:
            self._planned.append(_Planned(task, last, ahead=0.5))
        else:
            first = 1 if self._family(task).every_stage else last
            self._planned += [_Planned(task, stage) for stage in range(first, last + 1)]
        self.wake()

    def _family(self, task: Task) -> Family:
        """Return the family whose callbacks a task sends.

        The Suno pages of the unified form describe the staged callbacks of the dedicated one, the market's pages
        another: which of the two KIE sends, nobody has seen.
        """
        staged = self._sim.settings.unified_callback == "staged" and task.model.startswith(SUNO)
        return BY_KIND[task.kind].family if staged and task.kind in BY_KIND else operation_of(task).family

    def body(self, task: Task, stage: int | None) -> CallbackBody:
        """Return the callback of a task's state; of the state that it is in for None."""
        family = self._family(task)
        return family.callback(self._sim.reading(task, task.base_url, stage=stage, family=family))

    async def send(self, task: Task, stage: int) -> None:
        """Send the callback of a task's state, with the faults that strike it."""
        last = len(task.offsets) - 1
        fails_first = stage < last and not task.ending.succeeded and task.ended(self._sim.clock.now())
        if fails_first:
            return
        body = self.body(task, stage)
        if task.ending.state == "CALLBACK_EXCEPTION" and stage == last:
            # That state says that the callback did not get through.
            self.deliveries.append(Delivery(task.id, task.kind, body.stage, body.code, "lost"))
            return
        late_faults = ACTIONS["callback"] - EARLY_CALLBACKS
        await self.post(task, body, self._sim.faults.strike(_moment(task), late_faults))

    async def post(self, task: Task, body: CallbackBody, faults: list[Fault]) -> Delivery:
        """Post one callback and return what became of it, which is recorded too."""
        delivery = Delivery(task.id, task.kind, body.stage, body.code)
        self.deliveries.append(delivery)
        actions = {fault.action: fault for fault in faults}
        if "lost" in actions:
            delivery.outcome = "lost"
        elif not may_deliver(task.callback_url, self._sim.settings.callback_hosts):
            delivery.outcome = "undeliverable"
            if not _is_reserved(task.callback_url):
                log.warning(
                    "The callback of %s task %s is not sent: %s is not on this machine. Add its host to the setting "
                    "callback_hosts, or read the task's details.",
                    task.kind,
                    task.id,
                    _host_of(task.callback_url) or "its address",
                )
        else:
            await asyncio.sleep(actions["late"].seconds if "late" in actions else 0)
            for _ in range(2 if "double" in actions else 1):
                await self._deliver(task, body, delivery, set(actions))
        return delivery

    async def _deliver(self, task: Task, body: CallbackBody, delivery: Delivery, actions: set[str]) -> None:
        settings = self._sim.settings
        headers = self._headers(task.id, actions)
        # That a callback repeats the request unescaped, as recorded records did, is a guess.
        content = unescaped(body.json()) if "param_unescaped" in actions else json.dumps(body.json())
        for attempt in range(1 + settings.callback_retries):
            if attempt:
                await asyncio.sleep(settings.callback_backoff * 2 ** (attempt - 1))
                if settings.callback_signs_again:
                    headers = self._headers(task.id, actions)
            status = await self._try(task.callback_url, content, headers)
            delivery.statuses.append(status)
            if status == 200:
                delivery.outcome = "delivered"
                return
        delivery.outcome = "gave_up"
        answers = ", ".join(map(str, delivery.statuses))
        log.warning(
            "The callback of %s task %s for %s was given up: %s.",
            task.kind,
            task.id,
            _host_of(task.callback_url),
            answers,
        )

    async def _try(self, url: str, content: str, headers: dict[str, str]) -> int | str:
        if self._client is None:
            return "not started"
        try:
            async with asyncio.timeout(self._sim.settings.callback_timeout):
                headers = {"Content-Type": "application/json", **headers}
                response = await self._client.post(url, content=content, headers=headers, timeout=None)
        except TimeoutError:
            return "timeout"
        except httpx.HTTPError as error:
            return type(error).__name__
        return response.status_code

    def _headers(self, task_id: str, actions: set[str]) -> dict[str, str]:
        key = self._sim.settings.webhook_key
        if key is None or "no_signature" in actions:
            return {}
        now = int(time.time())
        signed = signature("a forger's key" if "forged_signature" in actions else key, task_id, now)
        return {"X-Webhook-Timestamp": str(now), "X-Webhook-Signature": signed}

    def shown(self) -> list[dict[str, Any]]:
        """Return what became of each callback, in the order in which they fell due."""
        return [asdict(delivery) for delivery in self.deliveries]


def _moment(task: Task) -> Moment:
    return Moment(
        "callback",
        kind=task.kind,
        task_id=task.id,
        source_id=task.source_id,
        title=task.title,
        account=task.account,
        form=task.form,
        model=task.model,
    )


def _host_of(url: str) -> str:
    """Return what may be logged of an address: neither its user, nor its path and query, which can be secrets."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""


def _is_reserved(url: str) -> bool:
    """Return whether an address says that nobody wants callbacks: its name never resolves (RFC 2606)."""
    return (_host_of(url).partition("://")[2].partition(":")[0]).endswith(".invalid")


def may_deliver(url: str, further_hosts: list[str]) -> bool:
    """Return whether a callback URL is on this machine, or on a host that the settings allow."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme not in ("http", "https"):
        return False
    if host == "localhost" or host in further_hosts:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
