"""`airflow kie doubts`, `adopt` and `release`: what is known of a lost answer, and what follows from a decision."""

from __future__ import annotations

import json
import os
import re
from argparse import Namespace
from typing import Any

import pytest

from airflow_kie.cli import paid
from airflow_kie.client.errors import KieCreateInDoubt, KieFailedForGood, KieSomeFailed
from airflow_kie.hooks import sending
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.ledger import MOST_FAILED
from airflow_kie.operators.suno import KieGenerateMusicOperator
from airflow_kie.operators.task import KieTaskOperator
from airflow_task import StoredFiles, TaskRun, WorkerCrash
from kie_simulator.server import SimulatorServer
from paid_requests import InBucket, InDatabase, become_old, dying_at
from song_batches import Chain, songs


@pytest.fixture
def doubtful(kie: SimulatorServer) -> TaskRun:
    """Let a worker die between KIE's answer and its record; nobody has another copy of the task's id."""
    sending._balances.clear()
    run = TaskRun(
        lambda: KieGenerateMusicOperator(
            task_id="generate_music", prompt="rain on a roof", deferrable=False, poll_interval=0.05
        )
    )
    with dying_at("after post"), pytest.raises(WorkerCrash):
        run.execute()
    become_old(InDatabase(KieHook().ledger_database()[0]))
    return run.retried()


