"""What every operator that makes a paid KIE task shares: store the id first, wait for the end, never pay twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_kie import metrics, settings
from airflow_kie.client.answers.decode import Ended
from airflow_kie.client.catalogue.checks import request_errors
from airflow_kie.client.errors import KieInvalidRequest, KieOutOfCredits
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.durable.defaults import labels_in, optional, seconds_in
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.durable.requests import known_record, sender_of, store_of_request
from airflow_kie.durable.retried import KieOperator
from airflow_kie.durable.task_state import RecordStore
from airflow_kie.durable.waiting import WaitMode, wait_strategy
from airflow_kie.hooks.catalogue import newer_models
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.log_line import about
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lineage.facts import TaskLineage, known_of, of_ended
from airflow_kie.lineage.lists import to_list
from airflow_kie.links.kie import KieLogsLink
from airflow_kie.monitoring.callback_health import record_poll_hit
from airflow_kie.operators.lists.requests import Requests, refuse_as_one
from airflow_kie.operators.lists.task_list import run_list
from airflow_kie.triggers.event import Given, Outcome, completion_source, ended_by

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.song_folder import SongArchive
    from airflow_kie.hooks.archive import ExtraArgs

CALLBACK_POLL = 60.0
"""Seconds between reads while a callback is expected: the safety net for one that is lost."""


class KieTaskOperator(KieOperator):
    """Creates one or more tasks at KIE, of any operation, and waits for their results.

    For one request it returns KIE's task id. For a list it returns one row per request, in the same order: ``{index,
    status, task_id, reason, error}``. If a request fails, the others continue, and the Airflow task fails at the end;
    the rows are then in its XCom ``results``. With `to`, each result is archived as soon as it is ready, and the rows
    are in S3 (docs/guides/tables.md).

    A request is paid for once (docs/paying-once.md). Retries, clears and restarts after a crash continue with the KIE
    task that exists, running or finished; only one that failed at KIE is replaced, a limited number of times.

    :param operation: what to make, such as ``suno.wav`` or ``veo.generate``; docs/operations.md lists them.
    :param request: the request's fields as KIE names them.
    :param requests: instead of one request, a list of them, or the ``s3://`` address of a CSV, JSON Lines or Parquet
        table. `request` then holds defaults for the fields of each.
    :param to: archive the results of a list below this address, ``s3://bucket/folder``; refused for a single request.
    :param key_field: the field of each request that is your own name for it, such as ``id``; it is not sent. A later
        run of the list pays only for new names. Refused for a single request.
    :param fail_on: fail a list at its end if ``any`` request failed, ``never``, or if more than a share did (``0.1``).
    :param aws_conn_id: Airflow connection for S3; None or empty: boto3's default credential chain.
    :param extra_args: for S3, such as ``{"ServerSideEncryption": "aws:kms"}``; None: `[kie] s3_extra_args`.
    :param check_fields: False sends fields that this version's catalogue would reject, for newer models.
    :param kie_conn_id: Airflow connection of type ``kie``.
    :param idempotency_key: your own name for the request: all requests of the account with the same key share one KIE
        task, across all runs. None: one KIE task per parent task and fields, or else per DAG run, task and fields.
    :param adopt_task_id: KIE's id of an existing task, which is used instead of creating one; refused for a list.
    :param force_new: any new text creates one new paid task; retries and clears with the same text create none.
    :param labels: your own names for the request, at most 10, as a map or its JSON text; `airflow kie spend --by label`
        groups by them.
    :param wait_for_completion: False returns as soon as the task id is known; a sensor can wait for the result.
    :param deferrable: wait in the triggerer instead of in a worker; None follows `[operators] default_deferrable`.
    :param poll_interval: seconds between reads; None reads most often around the operation's usual duration, and once
        a minute if a callback is expected.
    :param expires_at: ISO time at which KIE deletes the source's files: outages are waited out until a day before
        that. None: unknown.
    :param wait_timeout: seconds to wait for the result; retries keep the deadline, a clear starts it again. None: the
        operation's default.
    """

    kind: ClassVar[str] = ""
    has_pending_record = False  # of a song, which says that it is not archived yet
    probes = False  # a list that has met an outage makes a free request before it sends something
    template_fields: Sequence[str] = (
        *("kie_conn_id", "idempotency_key", "adopt_task_id", "force_new", "expires_at"),
        *("request", "requests", "labels", "to", "key_field", "fail_on", "aws_conn_id", "extra_args"),
    )
    operator_extra_links = (KieLogsLink(),)
    ui_color = "#f3e8ff"

    def __init__(
        self,
        *,
        operation: str = "",
        request: Mapping[str, Any] | None = None,
        requests: Requests | None = None,
        to: str | None = None,
        key_field: str | None = None,
        fail_on: float | str = "any",
        aws_conn_id: str | None = "aws_default",
        extra_args: ExtraArgs = None,
        check_fields: bool = True,
        kie_conn_id: str = KieHook.default_conn_name,
        idempotency_key: str | None = None,
        adopt_task_id: str | None = None,
        force_new: str | None = None,
        labels: Mapping[str, str] | str | None = None,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float | timedelta | None = None,
        wait_timeout: float | timedelta | None = None,
        expires_at: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.operation = operation or self.kind
        self.row = task_kind(self.operation)
        self.request = request
        self.requests, self._is_list = requests, requests is not None
        self.to = to
        self.key_field = key_field
        self.fail_on = fail_on
        self.aws_conn_id = aws_conn_id
        self.extra_args = extra_args
        self.check_fields = check_fields
        self.kie_conn_id = kie_conn_id
        self.idempotency_key = idempotency_key
        self.adopt_task_id = adopt_task_id
        self.force_new = force_new
        self.labels = labels
        self.wait_for_completion = wait_for_completion
        self.deferrable = settings.deferrable_by_default() if deferrable is None else deferrable
        self.poll_interval, self.wait_timeout = seconds_in(poll_interval), seconds_in(wait_timeout)
        self.expires_at = expires_at
        self._completion_source = "at_once"

    def request_body(self) -> Mapping[str, Any]:
        """Return the fields of the create as KIE names them."""
        return self.request or {}

    def check_request(self) -> None:
        """Check the request before anything is paid.

        :raises KieInvalidRequest: naming what is wrong.
        """
        self.check_body(self.request_body(), "its request")

    def check_body(self, body: Mapping[str, Any], which: str) -> None:
        """Check the fields of one request.

        :param which: what a message calls it.
        :raises KieInvalidRequest: naming what is wrong.
        """
        if problems := request_errors(self.row, body, by_catalogue=self.check_fields, newer=newer_models):
            raise KieInvalidRequest(f"{'; '.join(problems)} in {which}; it was not sent to KIE")

    def source(self) -> Mapping[str, Any]:
        """Return what the task is made from, as it may be stored and shown."""
        return self.row.source_in(self.request_body())

    def task_known(self, context: Context, record: TaskRecord) -> None:
        """Do what must be done once the task's id is known and stored, before anything else can fail."""

    def archive_of(self, record: TaskRecord | None) -> SongArchive | None:
        """Return the song's folder in the bucket, if the task that is stored works with one."""
        return None

    def probe(self) -> None:
        """Make free requests that fail while the account cannot pay.

        :raises KieError: while the outage lasts.
        """
        if KieHook(self.kie_conn_id).credits() <= 0:
            raise KieOutOfCredits("the balance is zero")

    def finished(self, context: Context, record: TaskRecord) -> None:
        """Do what follows when the task has its files."""

    def execute(self, context: Context) -> Any:
        """Create the task or continue with the recorded one, and wait; return KIE's task id, or a list's rows."""
        return self.leg(context)

    def _start(self, context: Context) -> str:
        store, digest = self._store(context)
        record = self._known(store.read(), digest)
        if record.task_id:
            self.log.info("Continuing with the recorded task: %s", about(record))
        return self._drive(context, store, record)

    def execute_complete(
        self, context: Context, event: dict[str, Any], awaited: str | None = None, records: Given = None
    ) -> Any:
        """Continue after the triggerer has seen the task end: the record says which, KIE's details say how.

        :param event: its `task_id` names the task that it is about; a failure of another one is not applied.
        :param awaited: the id that was waited for, which a wake-up does not name.
        :param records: of a list: the tasks that were waited for.
        """
        return self.leg(context, event, awaited, records)

    def leg(self, context: Context, event: Given = None, awaited: str | None = None, records: Given = None, /) -> Any:
        """Begin, or continue after a wait; parameters as of :meth:`execute_complete`.

        :param event: None: the attempt begins.
        """
        if self.requests is not None:  # `dag.test()` loses the records: the ledger has their ids
            waited = None if event is None else records or {}
            return self._with_backoff(context, lambda: run_list(self, context, waited, event))
        if event is not None:
            return self._with_backoff(context, lambda: self._go_on(context, event, awaited))
        refuse_as_one(self, was_list=self._is_list)
        self.check_request()
        return self._with_backoff(context, lambda: self._start(context))

    def _go_on(self, context: Context, event: dict[str, Any], awaited: str | None) -> str:
        store, digest = self._store(context)
        record = self._known(store.read(), digest, event.get("task_id") or awaited)
        self._completion_source = completion_source(event)
        return self._drive(context, store, record, ended_by(event, Outcome.FAILED))

    def on_kill(self) -> None:
        """Say that KIE cannot cancel; the id stays stored, and the next attempt continues with the task."""
        self.log.warning("KIE cannot cancel a task: it continues there. Its id is kept for a retry.")

    def lineage_at_start(self) -> TaskLineage:
        """Return what the task is made from."""
        if self.requests is not None:
            return to_list(self.row, self.kie_conn_id, self.requests, self.request)
        record = TaskRecord(self.operation, source=dict(self.source()), connection=self.kie_conn_id)
        return known_of(record, self.request_body())

    def _with_backoff(self, context: Context, attempt: Callable[[], Any]) -> Any:
        def postpone(seconds: float) -> None:
            if self.requests is None:  # each leg of a list counts its own time
                ends_at = time.time() + seconds + self.timeout_seconds
                self._store(context)[0].extend_deadline(context["ti"].max_tries, ends_at)

        hook = KieHook(self.kie_conn_id)

        def probe() -> None:
            if self.requests:  # what is paid for is waited for, whatever the account can pay
                self.probes = True
            elif not self._is_paid(context):  # what is paid for is read, not asked for
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
            song=lambda: self.archive_of(self._stored(context)),
        )

    def _is_paid(self, context: Context) -> bool:
        """Return whether KIE has named the task: nothing has to be sent."""
        return bool((stored := self._stored(context)) and stored.task_id)

    def _stored(self, context: Context) -> TaskRecord | None:
        """Return what is stored of the task; a list has no record of its own, only digests, which this leaves alone."""
        return self._store(context)[0].read() if self.requests is None else None

    @property
    def timeout_seconds(self) -> float:
        """Seconds to wait for the end of a task."""
        return self.row.timing.timeout if self.wait_timeout is None else self.wait_timeout

    def _drive(self, context: Context, store: RecordStore, record: TaskRecord, ended: Ended | None = None) -> str:
        deadline = store.deadline(context["ti"].max_tries, time.time(), self.timeout_seconds)
        hook = KieHook(self.kie_conn_id)
        interval = CALLBACK_POLL if self.poll_interval is None and hook.account.calls_back else self.poll_interval
        recorded, labels = not self.has_pending_record, labels_in(self.task_id, self.labels)
        sender = sender_of(context, hook, self.row, self.request_body(), labels=labels, recorded=recorded)
        if self._completion_source == "at_once" and sender.is_released(record.digest, record.task_id):
            record = self._known(None, record.digest)
        if record.task_id and not record.number:  # given by a person: every run of the account knows it from now on
            record = replace(record, number=sender.paid(record.digest).adopt(record.task_id))

        def save(record: TaskRecord) -> None:
            store.write(record)
            self.set_lineage(known_of(record, self.request_body()))
            if record.task_id and not record.unrecorded:  # first of all the ledger gets the id
                self.task_known(context, record)

        rules = replace(settings.rules(interval, hook.account.api), timeout=self.timeout_seconds)
        driver = sender.driver(record.digest, save=save, deadline=deadline, rules=rules)
        mode = WaitMode.DEFER if self.deferrable else WaitMode.POKE
        pause = wait_strategy(mode, self, self.kie_conn_id, deadline, interval, self.timeout_seconds)
        result = driver.follow(record, hook.get_conn(), pause, ended, to_the_end=self.wait_for_completion)
        self.log.info("%s", about(result.record))
        if result.details:
            self._count_done(result.record)
            if self._completion_source == "poll" and hook.account.calls_back:
                self.log.info("A poll, not a callback, found that KIE task %s has ended.", result.record.task_id)
                record_poll_hit(self.kie_conn_id)
            since = None if result.record.adopted else result.record.known_at
            self.set_lineage(of_ended(result.record, result.details, self._completion_source, since))
            self.finished(context, result.record)
        return result.record.task_id or ""

    def _count_done(self, record: TaskRecord) -> None:
        metrics.DONE.add(kind=self.row.noun, connection=self.kie_conn_id, completion_source=self._completion_source)
        if record.known_at is not None and not record.adopted:
            metrics.WAIT.took(time.time() - record.known_at, kind=self.row.noun, connection=self.kie_conn_id)

    def _known(self, stored: TaskRecord | None, digest: str, awaited: str | None = None) -> TaskRecord:
        new = TaskRecord(self.operation, source=dict(self.source()), connection=self.kie_conn_id, digest=digest)
        return known_record(stored, new, adopt_task_id=self.adopt_task_id, awaited=awaited)

    def _store(self, context: Context) -> tuple[RecordStore, str]:
        """Return where the task's record is stored, and the digest of its request."""
        key, force_new = optional(self.idempotency_key), optional(self.force_new)
        return store_of_request(context, self.row, self.request_body(), idempotency_key=key, force_new=force_new)
