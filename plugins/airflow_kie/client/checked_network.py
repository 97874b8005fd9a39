"""Connections to public addresses only: a name is resolved once, every address checked, and a checked one connected to.

So a name that resolves to a public address for the check and to an internal one for the connection gets nowhere.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpcore

from airflow_kie.client.errors import DownloadRefused
from airflow_kie.client.public_addresses import is_public

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
                    address, port, _left(self._deadline, timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as e:
                failure = e
            else:
                return _DeadlineStream(stream, self._deadline)
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


class _DeadlineStream(httpcore.NetworkStream):
    """A connection whose every read and write also ends at the deadline: single bytes cannot stretch it."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, timeout)
        return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float, timeout: float | None) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time for the whole download is over")
    return left if timeout is None else min(left, timeout)
