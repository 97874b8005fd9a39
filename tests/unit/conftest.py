"""An Airflow home of this process's own, and a simulated KIE behind the connection ``kie_default``."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kie_simulator.server import SimulatorServer

if "AIRFLOW_HOME" not in os.environ:  # Airflow reads it when it is imported, which is after this
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
    atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def kie_server() -> Iterator[SimulatorServer]:
    """Give a simulated KIE that finishes everything at once."""
    from kie_simulator.server import SimulatorServer

    with SimulatorServer(music_seconds=0, cover_seconds=0, plain_images=True) as server:
        yield server


@pytest.fixture
def kie(kie_server: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatorServer]:
    """Give that KIE as it was at its start, named by the connection ``kie_default``; failures are believed at once."""
    from airflow_kie.client import cadence
    from airflow_task import close_clients, connection_env

    kie_server.control.reset()
    monkeypatch.setattr(cadence, "SHORTEST", 0.02)  # a second in reality: the tests would wait most of their time
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", connection_env(kie_server))
    monkeypatch.setenv("AIRFLOW__KIE__CONFIRM_FAILURE_SECONDS", "0")
    monkeypatch.setenv("AIRFLOW__KIE__ALLOW_LOOPBACK_FILES", "True")
    yield kie_server
    close_clients()
