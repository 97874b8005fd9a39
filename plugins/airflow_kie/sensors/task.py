"""KieTaskSensor: waits for any KIE task. It reads first, waits only if needed, and never pays."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, BaseSensorOperator
from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException, AirflowTaskTimeout

from airflow_kie import settings
from airflow_kie.client.answers.decode import Ended
from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.errors import KieError, KieUnexpected, Scope
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.durable.defaults import required, seconds_in
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.durable.rendered_fields import HidesCredentials
from airflow_kie.durable.retried import Retried
from airflow_kie.durable.task_state import RecordStore, source_key
from airflow_kie.durable.waiting import WaitMode, wait_strategy
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lineage.facts import TaskLineage, known_of, of_ended
from airflow_kie.lineage.mixin import LineageMethods
from airflow_kie.links.kie import KieLogsLink
from airflow_kie.triggers.event import Given, Outcome, completion_source, ended_by

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.song_folder import SongArchive


NOT_UNDERSTOOD = frozenset({KieUnexpected.reason, KieError.reason})
"""Reasons that say nothing about the KIE task: nobody foresaw the error, or only a newer version knows its reason."""


class KieTaskSensor(HidesCredentials, LineageMethods, Retried, BaseSensorOperator):
    """Waits until a KIE task has its results, and returns ids and counts, but no addresses of files.

    It returns ``{operation, task_id, kie_conn_id, expires_at, results: [{role, count}]}``.

    The sensor keeps its own deadline: retries keep it, and a clear starts it again. Its timeout error names the KIE
    task and its last state.

    :param operation: the task's operation, such as ``suno.wav``.
    :param kie_task_id: KIE's id of the task.
    :param kie_conn_id: Airflow connection of type ``kie``.
    :param deferrable: wait in the triggerer; None follows `[operators] default_deferrable`. When False, `mode`
        decides between ``poke`` and ``reschedule``.
    :param poll_interval: seconds between reads; None reads densely near the time at which such tasks usually end.
    :param timeout: seconds to wait; None: the kind's own.
    :param expires_at: ISO time at which KIE deletes the files: an outage is waited out until a day before.
    :param soft_fail: skip when the KIE task failed or did not end in time. An account that cannot be used, KIE being
        down, or an error that nobody foresaw still fails the sensor: it says nothing about the task.
    :param never_fail: skip whatever fails it, instead of `soft_fail`; an outage that is waited out is waited out first.
    :param poke_interval: Airflow's name of `poll_interval`, which goes first.
    """

    kind: ClassVar[str] = ""
    id_field: ClassVar[str] = "kie_task_id"
    template_fields: Sequence[str] = ("kie_conn_id", "expires_at", "kie_task_id")
    operator_extra_links = (KieLogsLink(),)
    ui_color = "#e6f4ff"

    def __init__(
        self,
        *,
        operation: str = "",
        kie_task_id: str = "",
        kie_conn_id: str = KieHook.default_conn_name,
        deferrable: bool | None = None,
        poll_interval: float | timedelta | None = None,
        poke_interval: float | timedelta | None = None,
        timeout: float | timedelta | None = None,
        expires_at: str | None = None,
        **kwargs: Any,
    ) -> None:
        row = task_kind(operation or self.kind)
        if poke_interval is not None:
            kwargs["poke_interval"] = poke_interval
        super().__init__(timeout=row.timing.timeout if timeout is None else timeout, **kwargs)
        if self.exponential_backoff or self.max_wait is not None or self.silent_fail:
            raise ValueError(
                f"Sensor {self.task_id} was given exponential_backoff, max_wait or silent_fail, which it does not "
                "have: a read that fails is repeated, and the pauses between reads grow by themselves to 30 seconds. "
                "Leave them out, or set poll_interval"
            )
        self.operation, self.row = row.name, row
        self.kie_task_id = kie_task_id
        self.kie_conn_id = kie_conn_id
        self.deferrable = settings.deferrable_by_default() if deferrable is None else deferrable
        self.poll_interval = seconds_in(poll_interval)
        if poll_interval is None and poke_interval is not None:
            self.poll_interval = self.poke_interval
        self.expires_at = expires_at
        self._completion_source = "at_once"

    @property
    def awaited_id(self) -> str:
        """The id of the KIE task to wait for."""
        return str(getattr(self, self.id_field) or "").strip()

    def source(self) -> Mapping[str, Any]:
        """Return what the task must be made from, if known; another song's task is refused."""
        return {}

    def result(self, context: Context, details: TaskDetails) -> dict[str, Any]:
        """Return what goes into XCom: ids, titles, numbers; no addresses of files."""
        counts = Counter(result.role for result in details.results)
        return {
            "operation": self.operation,
            "task_id": self.awaited_id,
            "kie_conn_id": self.kie_conn_id,
            "expires_at": details.expires_at.isoformat() if details.expires_at else None,
            "results": [{"role": role, "count": count} for role, count in counts.items()],
        }

    def execute(self, context: Context) -> Any:
        """Read the task, and wait as long as it runs."""
        with self._never_failing():
            return self.leg(context)

    def execute_complete(
        self, context: Context, event: dict[str, Any], awaited: str | None = None, records: Given = None
    ) -> Any:
        """Continue after the triggerer has seen the task end: read it once more, the details are the truth.

        :param event: whose `task_id` names the task that it speaks of; a failure of another one is not applied.
        :param awaited: the id that was waited for; the sensor's own argument names it too.
        :param records: of a batch of songs: the tasks that were waited for, which the batch names too.
        """
        return self.leg(context, event)

    def leg(self, context: Context, event: Given = None, /) -> Any:
        """Begin, or continue after a wait.

        :param event: as of :meth:`execute_complete`; None: the attempt begins.
        """
        if event is None:
            required(self.task_id, **{self.id_field: getattr(self, self.id_field)})
            return self._with_backoff(context, None)
        self._completion_source = completion_source(event)
        return self._with_backoff(context, ended_by(event, Outcome.FAILED, Outcome.TIMEOUT))

    def _with_backoff(self, context: Context, ended: Ended | None) -> dict[str, Any]:
        def postpone(seconds: float) -> None:
            self._store(context).extend_deadline(context["ti"].max_tries, time.time() + seconds + self.timeout)

        return run_with_outage_backoff(
            context,
            lambda: self._drive(context, ended),
            expires_at=self.expires_at,
            postpone=postpone,
            song=self._configured_archive,
        )

    def _configured_archive(self) -> SongArchive | None:
        """Return the song's folder in the configured bucket, whose pending record says why a song waits."""
        song, bucket = getattr(self, "music_task_id", None), settings.text("bucket")
        if not song or not bucket:
            return None
        from airflow_kie.hooks.archive import open_song

        return open_song(settings.text("aws_conn_id", "aws_default"), bucket, settings.text("prefix", "songs"), song)

    def _store(self, context: Context) -> RecordStore:
        return RecordStore(context["task_state_store"], source_key(self.row.noun, self.awaited_id))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a wait. A triggerer that failed says nothing about the song: `soft_fail` does not hide it."""
        with self._never_failing():
            return BaseOperator.resume_execution(self, next_method, next_kwargs, context)

    @contextmanager
    def soft_failing(self) -> Iterator[None]:
        """Skip where `soft_fail` is set and an error says what has become of the KIE task."""
        try:
            yield
        except KieError as error:
            if self.soft_fail and error.scope is Scope.TASK and error.reason not in NOT_UNDERSTOOD:
                raise AirflowSkipException(str(error)) from error
            raise
        except AirflowTaskTimeout as late:
            if self.soft_fail:
                raise AirflowSkipException("The task did not end within execution_timeout") from late
            raise

    @contextmanager
    def _never_failing(self) -> Iterator[None]:
        try:
            yield
        except (AirflowSkipException, AirflowRescheduleException):
            raise
        except (Exception, AirflowTaskTimeout) as error:
            if not self.never_fail:
                raise
            self.log.exception("The sensor would have failed; never_fail skips it.")
            known = isinstance(error, KieError)
            raise AirflowSkipException(str(error) if known else f"{type(error).__name__}, see the log") from error

    def _drive(self, context: Context, ended: Ended | None = None) -> dict[str, Any]:
        store = self._store(context)
        deadline = store.deadline(context["ti"].max_tries, time.time(), self.timeout)
        rescheduled = self.mode == "reschedule" and not self.deferrable
        known = self._record()
        record = (store.read() or known) if rescheduled else known
        self._lineage = known_of(record, waits_only=True)
        driver = TaskDriver(
            save=store.write if rescheduled else None,
            deadline=deadline,
            rules=settings.rules(self.poll_interval),
        )
        with self.soft_failing():
            pause = wait_strategy(self._wait_mode(), self, self.kie_conn_id, deadline, self.poll_interval)
            followed = driver.follow(record, KieHook(self.kie_conn_id).get_conn(), pause, ended)
        if followed.details is None:
            raise AssertionError("A sensor follows its task to the end.")
        self._lineage = of_ended(
            followed.record, followed.details, self._completion_source, _begin_of(context), waits_only=True
        )
        return self.result(context, followed.details)

    def lineage_at_start(self) -> TaskLineage:
        """Return what is known of the task that is waited for."""
        return known_of(self._record(), waits_only=True)

    def _record(self) -> TaskRecord:
        source = dict(self.source())
        return TaskRecord.of_known_task(self.operation, self.awaited_id, source=source, connection=self.kie_conn_id)

    def _wait_mode(self) -> WaitMode:
        if self.deferrable:
            return WaitMode.DEFER
        return WaitMode.RESCHEDULE if self.mode == "reschedule" else WaitMode.POKE


def _begin_of(context: Context) -> float | None:
    """Return the epoch seconds at which Airflow began the task's first leg."""
    start = getattr(context["ti"], "start_date", None)
    return start.timestamp() if start else None
