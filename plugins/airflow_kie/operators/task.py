"""What every operator that makes a paid KIE task shares: store the id first, wait for the end, never pay twice."""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_kie import metrics, settings
from airflow_kie.client.account import NO_CALLBACK_URL, with_token
from airflow_kie.client.answers.decode import CreateAnswer, Created, Ended, may_have_paid
from airflow_kie.client.callbacks.url import Waiting, wake_token
from airflow_kie.client.errors import (
    KieDailyCap,
    KieInvalidRequest,
    KieOutOfCredits,
    KieSpendingStopped,
    KieThrottled,
)
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.client.redact import is_address, secrets_in
from airflow_kie.durable.defaults import RETRIES
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.durable.retry_policy import KieRetryPolicy
from airflow_kie.durable.task_state import RecordStore, key_of_this_try
from airflow_kie.durable.waiting import WaitMode, wait_strategy
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.log_line import about
from airflow_kie.lifecycle.record import Progress, TaskRecord
from airflow_kie.lineage.facts import TaskLineage, known_of, of_ended
from airflow_kie.lineage.mixin import LineageMethods
from airflow_kie.links.kie import KieLogsLink
from airflow_kie.monitoring.callback_health import record_poll_hit
from airflow_kie.triggers.event import Outcome, completion_source, ended_by

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.song_folder import SongArchive

CALLBACK_POLL = 60.0
"""Seconds between reads while a callback is expected: the safety net for one that is lost."""
HELD = 1.0
"""Seconds: a permit that comes quicker was not held back; to open the store alone takes a part of that."""
PERMIT_SECONDS = 5.0
"""Seconds that a worker is held for the limiter; after that the task is rescheduled."""


