"""The control plane ``/_sim/...``: what a test or a person changes and reads."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from kie_simulator.accounts import Account
from kie_simulator.callbacks import Callbacks
from kie_simulator.creating import make_task, strike_task
from kie_simulator.faults import Fault
from kie_simulator.files import DAY
from kie_simulator.operations import BY_KIND
from kie_simulator.simulation import Simulation
from kie_simulator.songs import invent_title
from kie_simulator.tasks import Ending, Form, Task
from kie_simulator.unified.rows import SUNO, UNIFIED, operation_of

_FINISHED_AT = {"PENDING": 0, "TEXT_SUCCESS": 1, "FIRST_SUCCESS": 2}
MusicState = Literal[
    "PENDING",
    "TEXT_SUCCESS",
    "FIRST_SUCCESS",
    "SUCCESS",
    "CREATE_TASK_FAILED",
    "GENERATE_AUDIO_FAILED",
    "SENSITIVE_WORD_ERROR",
    "CALLBACK_EXCEPTION",
]


class MusicOrder(BaseModel):
    """Songs to be made without charge; ``running`` ones go on from the state that is named."""

    model_config = ConfigDict(extra="forbid")

    titles: list[str] = []
    count: int = Field(default=1, ge=0, le=10_000)
    account: str | None = None
    state: MusicState = "SUCCESS"
    tracks: int | None = Field(default=None, ge=0, le=8)
    age_days: float = Field(default=0.0, ge=0)
    form: Form = "dedicated"
    model: str = "V5"
    prompt: str = ""
    tags: str = ""
    error_message: str | None = None
    callback_url: str = ""


class Advance(BaseModel):
    """How far to move the clock."""

    advance_seconds: float = Field(ge=0)


class AccountChange(BaseModel):
    """New credits of an account."""

    credits: float
    account: str | None = None


class KeyChange(BaseModel):
    """A key that is accepted from now on, of a new account unless one is named, or no longer."""

    key: str
    account: str | None = None
    revoked: bool = False


class CallbackOrder(BaseModel):
    """A callback to be sent now: the task's own once more, or one with parts of it changed.

    :param data: members that replace those of the body's ``data``.
    :param url: where to send it; the task's callback URL if None.
    """

    model_config = ConfigDict(extra="forbid")

    stage: int | None = None
    code: int | None = None
    msg: str | None = None
    data: dict[str, Any] | None = None
    signature: Literal["valid", "forged", "none"] = "valid"
    url: str | None = None


class Control:
    """The endpoints under ``/_sim``."""

    def __init__(self, sim: Simulation, callbacks: Callbacks) -> None:
        self._sim = sim
        self._callbacks = callbacks
        self.router = APIRouter(prefix="/_sim")
        for method, path, endpoint in (
            ("POST", "/music", self.make_music),
            ("GET", "/ledger", self.ledger),
            ("GET", "/state", self.state),
            ("GET", "/tasks", self.tasks),
            ("POST", "/reset", self.reset),
            ("POST", "/faults", self.add_fault),
            ("GET", "/faults", self.faults),
            ("DELETE", "/faults", self.clear_faults),
            ("DELETE", "/faults/{fault_id}", self.clear_faults),
            ("GET", "/clock", self.clock),
            ("POST", "/clock", self.advance),
            ("GET", "/settings", self.settings),
            ("PATCH", "/settings", self.change_settings),
            ("PATCH", "/credits", self.set_credits),
            ("PATCH", "/keys", self.change_key),
            ("POST", "/callbacks/{task_id}", self.send_callback),
        ):
            self.router.add_api_route(path, endpoint, methods=[method], response_model=None)

    def _account(self, name: str | None) -> Account:
        try:
            return self._sim.accounts.named(name)
        except KeyError:
            raise HTTPException(404, "The simulator has no such account.") from None

    async def make_music(self, order: MusicOrder, request: Request) -> dict[str, Any]:
        """Make songs, finished ones by default, and return their ids and titles."""
        account = self._account(order.account)
        base_url = self._sim.public_url or str(request.base_url).rstrip("/")
        titles = order.titles or [invent_title(self._sim.new_id()) for _ in range(order.count)]
        songs = [await self._make_song(order, account, title, base_url) for title in titles]
        return {"songs": [{"task_id": task.id, "title": task.title} for task in songs]}

    async def _make_song(self, order: MusicOrder, account: Account, title: str, base_url: str) -> Task:
        operation = BY_KIND["music"] if order.form == "dedicated" else UNIFIED[f"{SUNO}generate"]
        fields = {
            "prompt": order.prompt or f"A song called {title}",
            "title": title,
            "style": order.tags,
            "customMode": bool(order.prompt),
            "instrumental": False,
            "model": order.model,
        }
        body = fields | {"callBackUrl": order.callback_url}
        if order.form == "unified":
            fields["custom_mode"] = fields.pop("customMode")
            body = {"model": operation.model, "input": fields, "callBackUrl": order.callback_url}
        created = self._sim.clock.now() - order.age_days * DAY
        task = make_task(self._sim, operation, account, body, base_url, created=created, tracks=order.tracks)
        _age(self._sim, task, order)
        if order.state in _FINISHED_AT:
            await self._callbacks.expect(task)
        return task

    async def ledger(self) -> dict[str, Any]:
        """Return every create that KIE would have charged."""
        self._sim.settle()
        return {"charges": [asdict(charge) for charge in self._sim.ledger]}

    async def state(self) -> dict[str, Any]:
        """Return what the simulator has seen."""
        self._sim.settle()
        counts = self._sim.counts
        return {
            "requests": counts.requests,
            "reads": counts.reads,
            "excess_reads": counts.excess_reads,
            "rate_limited": counts.rate_limited,
            "downloads": counts.downloads,
            "authorization_leaks": counts.authorization_leaks,
            "callbacks": self._callbacks.shown(),
            "credits": {account.name: account.credits for account in self._sim.accounts.all()},
        }

    async def tasks(self) -> dict[str, Any]:
        """Return every task with its state."""
        shown = []
        for task in self._sim.tasks.values():
            reading = self._sim.reading(task, "")
            shown.append(
                {
                    "task_id": task.id,
                    "kind": task.kind,
                    "form": task.form,
                    "model": task.model,
                    "account": task.account,
                    "source_id": task.source_id,
                    "title": task.title,
                    "state": reading.state,
                    "ended": reading.ended,
                    "succeeded": reading.succeeded,
                    "seconds": task.offsets[-1],
                    "callback_url": task.callback_url.partition("?")[0],
                }
            )
        return {"tasks": shown}

    async def reset(self) -> dict[str, Any]:
        """Forget everything that happened."""
        self._callbacks.reset()
        self._sim.reset()
        return {"reset": True}

    async def add_fault(self, fault: Fault) -> dict[str, Any]:
        """Switch a fault on; one about how tasks end also strikes the tasks that are there."""
        fault_id = self._sim.faults.add(fault)
        if fault.phase == "task":
            for task in list(self._sim.tasks.values()):
                if not task.ended(self._sim.clock.now()) or fault.task_id == task.id:
                    strike_task(self._sim, operation_of(task), task)
            self._callbacks.wake()
        return {"id": fault_id}

    async def faults(self) -> dict[str, Any]:
        """Return the faults that are switched on."""
        return {"faults": self._sim.faults.shown()}

    async def clear_faults(self, fault_id: str | None = None) -> dict[str, Any]:
        """Switch one fault off, or all."""
        self._sim.faults.clear(fault_id)
        return await self.faults()

    async def clock(self) -> dict[str, Any]:
        """Return the simulated time and its speed."""
        return {"now": self._sim.clock.now(), "speed": self._sim.clock.speed}

    async def advance(self, advance: Advance) -> dict[str, Any]:
        """Move the simulated time forward."""
        self._sim.clock.advance(advance.advance_seconds)
        self._callbacks.wake()
        return await self.clock()

    async def settings(self) -> dict[str, Any]:
        """Return the settings."""
        return self._sim.settings.shown()

    async def change_settings(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Change settings by name; those of one account alone where ``account`` names it."""
        name = changes.pop("account", None)
        account = self._account(str(name)) if name else None
        try:
            self._sim.change_settings(changes, account)
        except KeyError as error:
            raise HTTPException(422, f"{error.args[0]} cannot be set per account.") from None
        except ValidationError as error:
            reasons = error.errors(include_url=False, include_input=False, include_context=False)
            raise HTTPException(422, reasons) from None
        self._callbacks.wake()
        return (self._sim.settings_of(account) if account else self._sim.settings).shown()

    async def send_callback(self, task_id: str, order: CallbackOrder) -> dict[str, Any]:
        """Send a task's callback again, or a forged one, and return what became of it."""
        task = self._sim.tasks.get(task_id)
        if task is None:
            raise HTTPException(404, "The simulator has no such task.")
        body = self._callbacks.body(task, order.stage)
        body = dataclasses.replace(
            body,
            code=body.code if order.code is None else order.code,
            msg=body.msg if order.msg is None else order.msg,
            data={**(body.data or {}), **(order.data or {})} or None,
        )
        signing = {"valid": [], "forged": ["forged_signature"], "none": ["no_signature"]}[order.signature]
        faults = [Fault(phase="callback", action=action) for action in signing]
        if order.url is not None:
            task = dataclasses.replace(task, callback_url=order.url)
        return asdict(await self._callbacks.post(task, body, faults))

    async def set_credits(self, change: AccountChange) -> dict[str, Any]:
        """Set an account's credits."""
        account = self._account(change.account)
        account.credits = change.credits
        return {"account": account.name, "credits": account.credits}

    async def change_key(self, change: KeyChange) -> dict[str, Any]:
        """Accept a key, or accept it no longer."""
        if change.revoked:
            self._sim.accounts.revoke(change.key)
            return {}
        account = self._account(change.account).name if change.account else None
        return {"account": self._sim.accounts.accept(change.key, account).name}


def _age(sim: Simulation, task: Task, order: MusicOrder) -> None:
    """Move a song's creation into the past so that it is in the wanted state now."""
    stage = _FINISHED_AT.get(order.state, len(task.offsets) - 1)
    if order.state in _FINISHED_AT and stage and task.offsets[stage] == task.offsets[-1]:
        task.pass_earlier(stage)  # its last state would begin at the same moment, so it could not be in this one
    if order.age_days == 0 or stage == len(task.offsets) - 1:
        task.created -= task.offsets[stage]
    if order.state not in _FINISHED_AT and order.state != "SUCCESS":
        task.ending = Ending(
            # The unified form has no such state: only the callback is lost.
            succeeded=order.form == "unified" and order.state == "CALLBACK_EXCEPTION",
            state=order.state,
            code=None if order.state == "CALLBACK_EXCEPTION" else 500,
            message=order.error_message,
            has_results=order.state == "CALLBACK_EXCEPTION",
        )
