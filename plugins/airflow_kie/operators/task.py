"""What every operator that makes a paid KIE task shares: store the id first, wait for the end, never pay twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_kie import metrics, settings
from airflow_kie.client.answers.decode import Ended
from airflow_kie.client.catalogue.checks import request_errors
from airflow_kie.client.errors import KieInvalidRequest, KieOutOfCredits
from airflow_kie.client.operations.registry import task_kind
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
from airflow_kie.operators.lists.requests import Requests
from airflow_kie.operators.lists.task_list import run_list
from airflow_kie.triggers.event import Given, Outcome, completion_source, ended_by

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.song_folder import SongArchive
    from airflow_kie.hooks.archive import ExtraArgs

CALLBACK_POLL = 60.0
"""Seconds between reads while a callback is expected: the safety net for one that is lost."""


class KieTaskOperator(KieOperator):
    """Makes any KIE task, or many, and waits until each has ended.

    One request returns KIE's task id. A list returns one row a request, in its order: ``{index, status, task_id,
    reason, error}``. One that fails never stops another; the task fails at the end if one has, and the rows are in its
    XCom ``results`` even then. With `to` each result is archived as it ends, and the rows are in S3
    (docs/guides/tables.md).

    A request is paid for once (docs/paying-once.md). A retry, a clear or a crashed worker goes on with the task that
    it has made: a running one is waited for, a finished one is used, and only a task that KIE says has failed is
    replaced, a limited number of times.

    :param operation: what to make, such as ``suno.wav`` or ``veo.generate``; docs/operations.md lists them.
    :param request: the request's fields as KIE names them.
    :param requests: instead of one request, a list of them, or an ``s3://`` address of a CSV, JSON Lines or Parquet
        table. The fields of `request` are then in each of them, unless it has its own.
    :param to: archive what a list makes below this address, ``s3://bucket/folder``.
    :param key_field: the field of each request that is your own name for it, such as ``id``; it is not sent. Another
        run of the list pays only for new names.
    :param fail_on: what fails a list, once all else is archived: ``any`` failed request, ``never``, more than a share.
    :param aws_conn_id: Airflow connection for S3; None or empty: boto3's default credential chain.
    :param extra_args: for S3, such as ``{"ServerSideEncryption": "aws:kms"}``; None: `[kie] s3_extra_args`.
    :param check_fields: False sends what KIE's catalogue of this version would refuse, for a model that is newer.
    :param kie_conn_id: Airflow connection of type ``kie``.
    :param idempotency_key: your own name for what is asked for: the account's every request with it is one KIE task,
        whatever the run. None: made from a KIE task it counts by that, else it is another one in each run.
    :param adopt_task_id: an id of KIE that is known from elsewhere: it is used instead of making a task.
    :param force_new: a text that was not used before makes one new paid task; retries and clears with it make none.
    :param labels: people's own names for what is asked for; `airflow kie spend --by label` adds up by them.
    :param wait_for_completion: False returns as soon as KIE has named the task; a sensor can wait for it.
    :param deferrable: wait in the triggerer instead of in a worker; None follows `[operators] default_deferrable`.
    :param poll_interval: seconds between reads; None reads densely near the time at which such tasks usually end, and
        once a minute where a callback is expected.
    :param expires_at: ISO time at which KIE deletes the files that this is made from: an outage is waited out until a
        day before; None: unknown.
    :param wait_timeout: seconds to wait for the end; kept by retries, begun again by a clear. None: the kind's own.
    """

    kind: ClassVar[str] = ""
    has_pending_record = False  # of a song, which says that it is not archived yet
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
        labels: Mapping[str, str] | None = None,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float | None = None,
        wait_timeout: float | None = None,
        expires_at: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.operation = operation or self.kind
        self.row = task_kind(self.operation)
        self.request = request
        self.requests = requests
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
        self.poll_interval = poll_interval
        self.wait_timeout = wait_timeout
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
            raise KieOutOfCredits("the balance is used up")

    def finished(self, context: Context, record: TaskRecord) -> None:
        """Do what follows when the task has its files."""

    def execute(self, context: Context) -> Any:
        """Make the task or go on with the one that is known, and wait; return KIE's task id, or a list's rows."""
        return self.leg(context)

    def _start(self, context: Context) -> str:
        store, digest = self._store(context)
        record = self._known(store.read(), digest)
        if record.task_id:
            self.log.info("Going on with what is known: %s", about(record))
        return self._drive(context, store, record)

    def execute_complete(
        self, context: Context, event: dict[str, Any], awaited: str | None = None, records: Given = None
    ) -> Any:
        """Go on after the triggerer has seen the task end: the record says which, KIE's details say how.

        :param event: its `task_id` names the task that it is about; a failure of another one is not applied.
        :param awaited: the id that was waited for, which a wake-up does not name.
        :param records: of a list: the tasks that were waited for.
        """
        return self.leg(context, event, awaited, records)

    def leg(self, context: Context, event: Given = None, awaited: str | None = None, records: Given = None, /) -> Any:
        """Begin, or go on after a wait; parameters as of :meth:`execute_complete`.

        :param event: None: the attempt begins.
        """
        if self.requests is not None:  # `dag.test()` loses the records: the ledger has their ids
            waited = None if event is None else records or {}
            return self._with_backoff(context, lambda: run_list(self, context, waited, event))
        if event is not None:
            return self._with_backoff(context, lambda: self._go_on(context, event, awaited))
        self.check_request()
        return self._with_backoff(context, lambda: self._start(context))

    def _go_on(self, context: Context, event: dict[str, Any], awaited: str | None) -> str:
        store, digest = self._store(context)
        record = self._known(store.read(), digest, event.get("task_id") or awaited)
        self._completion_source = completion_source(event)
        return self._drive(context, store, record, ended_by(event, Outcome.FAILED))

    def on_kill(self) -> None:
        """Say that KIE cannot cancel; the id stays stored, and the next attempt goes on with the task."""
        self.log.warning("KIE cannot cancel a task: what was started there goes on. Its id is kept for a retry.")

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
        return self.wait_timeout or self.row.timing.timeout

    def _drive(self, context: Context, store: RecordStore, record: TaskRecord, ended: Ended | None = None) -> str:
        deadline = store.deadline(context["ti"].max_tries, time.time(), self.timeout_seconds)
        hook = KieHook(self.kie_conn_id)
        interval = CALLBACK_POLL if self.poll_interval is None and hook.account.calls_back else self.poll_interval
        recorded = not self.has_pending_record
        sender = sender_of(context, hook, self.row, self.request_body(), labels=self.labels or {}, recorded=recorded)
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
                self.log.info("A poll found that KIE task %s has ended; no callback has come.", result.record.task_id)
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
        key, force_new = self.idempotency_key or "", self.force_new or ""
        return store_of_request(context, self.row, self.request_body(), idempotency_key=key, force_new=force_new)
