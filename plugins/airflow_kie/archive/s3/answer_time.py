"""How long one answer of S3 may be waited for: boto3 bounds each read (60 s), single bytes could hold a task for ever.

What counts is the time that is spent waiting for S3: a listener who takes an hour to stream a song from the song pages
waits for nobody. The connections of a client are replaced through botocore's own table of them, which is not public
(seen in botocore 1.44); without it this bound is left out, and a line of the log says so.
"""

from __future__ import annotations

import io
import logging
import time
from typing import Any

log = logging.getLogger(__name__)

ANSWER_SECONDS = 600.0
"""Of waiting for the bytes of one answer, in all; boto3 asks again where that helps, as often as its settings say."""


class _Answer(io.RawIOBase):
    """The bytes of one answer, as they come.

    :param raw: the socket's own reader.
    """

    def __init__(self, raw: Any) -> None:
        self._raw, self._waited = raw, 0.0

    def readinto(self, buffer: Any) -> int:
        """Wait for bytes, unless this answer has been waited for too long."""
        if self._waited > ANSWER_SECONDS:
            raise TimeoutError(f"S3 did not complete its answer within {ANSWER_SECONDS:g} s")
        began = time.monotonic()
        try:
            came: int = self._raw.readinto(buffer)
        finally:
            self._waited += time.monotonic() - began
        return came

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def close(self) -> None:
        """Close the socket's reader."""
        if not self.closed:
            super().close()
            self._raw.close()


class _Socket:
    """A connection's socket, whose answers are not waited for without end."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def makefile(self, mode: str = "rb", buffering: int | None = None) -> Any:
        """Return what reads one answer."""
        answer = _Answer(self._sock.makefile(mode, 0))
        return answer if buffering == 0 else io.BufferedReader(answer)


def bound_waiting(client: Any) -> Any:
    """Let a boto3 client wait for each answer for at most :data:`ANSWER_SECONDS`, and return it.

    :param client: made a moment ago: it has no connection yet.
    """
    try:
        pools = client._endpoint.http_session._pool_classes_by_scheme
        bounded = {scheme: (pool, _bounded(pool.ConnectionCls)) for scheme, pool in pools.items()}
    except AttributeError as error:
        log.warning("With this version of botocore, an answer of S3 that never ends has no timeout: %s", error)
        return client
    pools.update(
        {scheme: type(pool.__name__, (pool,), {"ConnectionCls": own}) for scheme, (pool, own) in bounded.items()}
    )
    return client


def _bounded(connection: Any) -> Any:
    def connect(self: Any) -> None:
        connection.connect(self)
        self.sock = _Socket(self.sock)

    return type(connection.__name__, (connection,), {"connect": connect})
