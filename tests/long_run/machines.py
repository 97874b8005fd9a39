"""Two machines for the distributed stack: network namespaces with a clock and a temporary folder of their own.

Everything is made in the namespaces of this process, which ``./run faults --hours`` starts in new ones: it ends with
them. Postgres, Redis, S3, the simulator and the api-server are where this process is, each at an address of its own
(192.0.2.0/24, TEST-NET-1); scheduler, triggerer and worker number 1, and number 2, are a machine each.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from distributed_network import Network

SERVERS: Mapping[str, str] = {
    "api": "192.0.2.11",
    "simulator": "192.0.2.12",
    "s3": "192.0.2.13",
    "postgres": "192.0.2.14",
    "redis": "192.0.2.15",
}
MACHINES: Mapping[str, str] = {"1": "192.0.2.129", "2": "192.0.2.130"}
WITHOUT = ("clock jumped", "disk full", "machine cut off", "server cut off from a machine")
"""Kinds of disturbance that need a machine."""
_AWAY = frozenset({"scheduler", "triggerer", "worker", "dag-processor"})
_CLOCKED = frozenset({"triggerer", "worker"})
"""What has the machine's clock. Airflow's scheduler signs the tokens of tasks: with a wrong clock none is valid."""
_DISK = "64m"


@dataclass(frozen=True)
class Machines(Network):
    """The machines.

    :param home: folder for their clocks and temporary folders.
    :param holders: the process that holds each machine's network namespace.
    :param clock: the library that shifts a clock; empty where there is no C compiler.
    """

    home: Path = Path()
    holders: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    clock: str = ""

    def enter(self, name: str) -> list[str]:
        """Return the words before a process's command that start it on its machine."""
        service, _, number = name.rpartition("-")
        return ["nsenter", f"--net=/proc/{self.holders[number].pid}/ns/net", "--"] if service in _AWAY else []

    def environment(self, name: str) -> dict[str, str]:
        """Return what a process's environment has besides."""
        service, _, number = name.rpartition("-")
        clock = {"LD_PRELOAD": self.clock, "LONG_RUN_CLOCK": str(self._clock_file(number))}
        disk = {"TMPDIR": str(self.disk(number))}
        return {**(clock if self.clock and service in _CLOCKED else {}), **(disk if service == "worker" else {})}

    def disk(self, machine: str) -> Path:
        """Return a machine's temporary folder."""
        return self.home / f"disk-{machine}"

    def set_clock(self, machine: str, seconds: int) -> None:
        """Let a machine's clock be wrong by so many seconds."""
        with self._clock_file(machine).open("r+b") as file:
            file.write(struct.pack("l", seconds))

    def cut(self, machine: str, server: str = "", *, heal: bool = False) -> None:
        """Lose every packet from a server to a machine, or from all of them; or no longer."""
        whence = ["from", SERVERS[server]] if server else []
        _run("ip", "rule", "del" if heal else "add", "pref", "100", *whence, "to", MACHINES[machine], "blackhole")

    def _clock_file(self, machine: str) -> Path:
        return self.home / f"clock-{machine}"


@contextmanager
def machines(home: Path, seconds: float) -> Iterator[Machines]:
    """Make the machines, give them, and end what holds them.

    :param home: a folder of their own.
    :param seconds: after which they end by themselves.
    """
    home.mkdir()
    made = Machines(dict(SERVERS), clients="192.0.2.0/24", home=home, clock=_clock(home))
    _run("ip", "link", "set", "lo", "up")
    for address in SERVERS.values():
        _run("ip", "address", "add", f"{address}/32", "dev", "lo")
    try:
        for number, address in MACHINES.items():
            made.holders[number] = subprocess.Popen(["unshare", "--net", "sleep", str(seconds)])
            _connect(made, number, address)
            made.disk(number).mkdir()
            _run("mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(made.disk(number)))
            (home / f"clock-{number}").write_bytes(struct.pack("l", 0))
        yield made
    finally:
        for holder in made.holders.values():
            holder.kill()
            holder.wait()
        for number in made.holders:
            subprocess.run(["umount", "--lazy", str(made.disk(number))], check=False)


def _connect(made: Machines, number: str, address: str) -> None:
    """Connect a machine to where the servers are."""
    while Path(f"/proc/{made.holders[number].pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
        pass  # it is about to leave
    inside = made.enter(f"worker-{number}")
    _run(
        "ip", "link", "add", f"machine{number}", "type", "veth", "peer", "eth0", "netns", str(made.holders[number].pid)
    )
    _run("ip", "link", "set", f"machine{number}", "up")
    _run("ip", "route", "add", f"{address}/32", "dev", f"machine{number}")
    _run(*inside, "ip", "link", "set", "lo", "up")
    _run(*inside, "ip", "address", "add", f"{address}/32", "dev", "eth0")
    _run(*inside, "ip", "link", "set", "eth0", "up")
    _run(*inside, "ip", "route", "add", "default", "dev", "eth0")


def _clock(home: Path) -> str:
    compiler = shutil.which("cc")
    library = home / "clock.so"
    if compiler:
        _run(compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(Path(__file__).with_name("clock.c")), "-ldl")
    return str(library) if compiler else ""


def _run(*words: str) -> None:
    ended = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert ended.returncode == 0, f"{' '.join(words)}: {ended.stdout}"
