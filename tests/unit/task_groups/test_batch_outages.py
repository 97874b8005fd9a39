"""What only some songs of a batch meet holds no other one, and leaves nobody to a person who need not help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3KmsDenied, S3NoSuchBucket
from airflow_kie.client.errors import KieBatchFailed, KieWaitTimeout
from airflow_kie.client.operations.suno import COVER
from airflow_kie.durable import song_batch, song_tasks
from airflow_kie.hooks.archive import open_song
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_kie.transfers import song_batch as archiving
from airflow_task import StoredFiles, TaskRun, WorkerCrash, run_trigger, stored_trigger
from kie_simulator.server import SimulatorServer
from paid_requests import dying_at
from song_batches import Chain, covers_paid, songs


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiving, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(song_tasks, "AGAIN_PAUSE", 0.0)


def refusing(monkeypatch: pytest.MonkeyPatch, refuses: Callable[[str], bool], error: type[Exception]) -> list[str]:
    """Let the bucket refuse to store some files; return their keys as it does so."""
    put, refused = Bucket.put_file, list[str]()

    def refuse(bucket: Bucket, file: Any, key: str, **facts: Any) -> None:
        if refuses(key):
            refused.append(key)
            raise error("the bucket refuses it")
        put(bucket, file, key, **facts)

    monkeypatch.setattr(Bucket, "put_file", refuse)
    return refused


@pytest.mark.parametrize("error", [S3KmsDenied, S3NoSuchBucket])
def test_what_the_bucket_refuses_for_a_moment_is_stored_with_the_next_try(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """A song alone waits such an outage out; as one of many it was left to a person, and nothing started it again."""
    ids = songs(kie, 3)
    chain = Chain(archive.bucket, ids)
    chain.go("music_complete", "generate_cover", "cover_details")
    cover = f"songs/{ids[1]}/cover-1.png"
    refused = refusing(monkeypatch, lambda key: key == cover and not refused, error)
    assert [row["music_task_id"] for row in chain.go("archive_to_s3")] == ids
    assert refused == [cover]
    assert chain.failures("archive_to_s3") == {}


def test_a_song_that_the_bucket_goes_on_refusing_leaves_the_batch_and_is_tried_again_later(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = songs(kie, 3)
    chain = Chain(archive.bucket, ids)
    chain.go("music_complete", "generate_cover", "cover_details")
    refusing(monkeypatch, lambda key: ids[1] in key, S3KmsDenied)
    assert [row["music_task_id"] for row in chain.go("archive_to_s3")] == [ids[0], ids[2]]
    assert chain.failures("archive_to_s3") == {ids[1]: "s3_kms_denied"}
    open_song("aws_default", archive.bucket, "songs", ids[1]).record_failure("s3_kms_denied", "as its report does")
    assert [key for key in archive.listed() if ids[1] in key and "_retry/" in key] == [f"songs/_retry/{ids[1]}.1"]


def test_an_outage_of_the_bucket_that_every_song_meets_ends_the_attempt_at_once(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = Chain(archive.bucket, songs(kie, 2))
    chain.go("music_complete", "generate_cover", "cover_details")
    refused = refusing(monkeypatch, lambda key: True, S3NoSuchBucket)
    with pytest.raises(S3NoSuchBucket):
        chain.go("archive_to_s3")
    assert len(refused) == 2


def test_an_outage_that_ends_while_the_others_covers_are_drawn_costs_no_song_its_place(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    ids = songs(kie, 3)
    kie.control.add_fault("create", "code", source_id=ids[1], code=402, msg="Insufficient credits", times=1)
    chain = Chain(archive.bucket, ids)
    assert [row["music_task_id"] for row in chain.go()] == ids
    assert chain.failures("generate_cover") == {}
    assert covers_paid(kie) == sorted(ids)


def test_a_request_that_stays_on_its_way_is_late_once_the_others_have_their_covers(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker has died in the POST. The others were held for as long as the request is not known to be lost."""
    ids = songs(kie, 3)
    chain = Chain(archive.bucket, ids)
    chain.go("music_complete")
    alone = TaskRun(lambda: KieGenerateCoverOperator(task_id="alone", music_task_id=ids[0], deferrable=True))
    with dying_at("after post"), pytest.raises(WorkerCrash):
        alone.execute()
    monkeypatch.setattr(song_batch, "LATE_SECONDS", 0.2)
    assert [row["music_task_id"] for row in chain.go("generate_cover")] == ids[1:]
    assert chain.failures("generate_cover") == {ids[0]: "timeout"}
    assert covers_paid(kie) == sorted(ids)


def test_a_batch_that_waits_for_requests_of_a_dead_worker_lets_others_send(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = songs(kie, 2)
    chain = Chain(archive.bucket, ids)
    chain.go("music_complete")
    for song in ids:
        with dying_at("after post"), pytest.raises(WorkerCrash):
            TaskRun(lambda song=song: KieGenerateCoverOperator(task_id="alone", music_task_id=song)).execute()
    other, waits = KieHook().limiter(bulk=True).turn("another batch"), list[float]()
    going_on = song_tasks._Making._round

    async def watched(making: Any, *arguments: Any, **how: Any) -> Any:
        waits.append(other.take(0.01))
        return dict.fromkeys(ids, KieWaitTimeout()) if how else await going_on(making, *arguments)

    monkeypatch.setattr(song_tasks._Making, "_round", watched)
    with pytest.raises(KieBatchFailed):
        chain.go("generate_cover")
    assert waits[0] > 0.0
    assert waits[1:] == [0.0]


def test_a_song_whose_covers_fail_one_after_the_other_holds_the_others_for_a_moment_only(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    ids = songs(kie, 2)
    kie.control.add_fault("task", "fail", kind="cover", source_id=ids[0], times=2)
    chain = Chain(archive.bucket, ids)
    chain.go("music_complete")
    run = chain.run("generate_cover")
    with pytest.raises(TaskDeferred) as first:
        run.execute()
    assert first.value.trigger.timeout == song_batch.batch_seconds(COVER)
    second = deferred_again(run, first.value)
    assert set(second.trigger.records) == {ids[0]}
    assert second.trigger.timeout <= song_batch.LATE_SECONDS
    kept = run.store.record(song_batch.STORE_KEY)
    run.store.set(song_batch.STORE_KEY, {**kept, "since": kept["since"] - song_batch.LATE_SECONDS})
    assert deferred_again(run, second).trigger.timeout == 0.0


def deferred_again(run: TaskRun, left: TaskDeferred) -> Any:
    """Return how a task waits once more after it has gone on."""
    event = run_trigger(stored_trigger(left))
    with pytest.raises(TaskDeferred) as again:
        run.wake(left.method_name, {**(left.kwargs or {}), "event": event})
    return again.value


def test_what_is_stored_of_a_cover_that_was_given_up_is_not_taken_for_the_next_one() -> None:
    run = TaskRun(lambda: KieGenerateCoverOperator(task_id="cover_details", music_task_id="a"))

    def batch(**covers: str) -> song_batch.SongBatch:
        given = {song: {"music_task_id": song, "cover_task_id": cover} for song, cover in covers.items()}
        return song_batch.SongBatch(run.context(run.make()), given, "cover_details")

    first = batch(one="c1", two="c2")
    first.rows = {song: dict(known) for song, known in first.given.items()}
    first.keep()
    again = batch(one="c3", two="c2")
    again.load(resumed=False)
    assert again.left == ["one"]
