"""What KIE answers at once, as a task: the answer without addresses, and what costs credits is not repeated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_kie.client.errors import KieCreateInDoubt, KieInvalidRequest
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.call import KieCallOperator
from airflow_task import TaskRun
from kie_simulator.server import SimulatorServer


def run_of(operation: str, request: dict[str, Any] | None = None) -> TaskRun:
    return TaskRun(lambda: KieCallOperator(task_id="ask", operation=operation, request=request))


def test_a_free_read_returns_kies_answer(kie: SimulatorServer) -> None:
    assert run_of("credit").attempt() == KieHook().credits()


def test_an_answer_that_costs_credits_is_not_asked_for_again_when_it_was_lost(kie: SimulatorServer) -> None:
    kie.control.add_fault("call", "reset_after", times=1)
    run = run_of("style", {"content": "rain, {{ ds }}"})
    with pytest.raises(KieCreateInDoubt):
        run.attempt()
    with pytest.raises(KieCreateInDoubt, match="by an earlier try"):
        run.retried().attempt()
    assert len(kie.control.ledger()) == 1
    assert run.cleared().attempt()
    assert len(kie.control.ledger()) == 2


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
        with pytest.raises(KieInvalidRequest, match="belongs in no XCom"):
            run_of(operation).make()
