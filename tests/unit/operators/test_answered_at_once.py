"""A create that KIE answers with the result itself, and no task id: it is paid and finished, for one and for many."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_connections import kie_connection
from airflow_kie.archive.ledger_store import MAX_BYTES, BucketLedgerStore
from airflow_kie.archive.s3.errors import S3Error
from airflow_kie.client.errors import KieCreateInDoubt, KieResultsExpired
from airflow_kie.hooks import archive as hooks_archive
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.sensors.task import KieTaskSensor
from airflow_kie.transfers.results_to_s3 import KieResultsToS3Operator
from airflow_kie.triggers.task import KieTaskTrigger
from airflow_task import StoredFiles, TaskInstance, TaskRun, WorkerCrash, run_trigger
from kie_simulator.server import SimulatorServer
from paid_requests import Entries, InTaskState, become_old, dying_at

PaidIn = Callable[[TaskRun], Entries]
MODELS = {
    "suno.music": "ai-music-api/generate",
    "suno.cover": "ai-music-api/cover-generate",
    "suno.lyrics": "ai-music-api/generate-lyrics",
    "suno.wav": "ai-music-api/convert-to-wav-format",
}
ROLES = {"suno.music": "track", "suno.cover": "cover", "suno.lyrics": "lyrics", "suno.wav": "wav"}
everywhere = pytest.mark.parametrize("paid_in", ["bucket", "database", "task state"], indirect=True)


@pytest.fixture(autouse=True)
def at_once(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let KIE answer these creates with what they make."""
    kie.control.set(inline_models=[*MODELS.values()], task_seconds=0)
    monkeypatch.setattr(hooks_archive, "open_bucket", functools.cache(hooks_archive.open_bucket))  # a second each
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra={"rate_limit": 1000, "api": "unified"}))


def body_of(kie: SimulatorServer, operation: str) -> dict[str, Any]:
    """Return a request; what is made from a song is made from the one that exists before."""
    if operation in ("suno.music", "suno.lyrics"):
        return {"prompt": "rain"}
    song = kie.control.make_music("Velvet Harbour", form="unified")[0].task_id
    track = KieHook().details("suno.music", song).details.tracks[0].audio_id  # type: ignore[union-attr]
    return {"taskId": song} if operation == "suno.cover" else {"taskId": song, "audioId": track}


def run_of(operation: str, body: dict[str, Any], run_id: str = "monday", **options: Any) -> TaskRun:
    settings: dict[str, Any] = {"poll_interval": 0.05, "deferrable": True, "idempotency_key": "order-17"} | options
    return TaskRun(
        lambda: KieTaskOperator(task_id="make", operation=operation, request=body, **settings),
        ti=TaskInstance(dag_id="songs", run_id=run_id),
    )


@pytest.mark.parametrize(
    ("operation", "shape", "paid_in"),
    [
        ("suno.music", "data", "bucket"),
        ("suno.music", "nested", "database"),
        ("suno.cover", "nested", "bucket"),
        ("suno.lyrics", "data", "task state"),
        ("suno.wav", "nested", "database"),
    ],
    indirect=["paid_in"],
)
def test_what_is_answered_at_once_is_kept_archived_and_never_asked_for_again(
    kie: SimulatorServer, paid_in: PaidIn, archive: StoredFiles, operation: str, shape: str
) -> None:
    kie.control.set(inline_shape=shape)
    body = body_of(kie, operation)
    run = run_of(operation, body)
    made = run.attempt()
    assert made.startswith("answer-")
    assert run.retried().attempt() == run.cleared().attempt() == made
    if not isinstance(paid_in(run), InTaskState):  # which says nothing to another run
        assert run_of(operation, body, "tuesday").attempt() == made
    found = TaskRun(lambda: KieTaskSensor(task_id="wait", operation=operation, kie_task_id=made)).attempt()
    count = {"suno.wav": 1}.get(operation, 2)
    assert found["results"] == [{"role": ROLES[operation], "count": count}]
    stored = TaskRun(
        lambda: KieResultsToS3Operator(
            task_id="archive", operation=operation, kie_task_id=made, bucket=archive.bucket, prefix="media"
        )
    ).attempt()
    assert len(stored["files"]) == count
    for file in stored["files"]:
        assert len(archive.body(file["key"])) == file["size"]
    assert len(kie.control.ledger()) == 1


@pytest.mark.parametrize("deferrable", [True, False])
def test_many_that_are_answered_at_once_are_archived_and_paid_for_once(
    kie: SimulatorServer, archive: StoredFiles, deferrable: bool
) -> None:
    songs = [kie.control.make_music(f"Song {number}", form="unified")[0].task_id for number in range(3)]

    def run(run_id: str) -> Any:
        make = lambda: KieTaskOperator(  # noqa: E731
            task_id="make",
            operation="suno.cover",
            requests=[{"taskId": song} for song in songs],
            to=f"s3://{archive.bucket}/{run_id}",
            poll_interval=0.05,
            deferrable=deferrable,
        )
        return TaskRun(make, ti=TaskInstance(dag_id="covers", run_id=run_id, map_index=-1)).attempt()

    for run_id in ("monday", "tuesday"):
        assert run(run_id)["counts"]["archived"] == 3
    files = [key for key in archive.listed() if "/cover-" in key]
    assert len(files) == 2 * 3 * 2
    assert len(kie.control.ledger("cover")) == 3


