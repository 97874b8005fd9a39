"""What KIE answers at once, as a task: the answer without addresses, and what costs credits is not repeated."""

from __future__ import annotations

import json
import re
from typing import Any, cast

import pytest

from airflow_kie.archive.s3.errors import S3Unreachable
from airflow_kie.client.errors import KieCreateInDoubt, KieInvalidRequest, KieNotSent, KieThrottled
from airflow_kie.client.operations.registry import call_operation
from airflow_kie.client.operations.suno import MUSIC
from airflow_kie.hooks.calls import PaidCall
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.ledger import open_ledger, request_named
from airflow_kie.hooks.sending import Sender
from airflow_kie.lifecycle import claims
from airflow_kie.lifecycle.kept_answers import KeptAnswers
from airflow_kie.operators.call import KieCallOperator
from airflow_task import StoredFiles, TaskInstance, TaskRun, WorkerCrash
from kie_simulator.server import SimulatorServer
from paid_requests import InBucket, become_old, dying_at


def run_of(operation: str, request: dict[str, Any] | None = None) -> TaskRun:
    return TaskRun(lambda: KieCallOperator(task_id="ask", operation=operation, request=request))


def test_a_free_read_returns_kies_answer(kie: SimulatorServer) -> None:
    assert run_of("credit").attempt() == KieHook().credits()


def released(name: str) -> None:
    """Do what `airflow kie release` does."""
    hook = KieHook()
    opened = open_ledger(hook, hook.ledger_database()[0])
    opened.ledger.record(request_named(name, hook), 1, "released", by="ada")


def test_an_answer_that_costs_credits_is_not_asked_for_again_until_a_person_releases_it(
    kie: SimulatorServer, bucket: str
) -> None:
    kie.control.add_fault("call", "reset_after", times=1)
    run = run_of("style", {"content": "rain, {{ ds }}"})
    with pytest.raises(KieCreateInDoubt, match="the answer was lost"):
        run.attempt()
    for again in (run.retried, run.cleared):
        with pytest.raises(KieCreateInDoubt, match="was sent before") as refused:
            again().attempt()
    assert len(kie.control.ledger()) == 1
    named = re.search(r"airflow kie release (style/[0-9a-f]{32})", str(refused.value))
    assert named
    assert [str(request) for request, _ in ledger_doubts()] == [named[1]]
    released(named[1])
    assert run.cleared().attempt()
    assert len(kie.control.ledger()) == 2
    assert not ledger_doubts()


def ledger_doubts() -> list[Any]:
    hook = KieHook()
    return open_ledger(hook, hook.ledger_database()[0]).ledger.doubts(hook.account.spending_name)


@pytest.mark.parametrize("operation", ["style", "suno.persona"])
def test_a_clear_and_a_key_return_the_kept_answer_and_a_persona_is_made_once(
    kie: SimulatorServer, bucket: str, operation: str
) -> None:
    (song,) = kie.control.make_music("Rain")
    audio_id = KieHook().wait("suno.music", song.task_id).tracks[0].audio_id
    persona = {"taskId": song.task_id, "audioId": audio_id, "name": "Ada", "description": "a voice"}
    request = {"content": "rain"} if operation == "style" else persona
    run = run_of(operation, request)
    answer = run.attempt()
    assert run.retried().attempt() == run.cleared().attempt() == answer
    run.ti = TaskInstance(run_id="tuesday")
    of_another_run = run.attempt()
    if operation == "style":
        assert KieHook().call("style", request, idempotency_key="a") == KieHook().call(
            "style", {"content": "snow"}, idempotency_key="a"
        )
        assert len(kie.control.ledger()) == 3
    else:  # KIE makes one of a track, and refuses a second
        assert of_another_run == KieHook().call(operation, request) == answer


