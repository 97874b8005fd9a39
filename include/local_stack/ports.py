"""Free ports on 127.0.0.1 for the one server that must know its port before it starts (Airflow's api-server)."""

from __future__ import annotations

import socket
import sys


class ReservedPort:
    """A free port, held until the server listens on it where the system allows that.

    On Linux a bound socket that does not listen keeps others from being given the port, while a server that sets
    SO_REUSEADDR (uvicorn does) may still listen on it. Other systems refuse that, so there the port is only chosen,
    and whoever starts the server tries again when somebody was faster.
    """

    def __init__(self) -> None:
        """Choose and hold a port."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]
        if sys.platform != "linux":
            self.release()

    def release(self) -> None:
        """Stop holding the port; the server has it, or nobody needs it."""
        self._socket.close()
