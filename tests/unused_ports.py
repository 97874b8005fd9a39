"""Ports of 127.0.0.1 on which nobody listens."""

from __future__ import annotations

import socket
import sys

_HELD: list[socket.socket] = []


def unused_port() -> int:
    """Return a port that nobody else is given as long as this process lives; a server may be told to listen on it.

    On Linux a bound socket that does not listen keeps the port from everybody who asks for any free one, while a
    server that names it and sets SO_REUSEADDR (uvicorn, rclone, Redis and Postgres do) may listen. Other systems refuse
    that, so the port is only chosen there.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port = int(held.getsockname()[1])
    if sys.platform == "linux":
        _HELD.append(held)
    else:
        held.close()
    return port