@pytest.mark.parametrize("point", ["after intent", "before answer", "after answer", "before task", "after task"])
def test_a_worker_that_dies_pays_once_and_what_was_kept_is_not_lost(
    kie: SimulatorServer, bucket: str, archive: StoredFiles, point: str
) -> None:
    run = run_of("style", {"content": "rain"})
    with dying_at(point), pytest.raises(WorkerCrash):
        run.execute()
    become_old(InBucket(archive))
    assert len(ledger_doubts()) == (point == "before answer")  # it is listed although no task tries it again
    if point in ("after intent", "before answer"):  # it may have been sent: nobody knows
        with pytest.raises(KieCreateInDoubt):
            run.retried().attempt()
    else:
        assert run.retried().attempt()
        assert not ledger_doubts()
        assert not [key for key in InBucket(archive).read() if "/_doubt/" in key]
    assert len(kie.control.ledger()) == (0 if point == "after intent" else 1)


def test_a_process_that_was_frozen_before_it_asked_does_not_ask_and_the_next_try_does(
    kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "SEND_WITHIN", -1.0)  # the moment is over before the request can be sent
    run = run_of("style", {"content": "rain"})
    with pytest.raises(KieNotSent):
        run.attempt()
    assert not kie.control.ledger()
    monkeypatch.setattr(claims, "SEND_WITHIN", 30.0)
    assert run.retried().attempt()
    assert len(kie.control.ledger()) == 1
    assert not ledger_doubts()


def test_a_call_that_is_still_waited_for_is_in_doubt_to_nobody(kie: SimulatorServer, archive: StoredFiles) -> None:
    run = run_of("style", {"content": "rain"})
    with dying_at("before answer"), pytest.raises(WorkerCrash):
        run.execute()  # to everybody else it is like one that goes on: KIE may have made a task of it
    become_old(InBucket(archive), 300)
    assert not ledger_doubts()
    with pytest.raises(KieThrottled, match="the same call is being sent, or its sender has just died"):
        run.retried().attempt()
    become_old(InBucket(archive), 100)
    assert len(ledger_doubts()) == 1


def test_a_code_that_says_neither_yes_nor_no_leaves_a_call_in_doubt(kie: SimulatorServer, bucket: str) -> None:
    kie.control.add_fault("call", "code", code=201, msg="accepted", after=True, times=1)
    run = run_of("style", {"content": "rain"})
    for again in (run.attempt, lambda: run.retried().attempt()):
        with pytest.raises(KieCreateInDoubt):
            again()
    assert len(kie.control.ledger()) == 1


def test_an_answer_that_cannot_be_stored_may_have_been_paid_for(
    kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise S3Unreachable("no answer")

    monkeypatch.setattr(KeptAnswers, "keep", full)
    with pytest.raises(S3Unreachable, match="KIE has answered, and may have charged for it"):
        run_of("style", {"content": "rain"}).attempt()


def test_no_repr_shows_the_addresses_in_a_request(kie: SimulatorServer) -> None:
    hook, body = KieHook(), {"content": "https://files.example/in.mp3?Signature=planted"}
    call, nothing = call_operation("style"), cast("Any", None)
    for holder in (PaidCall(hook, nothing, call, body, "0" * 32, nothing), Sender(hook, MUSIC, body, nothing, nothing)):
        assert "planted" not in repr(holder)


def test_what_breaks_before_a_call_is_sent_leaves_no_doubt(
    kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError("the api-server is away")

    run = run_of("style", {"content": "rain"})
    with monkeypatch.context() as broken:
        broken.setattr(KieHook, "limiter", away)
        with pytest.raises(ConnectionError):
            run.attempt()
    assert run.retried().attempt()
    assert len(kie.control.ledger()) == 1


def test_what_kie_refused_may_be_asked_for_again(kie: SimulatorServer) -> None:
    kie.control.add_fault("call", "code", code=422, msg="no", times=1)
    run = run_of("style", {"content": "rain"})
    with pytest.raises(KieInvalidRequest):
        run.attempt()
    assert run.retried().attempt()


def test_addresses_of_an_answer_are_left_out_and_what_is_nothing_else_is_refused(kie: SimulatorServer) -> None:
    (song,) = kie.control.make_music("Rain")
    audio_id = KieHook().wait("suno.music", song.task_id).tracks[0].audio_id
    answer = run_of("suno.timestamped_lyrics", {"taskId": song.task_id, "audioId": audio_id})
    assert "http" not in json.dumps(answer.attempt())
    for operation in ("download_url", "upload.stream"):
        with pytest.raises(KieInvalidRequest, match="must not be in an XCom"):
            run_of(operation).make()
