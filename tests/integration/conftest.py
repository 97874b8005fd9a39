"""What tests share: one simulator for a module, emptied for each test, and a client of it; S3 servers and a song."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from archived_song import Case
from kie_simulator.server import SimulatorServer
from kie_simulator_client import Kie
from media_server import media_server
from s3_servers import S3Server, moto_s3, rclone_s3


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


@pytest.fixture(scope="session", params=["rclone", "moto"])
def s3(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Give two real S3 servers that differ: rclone over a folder, and moto."""
    if request.param == "moto":
        with moto_s3() as server:
            yield server
    else:
        with rclone_s3(tmp_path_factory.mktemp("rclone")) as server:
            yield server


@pytest.fixture
def case(s3: S3Server, request: pytest.FixtureRequest) -> Iterator[Case]:
    """Give a song with its own bucket and file server."""
    with media_server() as media:
        yield Case(s3, media, "b-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20])
