"""Real database servers for tests: Debian's Redis and Postgres, on free ports of 127.0.0.1, in temporary folders.

>>> with postgres_server() as url:
...     psycopg.connect(url)
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest

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
    program, port = _program("redis-server"), unused_port()
    settings = f'bind 127.0.0.1\nport {port}\nsave ""\nappendonly no\nrequirepass {unquote(password)}\n'
    with tempfile.TemporaryDirectory(prefix="redis-") as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen([program, "-"], stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder)
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
def postgres_server(user: str = "kie", password: str = PASSWORD, settings: Sequence[str] = ()) -> Iterator[str]:
    """Make a Postgres cluster, run it and give the URL of its database.

    :param user: who owns it.
    :param password: theirs, as a URL has it.
    :param settings: further settings, such as ``max_connections=200``.
    """
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder, port = Path(name), unused_port()
        data, log = folder / "data", folder / "log"
        (folder / "password").write_text(unquote(password))
        _hand_over(folder)
        make = ["--pgdata", str(data), "--username", user, "--pwfile", str(folder / "password"), "--no-sync"]
        done = subprocess.run(
            _as_postgres("initdb", *make, "--auth", "scram-sha-256", "--no-locale", "--encoding", "UTF8"),
            capture_output=True,
            text=True,
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr
        options = ["-D", str(data), "-k", "", "-h", "127.0.0.1", "-p", str(port), "-F"]
        options += [word for setting in settings for word in ("-c", setting)]
        with log.open("wb") as output:
            process = subprocess.Popen(_as_postgres("postgres", *options), stdout=output, stderr=output, cwd=folder)
            try:
                _await_ready(process, log)
                yield f"postgresql://{user}:{password}@127.0.0.1:{port}/postgres"
            finally:
                process.send_signal(signal.SIGINT)  # "fast": it does not wait for clients
                process.wait(120)


def _as_postgres(name: str, *arguments: str) -> list[str]:
    """Return the command, as the user ``postgres`` if this is root: Postgres refuses to run as root."""
    command = [_program(name), *arguments]
    if os.geteuid() != 0:
        return command
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--", *command]


def _hand_over(folder: Path) -> None:
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "postgres", "postgres")


def _program(name: str) -> str:
    found = program(name)
    assert found, f"This test runs a real {name}, which is not installed: apt-get install {PACKAGES[name]}"
    return found


def _await_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server says so in its log: Postgres listens before it lets anybody in."""
    while "ready to accept connections" not in log.read_text().lower():
        if process.poll() is not None:
            raise RuntimeError(f"The server did not start (exit code {process.poll()}): {log.read_text()[-2000:]}")
        time.sleep(0.05)
