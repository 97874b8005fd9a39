"""What the simulator's tests share: one simulator for a module, emptied for each test, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kie_simulator.server import SimulatorServer
from kie_simulator_client import Kie


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[SimulatorServer]:
    """Start a simulator with the options that the test's module names in ``SIMULATOR``."""
    with SimulatorServer(**getattr(request.module, "SIMULATOR", {})) as running:
        yield running


@pytest.fixture
def simulator(server: SimulatorServer) -> SimulatorServer:
    """Return the simulator as it was when it started."""
    server.control.reset()
    return server


@pytest.fixture
def kie(simulator: SimulatorServer) -> Iterator[Kie]:
    """Return a client without any cleverness."""
    client = Kie(simulator)
    yield client
    client.close()


@pytest.fixture
def song(simulator: SimulatorServer) -> str:
    """Return the task id of a song that is there."""
    return simulator.control.make_music("Velvet Harbour")[0].task_id
