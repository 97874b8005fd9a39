"""What is counted of songs and callbacks, as it arrives at a StatsD server."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowRescheduleException, AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.observability import stats

from airflow_connections import kie_connection
from airflow_kie import metrics
from airflow_kie.archive.ledger_store import BucketLedgerStore
from airflow_kie.client.errors import KieBatchFailed, KieContentRejected, KieServerError
from airflow_kie.client.operations.suno import COVER
from airflow_kie.durable.retry_policy import BUDGETS, KieRetryPolicy
from airflow_kie.hooks import archive
from airflow_kie.lifecycle.claims import Intent, RequestId
from airflow_kie.lifecycle.identity import request_digest
from airflow_kie.lifecycle.ledger import Ledger
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_kie.transfers.kie_to_s3 import KieCoverToS3Operator
from airflow_task import FakeTaskStateStore, StoredFiles, TaskInstance, TaskRun
from kie_simulator.server import SimulatorServer
from song_batches import Chain, songs
from statsd_listener import StatsdListener, airflow_sends


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsdListener]:
    """Give a StatsD server that Airflow sends to; one client of S3 does for a test."""
    monkeypatch.setattr(archive, "open_bucket", functools.cache(archive.open_bucket))
    with airflow_sends(monkeypatch) as listener:
        yield listener


def cover_run(song: str, bucket: str, **options: Any) -> TaskRun:
    def make() -> KieGenerateCoverOperator:
        return KieGenerateCoverOperator(
            task_id="generate_cover", music_task_id=song, bucket=bucket, prefix="songs", poll_interval=0.05, **options
        )

    return TaskRun(make)


def archive_run(song: str, cover: str, bucket: str) -> TaskRun:
    return TaskRun(
        lambda: KieCoverToS3Operator(
            task_id="archive_to_s3", music_task_id=song, cover_task_id=cover, bucket=bucket, prefix="songs"
        )
    )


def test_a_song_from_create_to_archive_is_counted_with_its_waits_and_bytes_and_no_id(
    kie: SimulatorServer, bucket: str, sent: StatsdListener
) -> None:
    kie.control.set(cover_seconds=1.5)  # the wait counts from the answer, which may come late
    song = kie.control.make_music("Velvet Harbour")[0].task_id
    cover = cover_run(song, bucket, deferrable=True).attempt()
    archived = archive_run(song, cover, bucket).attempt()
    mine = {"kind": "cover", "connection": "kie_default"}
    assert [sample.tags for sample in sent.of("kie.created")] == [mine]
    assert [sample.tags for sample in sent.of("kie.done")] == [{**mine, "completion_source": "poll"}]
    (wait,) = sent.of("kie.wait")
    assert (wait.tags, wait.kind) == (mine, "ms") and wait.value >= 300
    assert [sample.value for sample in sent.of("kie.waiting")][-1] == 0
    assert max(sample.value for sample in sent.of("kie.waiting")) == 1
    assert [sample.value for sample in sent.of("kie.archived")] == [1]
    assert [s.value for s in sent.of("kie.archived_bytes")] == [sum(file["size"] for file in archived["files"])]
    assert [sample.tags for sample in sent.of("kie.done_to_archived")] == [{"connection": "kie_default"}]
    assert [line for line in sent.lines if song in line or cover in line] == []
    assert sent.of("kie.adopted") == []


def test_a_cover_that_another_run_has_paid_for_is_counted_as_adopted(
    kie: SimulatorServer, bucket: str, sent: StatsdListener
) -> None:
    song = kie.control.make_music("Velvet Harbour")[0].task_id
    cover_run(song, bucket, deferrable=False).attempt()
    cover_run(song, bucket, deferrable=False).attempt()
    assert len(sent.of("kie.adopted")) == len(sent.of("kie.created")) == 1
    assert [sample.tags["completion_source"] for sample in sent.of("kie.done")] == ["at_once", "at_once"]
    assert len(sent.of("kie.wait")) == 1  # of the task that was created here


def test_a_cover_that_kie_says_it_has_made_before_is_counted_as_adopted(
    kie: SimulatorServer, sent: StatsdListener
) -> None:
    song = kie.control.make_music("Velvet Harbour")[0].task_id
    for _ in range(2):
        cover_run(song, "", deferrable=False).attempt()
    assert len(sent.of("kie.adopted")) == len(sent.of("kie.created")) == 1


def test_a_cover_that_is_asked_for_once_more_since_an_answer_was_lost_is_counted_as_made_twice(
    kie: SimulatorServer, bucket: str, sent: StatsdListener
) -> None:
    song = kie.control.make_music("Velvet Harbour")[0].task_id
    request = RequestId("kie_default", COVER.name, request_digest(COVER, {"taskId": song}, {}))
    place = BucketLedgerStore(archive.open_bucket("aws_default", bucket), "songs/_paid/")
    Ledger(place).claim(request, Intent.made_at(time.time() - 3600))
    cover_run(song, bucket, deferrable=False).attempt()
    assert len(sent.of("kie.made_twice")) == 1
    assert sent.of("kie.adopted") == sent.of("kie.created") == []


def test_each_song_of_a_batch_is_counted_as_a_song_alone_is(
    kie: SimulatorServer, archive: StoredFiles, sent: StatsdListener
) -> None:
    good = songs(kie, 2)
    bad = songs(kie, 2, state="SENSITIVE_WORD_ERROR", error_message="The prompt has sensitive words")
    chain = Chain(archive.bucket, [*good, *bad])
    chain.go()
    assert [sample.tags["reason"] for sample in sent.of("kie.failed")] == ["content_rejected"] * 2
    assert [sample.tags["completion_source"] for sample in sent.of("kie.done")] == ["batch"] * 2
    assert len(sent.of("kie.created")) == len(sent.of("kie.archived")) == 2


def test_a_batch_that_is_tried_again_counts_what_fails_for_the_same_reason_once_until_a_clear(
    kie: SimulatorServer, archive: StoredFiles, sent: StatsdListener
) -> None:
    chain = Chain(archive.bucket, songs(kie, 3, state="SENSITIVE_WORD_ERROR", error_message="sensitive words"))
    for _ in range(2):
        with pytest.raises(KieBatchFailed):
            chain.go("music_complete")
    assert [sample.tags["reason"] for sample in sent.of("kie.failed")].count("content_rejected") == 3
    chain.runs["music_complete"].ti.max_tries += 5  # as a clear does
    with pytest.raises(KieBatchFailed):
        chain.go("music_complete")
    assert [sample.tags["reason"] for sample in sent.of("kie.failed")].count("content_rejected") == 6


def test_a_song_that_is_archived_already_is_not_counted_again(
    kie: SimulatorServer, bucket: str, sent: StatsdListener
) -> None:
    song = kie.control.make_music("Velvet Harbour")[0].task_id
    cover = cover_run(song, bucket, deferrable=False).attempt()
    for _ in range(2):
        archive_run(song, cover, bucket).attempt()
    assert len(sent.of("kie.archived")) == 1


def test_a_check_of_an_archive_that_lacks_nothing_that_kie_has_is_not_counted(sent: StatsdListener) -> None:
    operator: Any = archive_run("a" * 32, "cover", "covers").make()
    operator._count(SimpleNamespace(changed=False, added=(), files=("cover-1.png",)), datetime.now(UTC))
    assert sent.of("kie.archived") == sent.samples == []


def test_a_task_that_a_callback_woke_is_counted_with_its_source(
    kie: SimulatorServer, bucket: str, sent: StatsdListener
) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    from airflow_kie._airflow_private.metadata import WAKE_UP

    kie.control.set(cover_seconds=3600.0)
    run = cover_run(kie.control.make_music("Velvet Harbour")[0].task_id, bucket, deferrable=True)
    with pytest.raises(TaskDeferred):
        run.execute()
    kie.control.advance(3600)
    run.wake("execute_complete", {"event": dict(WAKE_UP)})
    assert [sample.tags["completion_source"] for sample in sent.of("kie.done")] == ["callback"]


@pytest.mark.parametrize(
    ("error", "failures", "counted"),
    [
        (KieServerError(), 1, "kie.retried"),
        (KieServerError(), BUDGETS["server_error"].retries + 1, "kie.failed"),
        (KieContentRejected(), 1, "kie.failed"),
    ],
    ids=["retried", "budget used up", "a person"],
)
def test_what_the_policy_decides_is_counted_by_reason(
    sent: StatsdListener, error: Any, failures: int, counted: str
) -> None:
    context: Any = {"ti": TaskInstance(), "task_state_store": FakeTaskStateStore()}
    for _ in range(failures):
        sent.of(counted)  # what is on its way has come, and is not counted below
        sent.lines.clear()
        KieRetryPolicy().evaluate(error, 1, 30, context)
    assert [sample.tags for sample in sent.of(counted)] == [{"reason": error.reason}]
    assert len(sent.samples) == 1


def test_the_last_try_that_airflow_gives_counts_as_failed_whatever_the_policy_says(sent: StatsdListener) -> None:
    context: Any = {"ti": TaskInstance(), "task_state_store": FakeTaskStateStore()}
    KieRetryPolicy().evaluate(KieServerError(), 31, 30, context)
    assert len(sent.of("kie.failed")) == len(sent.samples) == 1


def test_a_final_failure_is_counted_once_for_a_reason_though_a_stale_event_gave_another_try(
    sent: StatsdListener,
) -> None:
    context: Any = {"ti": TaskInstance(), "task_state_store": FakeTaskStateStore()}
    for try_number in (1, 2):
        KieRetryPolicy().evaluate(KieContentRejected(), try_number, 30, context)
    for try_number in range(3, BUDGETS["server_error"].retries + 5):
        KieRetryPolicy().evaluate(KieServerError(), try_number, 30, context)
    assert [sample.tags["reason"] for sample in sent.of("kie.failed")] == ["content_rejected", "server_error"]


def test_a_final_failure_is_counted_again_after_a_clear(sent: StatsdListener) -> None:
    context: Any = {"ti": TaskInstance(), "task_state_store": FakeTaskStateStore()}
    for try_number, max_tries in ((1, 30), (2, 32)):
        KieRetryPolicy().evaluate(KieContentRejected(), try_number, max_tries, context)
    assert len(sent.of("kie.failed")) == 2


def test_a_try_that_airflow_has_replaced_counts_no_failure_and_decides_as_before(
    sent: StatsdListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FakeTaskStateStore()

    def gone(*_: Any, **__: Any) -> None:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    monkeypatch.setattr(store, "set", gone)
    context: Any = {"ti": TaskInstance(), "task_state_store": store}
    assert KieRetryPolicy().evaluate(KieContentRejected(), 1, 30, context).action is RetryAction.FAIL
    assert sent.of("kie.failed") == sent.samples == []


def test_a_create_that_our_limiter_holds_back_is_timed_and_rescheduled(
    kie: SimulatorServer, bucket: str, sent: StatsdListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_creates = {"rate_limit": 1000, "max_credits_per_day": 0}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra=no_creates))
    run = TaskRun(
        lambda: KieGenerateMusicOperator(task_id="generate_music", prompt="rain", deferrable=False),
        extra={"dag_run": type("Run", (), {"run_type": "scheduled"})()},
    )
    with pytest.raises(AirflowRescheduleException):
        run.attempt()
    assert [sample.tags for sample in sent.of("kie.throttled")] == [{"connection": "kie_default", "over": "day"}]
    assert [sample.tags for sample in sent.of("kie.rescheduled")] == [{"reason": "spending_cap"}]


def test_a_backend_that_fails_fails_nothing_and_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    metrics._warn.cache_clear()

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the backend is on fire")

    monkeypatch.setattr(stats, "incr", broken)
    for _ in range(3):
        metrics.CREATED.add(kind="cover", connection="kie_default")
    assert [record.getMessage().count("on fire") for record in caplog.records] == [1]


def test_a_tag_cannot_end_its_line_and_is_never_long(sent: StatsdListener) -> None:
    metrics.FAILED.add(reason="a:b|c,d=e#f " + "x" * 100)
    (sample,) = sent.of("kie.failed")
    assert sample.tags == {"reason": ("a_b_c_d_e_f_" + "x" * 100)[: metrics.LONGEST_TAG]}


def test_a_metric_is_sent_with_all_of_its_tags_or_not_at_all(
    sent: StatsdListener, caplog: pytest.LogCaptureFixture
) -> None:
    metrics._warn.cache_clear()
    metrics.CREATED.add(kind="cover")
    assert "kie.created has the tags ('kind', 'connection'), not ('kind',)" in caplog.text
    assert sent.of("kie.created") == []


def test_the_client_of_the_backend_is_made_outside_of_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    made_on: list[threading.Thread] = []
    monkeypatch.setattr(metrics, "_READY", [])
    monkeypatch.setattr(stats, "timer", lambda: made_on.append(threading.current_thread()))
    asyncio.run(metrics.get_ready())
    assert made_on and made_on[0] is not threading.main_thread()


def test_of_two_triggers_that_start_at_once_neither_sends_a_metric_before_there_is_a_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import threading

    made: list[bool] = []
    may_go_on = threading.Event()
    monkeypatch.setattr(metrics, "_READY", [])
    monkeypatch.setattr(stats, "timer", lambda: made.append(may_go_on.wait(120)))

    async def trigger() -> int:
        await metrics.get_ready()
        return len(made)

    async def two() -> list[int]:
        both = [asyncio.ensure_future(trigger()) for _ in range(2)]
        for _ in range(100):  # all the time that the second one needs, if it does not wait
            await asyncio.sleep(0)
        may_go_on.set()
        return await asyncio.gather(*both)

    assert asyncio.run(two()) == [1, 1]


def test_no_metric_has_a_tag_that_could_hold_an_id() -> None:
    allowed = {"kind", "connection", "completion_source", "reason", "over", "outcome", "cause", "triggerer"}
    assert {tag for metric in metrics.METRICS.values() for tag in metric.tags} <= allowed


def test_every_metric_arrives_with_opentelemetry_too() -> None:
    from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
    from airflow.sdk._shared.observability.metrics.otel_logger import SafeOtelLogger
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    stats.initialize(factory=lambda: SafeOtelLogger(provider), export_legacy_names=True)
    try:
        for metric in metrics.METRICS.values():
            tell = {"counter": metric.add, "gauge": metric.set, "timer": metric.took}[metric.kind.value]
            tell(1.5, **dict.fromkeys(metric.tags, "x"))
        read: Any = reader.get_metrics_data()
    finally:
        stats.initialize(factory=NoStatsLogger, export_legacy_names=True)
        provider.shutdown()
    (scope,) = read.resource_metrics[0].scope_metrics
    exported = {metric.name: metric.data.data_points[0] for metric in scope.metrics}
    assert set(exported) == {f"airflow.{name}" for name in metrics.METRICS}
    assert exported["airflow.kie.wait"].sum == 1500  # milliseconds, as Airflow's own timers
    assert dict(exported["airflow.kie.created"].attributes) == {"kind": "x", "connection": "x"}


def test_a_tag_has_only_signs_that_statsd_sends(sent: StatsdListener) -> None:
    metrics.CREATED.add(kind="cover", connection="kie_größe")
    (sample,) = sent.of("kie.created")
    assert sample.tags == {"kind": "cover", "connection": "kie_gr__e"}
