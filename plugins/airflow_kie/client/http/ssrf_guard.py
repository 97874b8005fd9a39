"""Connections to public addresses only: a name is resolved once, every address checked, and a checked one connected to.

So a name that resolves to a public address for the check and to an internal one for the connection gets nowhere.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence

import httpcore

from airflow_kie.client.errors import DownloadRefused
from airflow_kie.client.http.deadline import DeadlineStream, seconds_left
from airflow_kie.client.http.public_addresses import is_public

Resolver = Callable[[str, int], Sequence[str]]


def is_address(host: str) -> bool:
    """Say whether the text is an IP address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def system_addresses(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host in the order in which the system would try them.

    :raises OSError: when the name cannot be resolved.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class CheckedNetwork(httpcore.SyncBackend):
    """Connects to checked addresses only, and lets no operation outlast the deadline of the download.

    :param resolve: finds the addresses of a host; asked once a connection.
    :param deadline: ``time.monotonic()`` at which everything ends.
    :param any_address: True where a person allowed the host, or a proxy resolves it.
    """

    def __init__(self, resolve: Resolver, deadline: float, *, any_address: bool = False) -> None:
        self._resolve, self._deadline, self._any_address = resolve, deadline, any_address

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception | None = None
        for address in self._addresses(host, port):
            try:
                stream = super().connect_tcp(
                    address, port, seconds_left(self._deadline, timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as e:
                failure = e
            else:
                return DeadlineStream(stream, lambda: self._deadline)
        raise failure or httpcore.ConnectError(f"{host} has no address")

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = self._resolve(host, port)
        except OSError as e:
            raise httpcore.ConnectError(f"the name {host} cannot be resolved") from e
        if self._any_address:
            return addresses
        inner = [address for address in addresses if not is_public(address)]
        if inner:
            raise DownloadRefused(f"{host} is at {inner[0]}, which is not a public address")
        return addresses