class KieTaskOperator(LineageMethods, BaseOperator):
    """Makes a KIE task and waits until it has ended.

    The id stands in Airflow's task state store before anything else can fail. A retry, a clear or a crashed worker
    goes on with it: a running task is waited for, a finished one is used, and only a task that KIE says has failed is
    replaced, a limited number of times.

    :param kie_conn_id: Airflow connection of type ``kie``.
    :param adopt_task_id: an id of KIE that is known from elsewhere: it is taken instead of making a task.
    :param force_new: any text that was not used before makes one new paid task; retries and clears with the same text
        make none. Not for kinds that KIE makes once per source.
    :param wait_for_completion: False returns as soon as KIE has named the task; a sensor can wait for it.
    :param deferrable: wait in the triggerer instead of in a worker; None follows `[operators] default_deferrable`.
    :param poll_interval: seconds between reads; None reads densely near the time at which such tasks usually end, and
        once a minute where a callback is expected.
    :param expires_at: ISO time at which KIE deletes the files that this is made from: an outage is waited out until a
        day before; None: unknown.
    :param wait_timeout: seconds to wait for the end; kept by retries, begun again by a clear. None: the kind's own.
    """

    kind: ClassVar[str]
    template_fields: Sequence[str] = ("kie_conn_id", "adopt_task_id", "force_new", "expires_at")
    operator_extra_links = (KieLogsLink(),)
    ui_color = "#f3e8ff"

    def __init__(
        self,
        *,
        kie_conn_id: str = KieHook.default_conn_name,
        adopt_task_id: str | None = None,
        force_new: str | None = None,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float | None = None,
        wait_timeout: float | None = None,
        expires_at: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retries", RETRIES)
        kwargs.setdefault("retry_policy", KieRetryPolicy())
        if force_new and task_kind(self.kind).made_once:
            raise ValueError(
                f"force_new cannot be used in {type(self).__name__}: KIE makes this once for each song and answers a "
                "second request with the first task. Generate the song again, or adopt a known task with adopt_task_id."
            )
        super().__init__(**kwargs)
        self.force_new = force_new
        self.kie_conn_id = kie_conn_id
        self.adopt_task_id = adopt_task_id
        self.wait_for_completion = wait_for_completion
        self.deferrable = settings.deferrable_by_default() if deferrable is None else deferrable
        self.poll_interval = poll_interval
        self.wait_timeout = wait_timeout
        self.expires_at = expires_at
        self._completion_source = "at_once"
        self._give_back: Callable[[], None] | None = None

    # --- what a kind adds ---

    def request_body(self) -> Mapping[str, Any]:
        """Return the fields of the create as KIE names them."""
        raise NotImplementedError

    def source(self) -> Mapping[str, Any]:
        """Return what the task is made from, as it may be stored and shown."""
        return task_kind(self.kind).source_in(self.request_body())

    def store_key(self) -> str:
        """Return the key of the record in the task state store; it names the source."""
        raise NotImplementedError

    def known_elsewhere(self, context: Context) -> str | None:
        """Return the id of a task that was paid for outside of this run."""
        return None

    def task_known(self, context: Context, record: TaskRecord) -> None:
        """Do what must be done once the task's id is known and stored, before anything else can fail."""

    def archive_of(self, record: TaskRecord | None) -> SongArchive | None:
        """Return the song's folder in the bucket, if the task works with one.

        :param record: what is stored of the task.
        """
        return None

    def probe(self) -> None:
        """Make free requests that fail while the account cannot pay.

        :raises KieError: while the outage lasts.
        """
        if KieHook(self.kie_conn_id).credits() <= 0:
            raise KieOutOfCredits("the balance is used up")

    def finished(self, context: Context, record: TaskRecord) -> None:
        """Do what follows when the task has its files."""

    # --- what Airflow calls ---

    def execute(self, context: Context) -> str:
        """Make the task or take up the one that is known, and wait; return KIE's task id."""
        return self._with_backoff(context, lambda: self._take_up(context))

    def _take_up(self, context: Context) -> str:
        store = self._store(context)
        record = self._known(context, store.read())
        if record.progress is Progress.SENT:
            self.log.info("Going on with what is known: %s", about(record))
        return self._drive(context, store, record)

    def execute_complete(self, context: Context, event: dict[str, Any], awaited: str | None = None) -> str:
        """Go on after the triggerer has seen the task end: the record says which, KIE's details say how.

        :param event: whose `task_id` names the task that it speaks of; a failure of another one is not applied.
        :param awaited: the id that was waited for, which a wake-up does not name.
        """
        return self._with_backoff(context, lambda: self._go_on(context, event, awaited))

    def _go_on(self, context: Context, event: dict[str, Any], awaited: str | None) -> str:
        store = self._store(context)
        record = self._known(context, store.read(), event.get("task_id") or awaited)
        self._completion_source = completion_source(event)
        return self._drive(context, store, record, ended_by(event, Outcome.FAILED))

    def _do_render_template_fields(self, parent: Any, template_fields: Iterable[str], *args: Any) -> None:
        """Render the fields, then hide the credentials that stand in their URLs from logs and from the rendered fields.

        Airflow 3.3.2 stores those right after this, also of a mapped task, whose own rendering calls nothing else of
        ours. Without this call of Airflow's nothing is hidden there; a test of a mapped task says so.
        """
        from airflow.sdk.log import mask_secret

        super()._do_render_template_fields(parent, template_fields, *args)
        for name in template_fields:
            for secret in secrets_in(getattr(parent, name, None)):
                mask_secret(secret)

    def on_kill(self) -> None:
        """Say that KIE cannot cancel; the id stays stored, and the next attempt takes the task up."""
        self.log.warning("KIE cannot cancel a task: what was started there goes on. Its id is kept for a retry.")

    def lineage_at_start(self) -> TaskLineage:
        """Return what the task is made from."""
        record = TaskRecord(self.kind, source=dict(self.source()), connection=self.kie_conn_id)
        return known_of(record, self.request_body())

    # --- how ---

    def _with_backoff(self, context: Context, attempt: Callable[[], str]) -> str:
        def postpone(seconds: float) -> None:
            self._store(context).extend_deadline(context["ti"].max_tries, time.time() + seconds + self._timeout)

        hook = KieHook(self.kie_conn_id)

        def probe() -> None:
            if not self._is_paid(context):  # what is paid for is read, not asked for
                self.probe()

        def check_spending() -> None:
            if not self._is_paid(context):
                hook.spending_switch.check()

        return run_with_outage_backoff(
            context,
            attempt,
            probe=probe,
            check_spending=check_spending,
            expires_at=self.expires_at,
            postpone=postpone,
            song=lambda: self.archive_of(self._store(context).read()),
        )

    def _is_paid(self, context: Context) -> bool:
        """Return whether KIE has named the task: nothing has to be sent."""
        stored = self._store(context).read()
        return stored is not None and stored.task_id is not None

    @property
    def _timeout(self) -> float:
        return self.wait_timeout or task_kind(self.kind).timing.timeout

    def _drive(self, context: Context, store: RecordStore, record: TaskRecord, ended: Ended | None = None) -> str:
        deadline = store.deadline(context["ti"].max_tries, time.time(), self._timeout)
        hook = KieHook(self.kie_conn_id)
        interval = CALLBACK_POLL if self.poll_interval is None and hook.account.calls_back else self.poll_interval
        way = WaitMode.DEFER if self.deferrable else WaitMode.POKE

        def save(record: TaskRecord) -> None:
            store.write(record)
            self._lineage = known_of(record, self.request_body())
            if record.progress is Progress.SENT:
                self.task_known(context, record)

        follower = TaskDriver(
            kie=hook.get_conn(),
            save=save,
            pause=wait_strategy(way, self, self.kie_conn_id, deadline, interval),
            create=lambda record: self._create(context, hook, record),
            permit=lambda: self._permit(hook),
            deadline=deadline,
            rules=settings.rules(interval),
        )
        followed = follower.follow(record, ended, to_the_end=self.wait_for_completion)
        self.log.info("%s", about(followed.record))
        if followed.details:
            self._count_done(followed.record)
            if self._completion_source == "poll" and hook.account.calls_back:
                self.log.info("A poll found that KIE task %s has ended; no callback has come.", followed.record.task_id)
                record_poll_hit(self.kie_conn_id)
            since = None if followed.record.adopted else followed.record.known_at
            self._lineage = of_ended(followed.record, followed.details, self._completion_source, since)
            self.finished(context, followed.record)
        return followed.record.task_id or ""

    def _permit(self, hook: KieHook) -> None:
        """Take the account's permit for one create unless creates are stopped; a worker is held for seconds at most."""
        hook.spending_switch.check()
        asked_at = time.monotonic()
        limiter = hook.limiter()
        permit = limiter.acquire(PERMIT_SECONDS)
        self._give_back = functools.partial(limiter.give_back, permit)
        held = time.monotonic() - asked_at + permit.wait_seconds
        if not permit.granted or held >= HELD:
            metrics.THROTTLED.took(held, connection=self.kie_conn_id, over=permit.over or "rate")
        if permit.granted:
            return
        facts: dict[str, Any] = {"kind": self.kind, "source_id": next(iter(self.source().values()), None)}
        if permit.over == "day":
            raise KieDailyCap(retry_after=permit.wait_seconds, **facts)
        raise KieThrottled(retry_after=permit.wait_seconds, **facts)

    def _create(self, context: Context, hook: KieHook, record: TaskRecord) -> CreateAnswer:
        callback_url = with_token(hook.account.callback_url, self._wake_token(context, hook, record))
        if callback_url == NO_CALLBACK_URL:
            self.log.info("Connection %s names no callback URL; KIE's details are polled.", self.kie_conn_id)
        what = f" for {record.source_id}" if record.source_id else ""
        self.log.info("Asking KIE: %s%s.", task_kind(self.kind).title, what)
        try:
            answer = hook.get_conn().create(task_kind(self.kind), self.request_body(), record.source, callback_url)
        except KieSpendingStopped:  # while the permit was waited for: another task may have it
            if self._give_back:
                self._give_back()
            raise
        if self._give_back and not may_have_paid(answer):
            self._give_back()
        if isinstance(answer, Created):
            again = answer.duplicate
            self.log.info("KIE names task %s%s%s.", answer.task_id, what, ", which it had made before" if again else "")
            (metrics.ADOPTED if again else metrics.CREATED).add(kind=self._noun, connection=self.kie_conn_id)
        return answer

    def _count_done(self, record: TaskRecord) -> None:
        metrics.DONE.add(kind=self._noun, connection=self.kie_conn_id, completion_source=self._completion_source)
        if record.known_at is not None and not record.adopted:
            metrics.WAIT.took(time.time() - record.known_at, kind=self._noun, connection=self.kie_conn_id)

    @property
    def _noun(self) -> str:
        return self.kind.rpartition(".")[2]

    def _wake_token(self, context: Context, hook: KieHook, record: TaskRecord) -> str | None:
        """Return what names this task instance to the receiver, or the bare record where nothing can be signed."""
        if not hook.account.webhook_secret or not record.token:
            return record.token
        ti = context["ti"]
        waiting = Waiting(
            ti.dag_id, ti.run_id, ti.task_id, ti.map_index if ti.map_index is not None else -1, record.token
        )
        return wake_token(hook.account.webhook_secret, waiting)

    def _known(self, context: Context, stored: TaskRecord | None, awaited: str | None = None) -> TaskRecord:
        """Return what is known of the task: a person's word first, then the store, the trigger, the bucket.

        :param stored: what the task state store holds; a person can empty it while the task is deferred.
        :param awaited: the id that the triggerer has waited for.
        """
        record = stored or TaskRecord(
            self.kind, source=dict(self.source()), connection=self.kie_conn_id, token=secrets.token_urlsafe(16)
        )
        given = (self.adopt_task_id or "").strip()
        if is_address(given):
            raise KieInvalidRequest("adopt_task_id holds an address instead of a task id as kie.ai/logs shows it")
        if record.task_id and given in ("", record.task_id, *record.failed_ids):
            return record
        known = given or awaited or self.known_elsewhere(context)
        if not known or known in record.failed_ids:
            return record
        made_from = f" for {record.source_id}" if record.source_id else ""
        self.log.info("Adopting KIE task %s%s; nothing is paid for.", known, made_from)
        if not awaited:
            metrics.ADOPTED.add(kind=self._noun, connection=self.kie_conn_id)
        return replace(
            record,
            progress=Progress.SENT,
            task_id=known,
            adopted=True,
            known_at=None,
            doubt=None,
            doubt_at=None,
            last_state=None,
        )

    def _store(self, context: Context) -> RecordStore:
        store = context["task_state_store"]
        key = f"{self.store_key()}/{self.force_new}" if self.force_new else self.store_key()
        if task_kind(self.kind).parent is None:
            key = key_of_this_try(store, key, context["ti"].max_tries)
        return RecordStore(store, key)
