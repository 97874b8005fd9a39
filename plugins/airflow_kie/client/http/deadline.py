"""Connections whose every read and write also ends at a deadline: single bytes cannot stretch a request.

A time limit for one read, as HTTP libraries have it, begins again with every byte that comes.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

import httpcore

_PIECE = 64 * 1024
"""Bytes written at once: the deadline is checked in between."""

Deadline = Callable[[], float]
"""Gives the ``time.monotonic()`` at which everything ends."""

request_deadline: ContextVar[float] = ContextVar("request_deadline")
"""The deadline of the request that this thread is sending: a connection that is kept open serves several."""


class DeadlineStream(httpcore.NetworkStream):
    """A connection that ends at a deadline.

    :param stream: the connection itself.
    :param deadline: when it ends.
    """

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, seconds_left(self._deadline(), timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        whole = memoryview(buffer)
        for start in range(0, len(whole), _PIECE):
            piece = bytes(whole[start : start + _PIECE])
            self._stream.write(piece, seconds_left(self._deadline(), timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = seconds_left(self._deadline(), timeout)
        return DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class DeadlineNetwork(httpcore.SyncBackend):
    """Opens connections that end at a deadline.

    :param deadline: when they end; by default that of the request that this thread is sending.
    :param addresses: gives the addresses of a host and port to try in turn; by default the system finds them.
    """

    def __init__(
        self,
        deadline: Deadline = request_deadline.get,
        addresses: Callable[[str, int], Iterable[str]] = lambda host, port: (host,),
    ) -> None:
        self._deadline, self._addresses = deadline, addresses

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._addresses(host, port):
            left = seconds_left(self._deadline(), timeout)
            try:
                stream = super().connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return DeadlineStream(stream, self._deadline)
        raise failure


def seconds_left(deadline: float, timeout: float | None) -> float:
    """Return the seconds until the deadline, or the time limit of one operation where that is shorter.

    :raises httpcore.ReadTimeout: when the deadline is over.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the whole request has timed out")
    return left if timeout is None else min(left, timeout)
