"""Real database servers for tests: Debian's Redis and the lock's Postgres, on loopback, in temporary folders.

>>> with postgres_server() as url:
...     psycopg.connect(url)
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest

from local_stack import postgres
from local_stack.programs import PACKAGES, program
from unused_ports import unused_port

PASSWORD = "test-pass%2Fword"  # as a URL has it; not a secret outside the test


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    """Give the URL of an empty Postgres database, for the tests of a module."""
    with postgres_server() as url:
        yield url


@contextmanager
def redis_server(password: str = PASSWORD) -> Iterator[str]:
    """Run Redis, without persistence, and give its URL.

    :param password: as a URL has it.
    """
    redis, port = program("redis-server"), unused_port()
    assert redis, f"This test runs a real redis-server: apt-get install {PACKAGES['redis-server']}"
    settings = f'bind 127.0.0.1\nport {port}\nsave ""\nappendonly no\nrequirepass {unquote(password)}\n'
    with tempfile.TemporaryDirectory(prefix="redis-") as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen([redis, "-"], stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder)
        assert process.stdin is not None
        process.stdin.write(settings.encode())
        process.stdin.close()
        try:
            _await_ready(process, Path(folder) / "log")
            yield f"redis://:{password}@127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(120)


@contextmanager
def postgres_server(user: str = postgres.USER, password: str = PASSWORD, settings: Sequence[str] = ()) -> Iterator[str]:
    """Make a Postgres cluster, run it and give the URL of its database ``airflow``.

    :param user: who owns it.
    :param password: theirs, as a URL has it.
    :param settings: further settings, such as ``max_connections=200``.
    """
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        data, log, port = Path(name) / "data", Path(name) / "log", unused_port()
        postgres.make_cluster(data, user)
        postgres.set_password(data, unquote(password), user)
        with log.open("wb") as output:
            process = subprocess.Popen(
                postgres.command_of(data, port, dict(setting.split("=", 1) for setting in settings)),
                stdout=output,
                stderr=output,
                cwd=name,
            )
            try:
                _await_ready(process, log)
                yield postgres.url_of(f"postgresql://127.0.0.1:{port}", unquote(password), "airflow", user)
            finally:
                process.send_signal(signal.SIGINT)  # "fast": it does not wait for clients
                process.wait(120)


def _await_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server says so in its log: Postgres listens before it lets anybody in."""
    while "ready to accept connections" not in log.read_text().lower():
        if process.poll() is not None:
            raise RuntimeError(f"The server did not start (exit code {process.poll()}): {log.read_text()[-2000:]}")
        time.sleep(0.05)
