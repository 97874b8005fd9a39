"""The pytest fixture ``kie_simulator``: a simulated KIE behind the connection ``kie_default``, which costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kie_simulator.server import SimulatorServer


@pytest.fixture(scope="session")
def kie_simulator_server() -> Iterator[SimulatorServer]:
    """Serve a KIE whose tasks end at once, for all tests of a session."""
    from kie_simulator.server import SimulatorServer

    with SimulatorServer(task_seconds=0, music_seconds=0, cover_seconds=0, plain_images=True) as server:
        yield server


@pytest.fixture
def kie_simulator(kie_simulator_server: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatorServer]:
    """Give a simulated KIE as it was at its start; the connection ``kie_default`` leads to it.

    Its ``control`` has the ledger of what was paid (``ledger()``), faults (``add_fault``), finished songs
    (``make_music``), time (``advance``) and habits (``set``).
    """
    from kie_simulator.server import connection_to

    kie_simulator_server.control.reset()
    for name, value in connection_to(kie_simulator_server.url, kie_simulator_server.api_key).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW__KIE__CONFIRM_FAILURE_SECONDS", "0")  # a failure is believed at once
    yield kie_simulator_server