def test_a_large_answer_is_kept_and_read_whole(kie: SimulatorServer, bucket: str) -> None:
    words = {"alignedWords": [{"word": f"word {number}", "startS": number} for number in range(5000)]}
    kie.control.add_fault("create", "code", code=200, msg="success", data=words, kind="music", after=True)
    (result,) = KieHook().results("suno.music", run_of("suno.music", {"prompt": "rain"}).attempt())
    assert result.value == words
    assert len(json.dumps(words)) > MAX_BYTES


UNKNOWN = {"assets": [{"href": "https://tempfile.aiquickdraw.com/s/asset?sig=secret"}]}


@pytest.mark.parametrize("form", ["dedicated", "unified"])
def test_an_answer_of_unknown_shape_is_the_result_itself_and_keeps_its_links_out_of_sight(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra={"api": form}))
    kie.control.add_fault("create", "code", code=200, msg="success", data=UNKNOWN, kind="music", after=True)
    made = run_of("suno.music", {"prompt": "rain"}).attempt()
    (result,) = KieHook().results("suno.music", made)
    assert (result.role, result.value) == ("answer", {"assets": [{"href": "https://tempfile.aiquickdraw.com/s/asset"}]})
    (key,) = [item["Key"] for item in archive.client.list_objects_v2(Bucket=archive.bucket)["Contents"]
              if "/_answers/" in item["Key"]]  # fmt: skip
    assert archive.json(key)["answer"] == UNKNOWN
    assert len(kie.control.ledger("music")) == 1


@pytest.mark.parametrize("point", ["after answer", "before task", "after task"])
@everywhere
def test_a_worker_that_dies_after_an_answer_is_kept_loses_nothing(
    kie: SimulatorServer, paid_in: PaidIn, point: str
) -> None:
    run = run_of("suno.music", {"prompt": "rain"})
    with dying_at(point), pytest.raises(WorkerCrash):
        run.execute()
    become_old(paid_in(run))
    made = run.retried().attempt()
    assert len(KieHook().results("suno.music", made)) == 2
    assert run.cleared().attempt() == made
    assert len(kie.control.ledger("music")) == 1


@everywhere
def test_an_answer_that_a_dying_worker_has_not_kept_is_in_doubt(kie: SimulatorServer, paid_in: PaidIn) -> None:
    run = run_of("suno.music", {"prompt": "rain"})
    with dying_at("before answer"), pytest.raises(WorkerCrash):
        run.execute()
    become_old(paid_in(run))
    for attempt in (run.retried(), run.cleared()):
        with pytest.raises(KieCreateInDoubt):
            attempt.attempt()
    assert len(kie.control.ledger("music")) == 1


def test_an_answer_that_s3_does_not_take_is_kept_in_the_limiters_database(
    kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = BucketLedgerStore.create

    def refuse(store: BucketLedgerStore, key: str, body: bytes) -> bool:
        if key.startswith("_answers/"):
            raise S3Error("the disk is full")
        return create(store, key, body)

    monkeypatch.setattr(BucketLedgerStore, "create", refuse)
    made = run_of("suno.music", {"prompt": "rain"}).attempt()
    assert len(KieHook().results("suno.music", made)) == 2
    assert [key for key in KieHook().ledger_database()[0].list("_answers/") if key.endswith("/1")]


def test_the_triggerer_reads_no_kept_answer_and_asks_kie_nothing(kie: SimulatorServer) -> None:
    record = TaskRecord.of_known_task("suno.cover", f"answer-{'0' * 32}-1", connection="kie_default")
    before = kie.control.state()["requests"]
    event = run_trigger(KieTaskTrigger("kie_default", record.to_json(), deadline=9e9))
    assert event["outcome"] == "done"
    assert kie.control.state()["requests"] == before


def test_an_answer_that_is_not_kept_here_is_a_sentence_and_not_asked_for(kie: SimulatorServer, bucket: str) -> None:
    sensor = KieTaskSensor(task_id="wait", operation="suno.cover", kie_task_id=f"answer-{'0' * 32}-1")
    with pytest.raises(KieResultsExpired, match="that answer is not stored here"):
        TaskRun(lambda: sensor).attempt()
    assert not json.dumps(kie.control.ledger()).count("answer-")


def test_an_answer_is_read_in_the_leg_that_has_sent_the_request(kie: SimulatorServer, bucket: str) -> None:
    assert run_of("suno.music", {"prompt": "rain"}).execute().startswith("answer-")
