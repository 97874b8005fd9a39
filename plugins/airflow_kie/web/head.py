"""A HEAD request is answered as GET is, without the body (RFC 9110, 9.3.2): for link checkers and proxies."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class AnswersHead:
    """Asks an app for GET where HEAD is asked for, and sends what comes before the body.

    :param app: the app.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        ended = False

        async def without_body(message: Message) -> None:
            nonlocal ended
            if message["type"] != "http.response.body":
                await send(message)
                return
            if not ended:
                ended = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            if message.get("more_body"):
                raise OSError("Nobody reads more")  # as where a client has gone: no file is read to its end for this

        try:
            await self.app({**scope, "method": "GET"}, receive, without_body)
        except (OSError, ClientDisconnect):
            if not ended:
                raise
