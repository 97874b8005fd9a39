"""KieHook: what a task of one's own can ask of KIE without an operator."""

from __future__ import annotations

import pytest

from airflow_kie.client.answers import Invisible, Read
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.hooks.kie import KieHook
from kie_simulator.server import SimulatorServer


def test_a_task_is_read_once_by_its_kind_and_id(kie: SimulatorServer) -> None:
    [song] = kie.control.make_music("Velvet Harbour")
    answer = KieHook().details("suno.music", song.task_id)
    assert isinstance(answer, Read)
    assert (answer.details.task_id, answer.details.title) == (song.task_id, "Velvet Harbour")
    assert isinstance(KieHook().details("suno.music", "0" * 32), Invisible)


def test_the_balance_is_a_number_of_credits(kie: SimulatorServer) -> None:
    kie.control.set_credits(12.5)
    assert KieHook().credits() == 12.5


def test_no_fresh_link_is_given_for_a_file_that_is_not_kies(kie: SimulatorServer) -> None:
    with pytest.raises(KieInvalidRequest, match="url is wrong"):
        KieHook().download_url("https://example.com/a.png")
