"""Free ports on 127.0.0.1: for servers that must know theirs beforehand, and find it free when they start again."""

from __future__ import annotations

import socket
import sys
from urllib.parse import urlsplit


class ReservedPort:
    """A free port, held for a server where the system allows that, also while the server is not there.

    On Linux a bound socket that does not listen keeps others from being given the port, while a server that sets
    SO_REUSEADDR (uvicorn, SeaweedFS and the simulator do) may still listen on it. Other systems refuse that: there the
    port is only chosen, and the one that starts the server tries again when somebody was faster.
    """

    def __init__(self) -> None:
        """Choose and hold a port."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]
        if sys.platform != "linux":
            self.release()

    @property
    def if_held(self) -> int:
        """The port, or 0 where it is not held: a server that can choose its own port does so then."""
        return self.number if self._socket.fileno() >= 0 else 0

    def release(self) -> None:
        """Stop holding the port; nobody needs it."""
        self._socket.close()


def port_of(url: str) -> int:
    """Return the port in the address of a local server."""
    port = urlsplit(url).port
    if port is None:
        raise ValueError(f"{url} names no port")
    return port
