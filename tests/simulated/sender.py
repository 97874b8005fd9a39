"""How one request is sent, as the package's own sender does it: intent, permit, POST, what it has used."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_kie.client.answers.decode import CreateAnswer, may_have_paid
from airflow_kie.client.api import Kie
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.client.rate_limiter.limiter import Cost, CreateLimiter, Permit
from airflow_kie.hooks.cost import refusal, request_name
from airflow_kie.hooks.sending import PERMIT_SECONDS
from airflow_kie.lifecycle.claims import Intent
from airflow_kie.lifecycle.record import TaskRecord
from simulated.kie import CREDITS
from simulated.world import CALLBACK, Wanted, World


@dataclass
class Sender:
    """Sends one request.

    :param world: where.
    :param owner: whose it is.
    :param wanted: what is asked for.
    :param kie: who is asked.
    :param limiter: the account's, where it has a cap.
    """

    world: World
    owner: str
    wanted: Wanted
    kie: Kie
    limiter: CreateLimiter | None
    _permit: Permit = field(default_factory=lambda: Permit(granted=False))

    def new_intent(self, now: float, form: str = "") -> Intent:
        """Return what the ledger says of the request before it is sent."""
        kind, schedule = self.world.kind, self.world.schedule
        by = now + kind.timing.callback_by if schedule.calls_back else None
        asked = kind.in_form(form or schedule.form or kind.default.value).form.value
        return Intent.made_at(now, form=asked, callback_by=by, owner={"run": self.owner})

    def permit(self) -> None:
        """Take a permit."""
        if self.limiter is None or self.world.kind.free:
            return
        self._permit = self.limiter.acquire(PERMIT_SECONDS, Cost(CREDITS))
        if not self._permit.granted:
            raise refusal(self._permit, Cost(CREDITS), "kie_default", kind=self.world.kind.name)

    def give_back(self, *, sent: bool = False) -> None:
        """Give the permit back."""
        if self.limiter is not None:
            self.limiter.give_back(self._permit, sent=sent)

    def create(self, record: TaskRecord, nonce: str) -> CreateAnswer:
        """Send the request; the attempt travels in the callback URL."""
        if self.limiter is not None and self._permit.token:
            self.limiter.name(self._permit, request_name(record))
        callback = f"{CALLBACK}?token={record.digest}/{record.number}"
        row = task_kind(record.kind, record.form)
        answer = self.kie.create(row, self.wanted.body, record.source, callback)
        if not may_have_paid(answer):
            self.give_back(sent=True)
        return answer

    def settle(self, record: TaskRecord, used: float | None) -> None:
        """Count what the task has used."""
        if used is not None and self.limiter is not None:
            self.limiter.settle(request_name(record), used)
