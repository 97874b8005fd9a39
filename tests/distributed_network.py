"""Where the parts of the distributed stack are, and what starts Postgres and Redis there without an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from compose_file import ComposeFile
from local_stack import postgres
from local_stack.programs import PACKAGES, program


@dataclass(frozen=True)
class Network:
    """Where the parts are.

    :param addresses: the address on which each service listens: 127.0.0.1 where it is not named.
    :param s3: host and port in front of the S3 server; empty: the server's own.
    :param clients: the addresses from which Postgres lets anybody in.
    """

    addresses: Mapping[str, str] = field(default_factory=dict)
    s3: str = ""
    clients: str = "127.0.0.1/32"

    def address(self, service: str) -> str:
        """Return the address on which a service listens."""
        return self.addresses.get(service, "127.0.0.1")

    def with_s3(self, address: str) -> Self:
        """Return the same with another address in front of the S3 server."""
        return replace(self, s3=address)

    def enter(self, name: str) -> list[str]:
        """Return the words before a process's command that start it where it belongs."""
        return []

    def environment(self, name: str) -> dict[str, str]:
        """Return what a process's environment has besides."""
        return {}


def server_commands(
    home: Path, compose: ComposeFile, values: Mapping[str, str], ports: Mapping[str, int], network: Network
) -> dict[str, Sequence[str]]:
    """Make the folders of Postgres and Redis, and return their commands."""
    redis, data = program("redis-server"), home / "postgres"
    assert redis, f"This runs a real redis-server: apt-get install {PACKAGES['redis-server']}"
    (home / "redis").mkdir()
    postgres.make_cluster(data, "airflow")
    postgres.set_password(data, unquote(values["POSTGRES_PASSWORD"]), "airflow")
    (data / "pg_hba.conf").write_text(f"host all all {network.clients} scram-sha-256\n")
    settings = dict(word.split("=", 1) for word in compose.command("postgres") if "=" in word)
    settings["listen_addresses"] = network.address("postgres")
    where = ["--port", str(ports["redis"]), "--bind", network.address("redis"), "--dir", str(home / "redis")]
    return {
        "postgres": postgres.command_of(data, ports["postgres"], settings),
        "redis": [redis, *compose.command("redis")[1:], *where],
    }
