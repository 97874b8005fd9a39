"""Breaking TCP connections on purpose: resets and answers that stop half way.

An ASGI application cannot reach its connection, so the HTTP protocol class hands it over in the scope.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_CONNECTION = "kie_simulator.connection"


class BreakableProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with the connection within the application's reach."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        inner = self.app

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope[_CONNECTION] = self
            try:
                await inner(scope, receive, send)
            except asyncio.CancelledError:
                # The server stops and waits no longer for this answer: the client sees the connection end.
                self.cycle.disconnected = True
                self.transport.abort()

        self.app = app

    def reset(self) -> None:
        """Close the connection with a TCP reset instead of an orderly end."""
        raw = self.transport.get_extra_info("socket")
        if raw is not None:
            # Lingering for zero seconds makes close() send RST.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def hang_up(self) -> None:
        """Close the connection in order once what was written has been sent."""
        self.transport.close()


async def _until_disconnected(receive: Receive) -> None:
    message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()


class Reset(Response):
    """No answer at all: the client sees the connection reset."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[_CONNECTION].reset()
        await _until_disconnected(receive)


class Truncated(Response):
    """An answer whose Content-Length promises more than is sent before the connection ends.

    :param content: the whole content; the first half of it is sent.
    """

    def __init__(self, content: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content, media_type=media_type, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        scope[_CONNECTION].hang_up()
        await _until_disconnected(receive)
