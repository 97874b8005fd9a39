"""An Airflow home of this process's own, and a simulated KIE behind the connection ``kie_default``."""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from airflow_task import FakeTaskStateStore, StoredFiles, TaskRun, Variables
    from cli_songs import Songs
    from kie_simulator.server import SimulatorServer
    from paid_requests import Entries
    from s3_servers import S3Server

# Airflow reads it when it is imported, which is after this. Never a person's own: tests write into its database.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

# A machine that stops for a moment is not a failure, and no folder has to be writable.
settings.register_profile("any machine", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _no_hurry_with_s3() -> Iterator[None]:
    """Let a command or an app that gives up soon where S3 does not answer do so in its own test alone."""
    yield
    if archive := sys.modules.get("airflow_kie.hooks.archive"):
        archive._TIMES.clear()


@pytest.fixture(scope="session")
def kie_server() -> Iterator[SimulatorServer]:
    """Give a simulated KIE that finishes everything at once."""
    from kie_simulator.server import SimulatorServer

    with SimulatorServer(music_seconds=0, cover_seconds=0, plain_images=True) as server:
        yield server


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Variables:
    """Give the Variables from which tasks read whether new paid tasks are stopped."""
    import spending_switches
    from airflow_task import Variables

    return spending_switches.read_from(Variables(), monkeypatch)


@pytest.fixture
def kie(
    kie_server: SimulatorServer, switch: Variables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimulatorServer]:
    """Give that KIE as it was at its start, named by the connection ``kie_default``; failures are believed at once."""
    from airflow_connections import kie_connection
    from airflow_kie.client.rate_limiter import store
    from airflow_kie.lifecycle import polling
    from airflow_task import close_clients

    kie_server.control.reset()
    monkeypatch.setattr(store, "default_store", lambda: f"sqlite:///{tmp_path}/kie.db")  # nothing is paid for yet
    monkeypatch.setattr(polling, "SHORTEST", 0.02)  # a second in reality: the tests would wait most of their time
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie_server))
    monkeypatch.setenv("AIRFLOW__KIE__CONFIRM_FAILURE_SECONDS", "0")
    monkeypatch.setenv("AIRFLOW__KIE__ALLOW_LOOPBACK_FILES", "True")
    yield kie_server
    close_clients()


@pytest.fixture
def chat(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the connection through which common.ai reaches that KIE's chat models, and a loop for its agents."""
    monkeypatch.setenv("AIRFLOW_CONN_KIE_CHAT", '{"conn_type": "pydanticai_kie"}')
    loop = asyncio.new_event_loop()  # an agent keeps the one that it makes, and nobody closes that
    asyncio.set_event_loop(loop)
    yield "kie_chat"
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Give an S3 server in memory."""
    from s3_servers import moto_s3

    with moto_s3() as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a new bucket's name, which the connection ``aws_default`` and the [kie] configuration lead to."""
    from airflow_connections import aws_connection

    name = f"songs-{uuid.uuid4().hex[:12]}"
    s3_server.client().create_bucket(Bucket=name)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection(s3_server))
    monkeypatch.setenv("AIRFLOW__KIE__BUCKET", name)
    return name


@pytest.fixture
def archive(bucket: str, s3_server: S3Server) -> StoredFiles:
    """Give the bucket's content."""
    from airflow_task import StoredFiles

    return StoredFiles(s3_server.client(), bucket)


@pytest.fixture(params=["bucket", "database", "task state"])
def paid_in(
    request: pytest.FixtureRequest, kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[[TaskRun], Entries]:
    """Give the ledger of paid requests as a run sees it, in each of the places where it can be kept."""
    import paid_requests
    from airflow_kie.hooks import archive
    from airflow_kie.hooks.kie import KieHook

    if request.param == "bucket":
        files = request.getfixturevalue("archive")
        monkeypatch.setattr(archive, "open_bucket", functools.cache(archive.open_bucket))
        return lambda run: paid_requests.InBucket(files)
    if request.param == "database":
        return lambda run: paid_requests.InDatabase(KieHook().ledger_database()[0])
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")  # its workers share no file
    return lambda run: paid_requests.InTaskState(run.store)


@pytest.fixture
def health_store(monkeypatch: pytest.MonkeyPatch) -> FakeTaskStateStore:
    """Give what health checks of `kie_ops` remember; requests are tried again at once and share a client of S3."""
    from airflow_kie.hooks import archive
    from airflow_kie.monitoring import health
    from airflow_task import FakeTaskStateStore

    monkeypatch.setattr(health, "TRY_AGAIN_AFTER", 0.0)
    monkeypatch.setattr(archive, "open_bucket", functools.cache(archive.open_bucket))
    return FakeTaskStateStore()


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Give what was posted: the configuration names a notifier."""
    from posted_notifier import Posted

    monkeypatch.setenv("AIRFLOW__KIE__NOTIFIER", "posted_notifier.Posted")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/")
    monkeypatch.setenv("AIRFLOW__KIE__BUCKET", "covers")
    monkeypatch.setattr(Posted, "sent", [])
    return Posted.sent


@pytest.fixture
def songs(
    kie: SimulatorServer,
    bucket: str,
    s3_server: S3Server,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Songs:
    """Give the songs of that bucket to commands, which may change how this process finds connections."""
    from airflow_database import make_tables
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.cli import arguments
    from airflow_kie.hooks import archive
    from cli_songs import Songs

    make_tables()
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    opened = Bucket(s3_server.client(), bucket)
    for module in (archive, arguments):
        monkeypatch.setattr(module, "open_bucket", lambda *_: opened)  # a new S3 client takes a second
    return Songs(opened, capsys)
