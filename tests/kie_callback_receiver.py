"""A real HTTP server on loopback that takes callbacks and answers with the statuses it is told."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """One callback as it came in."""

    path: str
    headers: dict[str, str]
    body: Any
    raw: bytes = b""


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:  # as KIE may send one
        return None


class CallbackReceiver:
    """Takes callbacks at ``url``; a context manager.

    :param statuses: the statuses of the first answers; 200 after them.
    :param on_receive: called with each callback before it is answered.
    """

    def __init__(self, *statuses: int, on_receive: Callable[[Received], None] | None = None) -> None:
        self.received: queue.Queue[Received] = queue.Queue()
        left = list(statuses)
        inbox = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                callback = Received(self.path, dict(self.headers.items()), _decoded(raw), raw)
                if on_receive:
                    on_receive(callback)
                self.send_response(left.pop(0) if left else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                inbox.put(callback)

            def log_message(self, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/cb"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def next(self) -> Received:
        """Return the next callback; wait for it if need be."""
        return self.received.get(timeout=200)

    def __enter__(self) -> CallbackReceiver:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