def listed(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    decided(paid.doubts)
    return capsys.readouterr().out


def decided(command: Any, **args: Any) -> None:
    with pytest.raises(SystemExit) as end:
        command(Namespace(kie_conn_id=None, **args))
    assert end.value.code == 0


def test_a_doubt_names_the_request_and_the_balances_until_a_person_decides(
    kie: SimulatorServer, doubtful: TaskRun, capsys: pytest.CaptureFixture[str]
) -> None:
    (charge,) = kie.control.ledger("music")
    after = KieHook().credits()
    before = after + charge["credits"]
    hint = f"the balance was {before:,g} credits before it and {after:,g} after it, including other tasks"
    with pytest.raises(KieCreateInDoubt, match=re.escape(hint)) as error:
        doubtful.attempt()
    kie.control.set_credits(3)  # what other tasks cost later does not change what was seen
    line = listed(capsys)
    request = line.partition(",")[0]
    assert hint in line and f"request {request}, attempt 1" in str(error.value)
    decided(paid.adopt, request=request, id=charge["task_id"])
    assert listed(capsys) == "No request is in doubt.\n"
    assert doubtful.cleared().attempt() == charge["task_id"]


def test_a_request_whose_worker_has_died_is_listed_although_no_task_tries_it_again(
    kie: SimulatorServer, doubtful: TaskRun, capsys: pytest.CaptureFixture[str]
) -> None:
    (charge,) = kie.control.ledger("music")
    request = listed(capsys).partition(",")[0]
    assert request.startswith("suno.music/")
    decided(paid.adopt, request=request, id=charge["task_id"])
    assert listed(capsys) == "No request is in doubt.\n"
    assert doubtful.attempt() == charge["task_id"]
    assert not [key for key in InDatabase(KieHook().ledger_database()[0]).read() if key.startswith("_doubt/")]


def test_a_task_that_was_released_by_mistake_can_be_adopted_again(
    kie: SimulatorServer, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> TaskRun:
        return TaskRun(
            lambda: KieGenerateMusicOperator(
                task_id="generate_music", prompt="rain", idempotency_key="rain", deferrable=False, poll_interval=0.05
            )
        )

    made = run().attempt()
    (key,) = [key for key in InDatabase(KieHook().ledger_database()[0]).read() if key.endswith("1.intent")]
    request = "/".join(key.split("/")[1:3])
    decided(paid.release, request=[request], yes=True)
    decided(paid.adopt, request=request, id=made)
    assert run().attempt() == made
    assert len(kie.control.ledger("music")) == 1


def test_a_request_that_is_released_is_sent_again(
    kie: SimulatorServer, doubtful: TaskRun, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KieCreateInDoubt):
        doubtful.attempt()
    decided(paid.release, request=[listed(capsys).partition(",")[0]], yes=True)
    assert listed(capsys) == "No request is in doubt.\n"
    made = doubtful.cleared().attempt()
    assert [charge["task_id"] for charge in kie.control.ledger("music")][1:] == [made]


def song(**options: Any) -> TaskRun:
    settings: dict[str, Any] = {"deferrable": False, "poll_interval": 0.05} | options
    return TaskRun(lambda: KieGenerateMusicOperator(task_id="generate_music", prompt="rain", **settings))


def only_request() -> str:
    (key,) = [key for key in InDatabase(KieHook().ledger_database()[0]).read() if key.endswith("/1.intent")]
    return "/".join(key.split("/")[1:3])


def test_a_task_that_is_given_up_is_replaced_by_the_next_try_of_its_own_airflow_task(kie: SimulatorServer) -> None:
    run = song()
    given_up = run.attempt()
    assert run.cleared().attempt() == given_up
    decided(paid.release, request=[only_request()], yes=True)
    made = run.cleared().attempt()
    assert [charge["task_id"] for charge in kie.control.ledger("music")] == [given_up, made]
    assert run.cleared().attempt() == made


def test_what_has_failed_too_often_is_tried_once_more_after_a_person_has_released_it(kie: SimulatorServer) -> None:
    kie.control.add_fault("task", "fail", kind="music", times=MOST_FAILED)
    run = song()
    for _ in range(2):
        with pytest.raises(KieFailedForGood, match=r"request suno\.music/\w+: 3 tasks failed.*airflow kie release"):
            run.cleared().attempt()
    assert len(kie.control.ledger("music")) == MOST_FAILED
    decided(paid.release, request=[only_request()], yes=True)
    made = run.cleared().attempt()
    assert [charge["task_id"] for charge in kie.control.ledger("music")][MOST_FAILED:] == [made]


def test_a_request_whose_task_is_named_while_the_person_is_asked_is_not_released(
    kie: SimulatorServer, doubtful: TaskRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (charge,) = kie.control.ledger("music")
    request = listed(capsys).partition(",")[0]

    def called_back(question: str, *, yes: bool) -> bool:
        decided(paid.adopt, request=request, id=charge["task_id"])
        return True

    monkeypatch.setattr(paid, "agreed", called_back)
    with pytest.raises(SystemExit) as end:
        paid.release(Namespace(kie_conn_id=None, request=[request], yes=False))
    assert end.value.code == 1
    assert f"KIE task {charge['task_id']} by now" in capsys.readouterr().err
    assert doubtful.attempt() == charge["task_id"]


def test_several_requests_are_released_at_once_and_none_where_one_is_not_in_doubt(
    kie: SimulatorServer, capsys: pytest.CaptureFixture[str]
) -> None:
    kie.control.add_fault("create", "code", code=500, msg="Server exception, please try again later", times=2)
    runs = [
        TaskRun(
            lambda prompt=prompt: KieGenerateMusicOperator(  # type: ignore[misc]
                task_id="generate_music", prompt=prompt, idempotency_key=prompt, deferrable=False, poll_interval=0.05
            )
        )
        for prompt in ("rain", "snow")
    ]
    for run in runs:
        with pytest.raises(KieCreateInDoubt, match="KIE answered with code 500, which does not settle this"):
            run.attempt()
    lines = listed(capsys).splitlines()
    assert all("KIE answered with code 500" in line for line in lines)
    requests = [line.partition(",")[0] for line in lines]
    assert len(requests) == 2
    with pytest.raises(SystemExit) as end:
        paid.release(Namespace(kie_conn_id=None, request=[*requests, f"suno.music/{'0' * 32}"], yes=True))
    assert end.value.code == 1
    assert len(listed(capsys).splitlines()) == 2
    decided(paid.release, request=requests, yes=True)
    assert [run.cleared().attempt() for run in runs] == [charge["task_id"] for charge in kie.control.ledger("music")]


def test_the_balance_is_a_hint_and_its_absence_stops_nothing(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, doubtful: TaskRun
) -> None:
    kie.control.add_fault("credit", "code", code=500, times=9)
    with pytest.raises(KieCreateInDoubt) as error:
        doubtful.attempt()
    assert "balance" not in str(error.value)


def test_a_request_of_an_account_with_two_connections_is_listed_once(
    doubtful: TaskRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KieCreateInDoubt):
        doubtful.attempt()
    connection = {**json.loads(os.environ["AIRFLOW_CONN_KIE_DEFAULT"]), "extra": {"account": "kie_default"}}
    monkeypatch.setenv("AIRFLOW_CONN_SECOND_KEY", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_default, second_key")
    assert len(re.findall("^suno.music/", listed(capsys), re.MULTILINE)) == 1


def test_a_connection_that_does_not_exist_hides_no_doubt_of_another_account(
    doubtful: TaskRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KieCreateInDoubt):
        doubtful.attempt()
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "gone, kie_default")
    with pytest.raises(SystemExit) as end:
        paid.doubts(Namespace(kie_conn_id=None))
    out, err = capsys.readouterr()
    assert (end.value.code, len(re.findall("^suno.music/", out, re.MULTILINE))) == (1, 1)
    assert "Connection gone: " in err and "gone" in err.partition("Connection gone: ")[2]


def test_a_person_whose_container_knows_no_name_of_theirs_can_decide_too(
    doubtful: TaskRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 50123")

    monkeypatch.setattr("getpass.getuser", nobody)
    request = listed(capsys).partition(",")[0]
    decided(paid.release, request=[request], yes=True)
    assert "Released. Clear the Airflow task" in capsys.readouterr().out


def two_songs(archive: StoredFiles, folder: str, *more: dict[str, Any]) -> TaskRun:
    """Return a list of two songs and further requests, whose results go to a folder in S3, or without one nowhere."""
    to = f"s3://{archive.bucket}/{folder}" if folder else None
    bodies = [{"prompt": prompt, "customMode": False, "instrumental": False, "model": "V5"} for prompt in ("a", "b")]
    options: dict[str, Any] = {"requests": [*bodies, *more], "to": to, "deferrable": False, "poll_interval": 0.05}
    return TaskRun(lambda: KieTaskOperator(task_id="make", operation="suno.music", **options))


@pytest.mark.parametrize("folder", ["", "lists"])
def test_a_row_of_a_list_whose_task_is_given_up_is_made_again_after_a_clear_and_no_other(
    kie: SimulatorServer, archive: StoredFiles, folder: str
) -> None:
    run = two_songs(archive, folder)
    run.attempt()
    (key, _) = [key for key in InBucket(archive).read() if key.endswith("/1.intent")]
    decided(paid.release, request=["/".join(key.split("/")[-3:-1])], yes=True)
    for _ in range(2):
        run.cleared().attempt()
        assert len(kie.control.ledger("music")) == 3


@pytest.mark.parametrize("folder", ["", "lists"])
def test_a_row_that_is_given_up_before_airflow_tries_a_failed_list_again_is_made_again_by_that_try_and_no_other(
    kie: SimulatorServer, archive: StoredFiles, folder: str
) -> None:
    run = two_songs(archive, folder, {})
    with pytest.raises(KieSomeFailed):  # the third one lacks everything
        run.attempt()
    (key, _) = [key for key in InBucket(archive).read() if "/1.task." in key]
    decided(paid.release, request=["/".join(key.split("/")[-3:-1])], yes=True)
    for _ in range(2):
        run = run.retried()
        with pytest.raises(KieSomeFailed):
            run.attempt()
        assert len(kie.control.ledger("music")) == 3


def test_a_cover_of_a_batch_that_is_given_up_is_asked_for_again_after_a_clear_and_no_other(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    chain = Chain(archive.bucket, songs(kie, 3))
    chain.go("music_complete", "generate_cover")
    (key, *_) = [key for key in InBucket(archive).read() if "/suno.cover/" in key and key.endswith("/1.intent")]
    folder = key.removesuffix("1.intent")
    decided(paid.release, request=["/".join(key.split("/")[-3:-1])], yes=True)
    for _ in range(2):
        chain.runs = {step: run.cleared() for step, run in chain.runs.items()}
        chain.go("music_complete", "generate_cover")
        later = [key for key in InBucket(archive).read() if key.endswith(".intent") and not key.endswith("/1.intent")]
        assert later == [f"{folder}2.intent"]
