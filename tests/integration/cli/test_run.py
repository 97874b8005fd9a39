"""`airflow kie run` in a fresh Airflow: no DAG and no scheduler; the results are in a folder, and paid for once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_connections import kie_connection
from kie_simulator.server import SimulatorServer

REQUEST = json.dumps({"model": "z-image", "input": {"prompt": "{{ a }} red fox", "aspect_ratio": "1:1"}})
Start = Callable[..., "subprocess.Popen[str]"]
pytestmark = pytest.mark.timeout(900)  # each of three commands loads Airflow, beside other tests


@pytest.fixture
def kie() -> Iterator[SimulatorServer]:
    """Give a simulated KIE that ends its tasks at once."""
    with SimulatorServer(task_seconds=0, plain_images=True) as server:
        yield server


TESTS = Path(__file__).parents[2]


@pytest.fixture
def start(kie: SimulatorServer, tmp_path: Path) -> Start:
    """Give what starts the command in a new Airflow home."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONWARNINGS": "ignore::PendingDeprecationWarning",  # Airflow prints one on Python 3.14
        "AIRFLOW__KIE__ALLOW_LOOPBACK_FILES": "True",
        "AIRFLOW_CONN_KIE_DEFAULT": kie_connection(kie),
    }

    # `airflow db migrate` takes many seconds.
    tables = f"import sys; sys.path.append({str(TESTS)!r}); import airflow_database as a; a.make_tables()"
    subprocess.run([sys.executable, "-c", tables], env=environment, check=True, capture_output=True)

    def started(*words: str) -> subprocess.Popen[str]:
        command = ["kie", "run", "market", "--request", REQUEST, "--to", str(tmp_path / "out"), *words]
        return subprocess.Popen(
            [sys.executable, "-m", "airflow", *command],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=250)
    return process.returncode, out, err


def test_a_person_is_asked_then_the_results_are_in_the_folder_and_the_same_line_pays_nothing(
    kie: SimulatorServer, start: Start, tmp_path: Path
) -> None:
    code, out, err = ended(start())
    assert (code, kie.control.ledger()) == (1, []), err
    assert "Pass --yes to confirm" in err
    code, out, err = ended(start("--yes"))
    assert code == 0, err
    (charge,) = kie.control.ledger()
    (picture,) = (tmp_path / "out").rglob("result-1.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert out.splitlines() == [
        f"{picture}  {picture.stat().st_size:,} bytes",
        f"KIE task {charge['task_id']}: credits used {charge['credits']:g}, quoted {charge['credits']:g} credits.",
    ]
    manifest: dict[str, Any] = json.loads((picture.parent / "manifest.json").read_text())
    assert manifest["task_id"] == charge["task_id"]
    code, out, err = ended(start("--yes"))
    assert (code, len(kie.control.ledger())) == (0, 1), err
    assert "Nothing is paid; --key NAME requests another one" in out
    assert ended(start("--yes", "--key", "another"))[0] == 0
    assert len(kie.control.ledger()) == 2


def test_after_ctrl_c_the_same_line_goes_on_with_the_same_task(
    kie: SimulatorServer, start: Start, tmp_path: Path
) -> None:
    kie.control.set(task_seconds=10_000)
    process = start("--yes")
    waited_until = time.monotonic() + 250
    while not kie.control.ledger() and time.monotonic() < waited_until and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    (charge,) = kie.control.ledger()
    assert (code, f"KIE task {charge['task_id']} continues and is paid for" in err) == (130, True), err
    kie.control.advance(20_000)
    code, out, err = ended(start())
    assert (code, len(kie.control.ledger())) == (0, 1), err
    assert str(charge["task_id"]) in out and list((tmp_path / "out").rglob("result-1.png"))
