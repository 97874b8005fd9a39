"""`airflow kie run`: what cannot be sent is said in a sentence, before anybody is asked."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from airflow_kie.cli.run import _Progress, run
from airflow_kie.lifecycle.record import TaskRecord
from kie_simulator.server import SimulatorServer

PICTURE = '{"model": "z-image", "input": {"prompt": "fox", "aspect_ratio": "1:1"}}'


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"operation": "suno.muzic"}, "is not an operation that makes a task; those are"),
        ({"request": "{"}, "The request is not JSON"),
        ({"request": "[]"}, "The request is not a JSON object"),
        ({"request": "@no such file"}, "The request is not JSON"),
        ({"request": PICTURE.replace("1:1", "5:7")}, "not '5:7'; nothing was sent to KIE"),
        ({"to": "gs://bucket"}, "is not an address such as s3://bucket/folder"),
        ({}, "airflow db migrate"),
    ],
)
def test_what_cannot_be_sent_is_said_before_anybody_is_asked(
    kie: SimulatorServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    changes: dict[str, Any],
    said: str,
) -> None:
    from airflow_kie.client.errors import KieSpendingStopped
    from airflow_kie.hooks.spending_switch import SpendingSwitch

    def stopped(switch: SpendingSwitch) -> None:
        raise KieSpendingStopped("a test")

    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    monkeypatch.setattr(SpendingSwitch, "check", stopped)
    given = {"operation": "market", "request": PICTURE, "to": str(tmp_path / "out"), "key": None, "yes": True}
    with pytest.raises(SystemExit) as ended:
        run(Namespace(**given | {"kie_conn_id": None, "unchecked": False} | changes))
    assert ended.value.code == 1
    assert said in capsys.readouterr().err
    assert not kie.control.ledger()


def test_what_kie_says_of_a_task_that_goes_on_is_named_as_kies_word(capsys: pytest.CaptureFixture[str]) -> None:
    progress = _Progress(lambda: False)
    for state in (None, "0", "0", "GENERATING"):
        progress.pause(TaskRecord("veo.generate", task_id="t", last_state=state), until=0)
    assert capsys.readouterr().err.splitlines() == [
        "KIE task t: made",
        "KIE task t: in KIE's state 0",
        "KIE task t: in KIE's state GENERATING",
    ]
