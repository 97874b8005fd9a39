"""How one paid request is sent: permit, switch, callback URL, the POST, and what is counted of it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context
from cachetools import TTLCache

from airflow_kie import metrics
from airflow_kie.client.account import NO_CALLBACK_URL, with_token
from airflow_kie.client.answers.decode import CreateAnswer, Created, Lost, Read, may_have_paid
from airflow_kie.client.answers.inline import kept_under
from airflow_kie.client.callbacks.url import Waiting, wake_token
from airflow_kie.client.catalogue.prices import quote
from airflow_kie.client.errors import KieError
from airflow_kie.client.operations.account import UPLOADED
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.client.redact import one_line, texts_in
from airflow_kie.hooks.cost import cost_of, refusal, request_name, settle
from airflow_kie.lifecycle.claims import AlreadyMade, Intent, RequestId
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.ledger import Ledger, PaidRequest
from airflow_kie.lifecycle.record import TaskRecord

if TYPE_CHECKING:
    from airflow_kie.hooks.connected import Connected

log = logging.getLogger(__name__)

HELD = 1.0
"""Seconds: a permit that comes quicker was not held back; to open the store alone takes a part of that."""
BALANCE_SECONDS = 10.0
"""Seconds for which the balance that an intent names as a hint is good."""
_balances: TTLCache[str, float | None] = TTLCache(64, BALANCE_SECONDS)
_reading = threading.Lock()
PERMIT_SECONDS = 5.0
"""Seconds that a worker is held for the limiter where one request is sent."""


@dataclass
class Sender:
    """Sends the requests of one task instance.

    :param hook: the account.
    :param kind: the operation.
    :param body: the request's fields as KIE names them.
    :param ti: the task instance, which a callback wakes.
    :param open_ledger: returns the ledger: the callback URL names its store.
    :param wakes: False: a callback records the id and wakes nobody, since the task instance waits for many tasks.
    :param labels: user-defined labels of the request.
    :param to: where the results are archived, ``s3://bucket/prefix``; empty: elsewhere, or nowhere.
    :param recorded: False: a pending record of the song's own says that the results are not archived yet.
    :param permit_seconds: how long a worker is held for the limiter; after that the task is rescheduled.
    """

    hook: Connected
    kind: TaskOperation
    body: Mapping[str, Any] = field(repr=False)
    ti: Any
    open_ledger: Callable[[], Ledger]
    permit_seconds: float = PERMIT_SECONDS
    wakes: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    to: str = ""
    recorded: bool = True
    _sent: Mapping[str, Any] = field(default_factory=dict, init=False, repr=False)
    _give_back: Callable[..., None] = field(default=lambda **_: None, init=False)
    _balance: float | None = field(default=None, init=False)
    _not_after: float = field(default=math.inf, init=False)
    _name: Callable[[str], None] = field(default=lambda _: None, init=False)

    def paid(self, digest: str) -> PaidRequest:
        """Return a request in the account's ledger, which is opened when it is first needed.

        :param digest: of the request's identity.
        """
        request = RequestId(self.hook.account.spending_name, self.kind.name, digest)
        return PaidRequest(self.open_ledger, request, self.new_intent, self.adopted, self.balance, self.made)

    def driver(self, digest: str, **known: Any) -> TaskDriver:
        """Return what carries a request to its end.

        :param digest: of the request's identity.
        :param known: further arguments of the driver.
        """
        sends = {name: getattr(self, name) for name in ("create", "permit", "give_back", "settle")}
        return TaskDriver(paid=self.paid(digest), **sends, **known)

    def new_intent(self, now: float, form: str = "") -> Intent:
        """Return what the ledger says of the request before it is sent.

        :param now: epoch seconds.
        :param form: the API variant of the source, unless the connection sets one; empty: KIE is asked in which one it
            has the source, else the operation's default is used.
        """
        calls_back, began = self.hook.account.calls_back, time.monotonic()
        form = self.hook.account.api or form or self._form_of_source()
        now += time.monotonic() - began  # a read of KIE's takes longer at times than an intent lets it be sent
        intent = Intent.made_at(
            now,
            callback_by=now + self.kind.timing.callback_by if calls_back else None,
            owner=owner_of(self.ti),
            form=self.kind.in_form(form).form.value,
            key=hashlib.sha256(self.hook.account.api_key.encode()).hexdigest()[:8],
            balance=self._balance,
            labels={one_line(str(name))[:100]: one_line(str(text))[:100] for name, text in self.labels.items()},
            quoted=(quoted.low, quoted.high) if (quoted := quote(self.kind, self.body)).known else (),
        )
        self._not_after = intent.not_after
        return intent

    def balance(self) -> float | None:
        """Return the account's credits, of a request that costs some; None where they cannot be read now."""
        if self.kind.free:
            return None
        with contextlib.suppress(KieError):
            return self.hook.credits()
        return None

    def _form_of_source(self) -> str:
        """Return the API variant in which KIE shows what this is made from; asking is free."""
        parent = self.kind.parent
        row = task_kind(parent.operation) if parent and parent.readable and self.kind.both_forms else None
        source = self.kind.source_in(self.body).get(parent.field) if parent else None
        if row and source:
            answer = self.hook.get_conn().details(row, str(source))
            if isinstance(answer, Read):
                return answer.details.form.value
        return self.kind.default.value

    def permit(self) -> None:
        """Take the account's permit for one create unless creates are stopped; a worker is held for seconds at most.

        Files of S3 that the request names are given to KIE before: nothing is claimed yet.
        """
        self.hook.spending_switch.check()
        if any(text.startswith(UPLOADED) for text in texts_in(self.body)):
            from airflow_kie.hooks.uploads import resolved

            self._sent = resolved(self.hook, self.body)
        self._balance = recent_balance(self.hook.account.name, self.balance)
        asked_at = time.monotonic()
        limiter = self.hook.limiter(bulk=not self.wakes)
        cost = cost_of(self.hook, self.kind, self.body, self.ti)
        permit = limiter.acquire(self.permit_seconds, cost)
        self._give_back = functools.partial(limiter.give_back, permit)
        counts = limiter.caps.any or not self.kind.free  # without caps too: the status page says how long credits last
        self._name = functools.partial(limiter.name, permit) if counts else lambda _: None
        held = time.monotonic() - asked_at + permit.wait_seconds
        if not permit.granted or held >= HELD:
            metrics.THROTTLED.took(held, connection=self.hook.kie_conn_id, over=permit.over or "rate")
        if permit.granted:
            return
        source = self.kind.source_in(self.body)
        facts: dict[str, Any] = {"kind": self.kind.name, "source_id": next(iter(source.values()), None)}
        raise refusal(permit, cost, self.hook.kie_conn_id, **facts)

    def released(self) -> set[str]:
        """Return the digests of this operation's requests that a person has given up at some time.

        Empty where the ledger cannot be read now.
        """
        with contextlib.suppress(KieError):
            return self.open_ledger().released(self.hook.account.spending_name, self.kind.name)
        return set()

    def is_released(self, digest: str, task_id: str | None) -> bool:
        """Return whether a person has given a request's task up; no where the ledger cannot be read now.

        :param digest: of the request's identity.
        :param task_id: KIE's id; None: none is known.
        """
        with contextlib.suppress(KieError):
            return bool(task_id) and self.paid(digest).is_released(str(task_id))
        return False

    def give_back(self) -> None:
        """Return the permit of a request that was not sent: another task may have it."""
        self._give_back(sent=False)

    def create(self, record: TaskRecord, nonce: str) -> CreateAnswer:
        """Send the request.

        :param record: the task, whose attempt is claimed.
        :param nonce: of that attempt; it travels, signed, in the callback URL.
        :raises KieSpendingStopped: when new paid tasks were stopped meanwhile; nothing was sent then.
        """
        conn_id = self.hook.kie_conn_id
        callback_url = with_token(self.hook.account.callback_url, self._wake_token(record, nonce))
        if callback_url == NO_CALLBACK_URL and self.wakes:
            log.info("Connection %s has no callback URL; results are polled.", conn_id)
        what = f" for {record.source_id}" if record.source_id else ""
        kind = task_kind(record.kind, record.form)
        way = f" in its {kind.form} API variant" if kind.both_forms else ""
        log.info("Asking KIE%s: %s%s.", way, kind.title, what)
        if (version := kind.named(self.body).get("model")) in kind.discontinued:
            log.warning("KIE lists %s as discontinued; the request is sent anyway.", version)
        self._name(request_name(record))
        body = self._sent or self.body
        answer = self.hook.get_conn().create(kind, body, record.source, callback_url, not_after=self._not_after)
        if not may_have_paid(answer):
            self._give_back()
        if isinstance(answer, Lost):
            log.warning(
                "It is not known whether KIE created a task%s: %s", what, answer.error.facts.message or "no answer"
            )
        if isinstance(answer, Created):
            again = answer.duplicate
            if answer.answer is None:
                log.info("KIE returned task id %s%s%s.", answer.task_id, what, ", which existed" if again else "")
            else:
                log.info("KIE returned no task id%s: its answer is the result itself, and is stored.", what)
            counter = metrics.ADOPTED if again else metrics.MADE_TWICE if record.repeated else metrics.CREATED
            counter.add(kind=self.kind.noun, connection=conn_id)
        return answer

    def settle(self, record: TaskRecord, used: float | None) -> None:
        """Count what a task has used, and record it where the quote does not say it already."""
        quoted = quote(self.kind, self.body)
        settle(self.hook, quoted, record, used)
        if used is not None and (quoted.low, quoted.high) != (used, used):
            request = RequestId(self.hook.account.spending_name, record.kind, record.digest)
            self.open_ledger().record(request, record.number, "used", credits=used)

    def made(self, task_id: str) -> None:
        """Record a task whose results are not archived yet."""
        from airflow_kie.hooks.unarchived import is_recorded, record_made

        if self.recorded and is_recorded(self.kind) and not kept_under(task_id):
            source = next(iter(self.kind.source_in(self.body).values()), None)
            record_made(self.hook, self.kind, task_id, self.ti, source and str(source), self.to)

    def adopted(self, made: AlreadyMade) -> None:
        """Count and log that an existing task is used, and warn if that is perhaps not intended.

        :param made: the task, and who asked for it.
        """
        metrics.ADOPTED.add(kind=self.kind.noun, connection=self.hook.kie_conn_id)
        asked = ", ".join(f"{name} {value}" for name, value in made.owner.items()) or "unknown"
        log.info("KIE task %s already exists for this request (sent by: %s). Nothing is paid.", made.task_id, asked)
        mine, theirs = owner_of(self.ti), dict(made.owner)
        if mine.get("dag") and all(theirs.get(name) == mine.get(name) for name in ("dag", "run", "task")):
            self.made(made.task_id)  # the worker may have died before it was recorded
        if theirs.pop("map_index", None) != mine.pop("map_index", None) and theirs == mine:
            log.warning(
                "Another mapped task of this run sent the same request, so both share KIE task %s. If you want two, "
                "give each its own idempotency_key.",
                made.task_id,
            )

    def _wake_token(self, record: TaskRecord, nonce: str) -> str | None:
        """Return what names this task instance and its request to the receiver; None where nothing can be signed."""
        secret = self.hook.account.webhook_secret
        if not secret:
            return nonce
        ti = self.ti
        map_index = ti.map_index if ti.map_index is not None else -1
        request = f"{self.open_ledger().store.kind}/{record.kind}/{record.digest}/{record.number}"
        return wake_token(secret, Waiting(ti.dag_id, ti.run_id, ti.task_id, map_index, nonce, request, self.wakes))


def recent_balance(account: str, balance: Callable[[], float | None]) -> float | None:
    """Return what an account has, as this process has read it within the last seconds: a list reads it now and then.

    :param account: its name.
    :param balance: reads it.
    """
    with _reading:
        if account not in _balances:
            _balances[account] = balance()
        return _balances[account]


def owner_of(ti: Any) -> dict[str, Any]:
    """Return who asks, for people: DAG, run, Airflow task, map index, and the user who has started the run."""
    named = {"dag": ti.dag_id, "run": ti.run_id, "task": ti.task_id, "user": getattr(ti, "user", "") or _user()}
    owner: dict[str, Any] = {name: value for name, value in named.items() if value}
    if ti.map_index is not None and ti.map_index >= 0:
        owner["map_index"] = ti.map_index
    return owner


def _user() -> str:
    """Return who has started this run, if a person has and Airflow knows the name."""
    try:
        run = get_current_context().get("dag_run")
    except RuntimeError:  # outside of a task
        return ""
    return str(getattr(run, "triggering_user_name", None) or "")
