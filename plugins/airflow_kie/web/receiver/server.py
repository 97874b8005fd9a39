"""HTTP/1.1 for the receiver alone, with bounds on time and on connections.

uvicorn bounds how long a connection may idle between two requests, and nothing else: a request whose headers never end
keeps its connection, and what it holds, until the process ends. Behind Airflow's api-server a proxy has to bound this.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

RECEIVE_SECONDS = 15.0
"""Seconds in which headers must have come, and again in which a body must have: KIE gives a receiver 15 for everything.
A new connection has as long to send its first request."""
ANSWER_SECONDS = 60.0
"""Seconds for an answer."""
MAX_CONNECTIONS = 500
"""Connections at a time: half of the 1024 files that a process may commonly open."""


class Phase(Enum):
    """What a connection waits for."""

    RECEIVING = "the rest of a request"
    ANSWERING = "the answer"
    IDLE = "the next request"


LIMITS = {Phase.RECEIVING: RECEIVE_SECONDS, Phase.ANSWERING: ANSWER_SECONDS}
"""Seconds after which a connection in a phase is closed; uvicorn itself closes one that idles."""


class BoundedProtocol(H11Protocol):
    """One connection: closed when a request does not come, or its answer is not taken, in time.

    When there are too many, the one that has idled longest is closed for a new one; if none idles, the one that has
    been sending its request for longest. One that is being answered stays.
    """

    _phase: tuple[Phase, Any] = (Phase.IDLE, None)
    _since: float = 0.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, at the cost of another one if there are too many."""
        super().connection_made(transport)
        self._enter((Phase.RECEIVING, None))
        if len(self.connections) > MAX_CONNECTIONS:
            open_ones = [one for one in self.connections if isinstance(one, BoundedProtocol)]
            without_answer = [one for one in open_ones if one._phase[0] is not Phase.ANSWERING]
            closable = [one for one in without_answer if not one.transport.is_closing()]
            min(closable, key=lambda one: (one._phase[0] is not Phase.IDLE, one._since)).abort()

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        super().data_received(data)
        self._update_phase()

    def on_response_complete(self) -> None:
        """Go on when an answer is out."""
        super().on_response_complete()
        self._update_phase()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock of a connection that has ended."""
        self._enter((Phase.IDLE, None))
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close the connection at once, whatever has not been sent."""
        self.connections.discard(self)  # now: it is reported as lost only in the loop's next round
        self.transport.abort()

    def _update_phase(self) -> None:
        """Begin the next phase, and its time, if what the connection waits for has changed."""
        if (phase := (self._waits_for(), self.cycle)) != self._phase:
            self._enter(phase)

    def _waits_for(self) -> Phase:
        their_state = self.conn.their_state
        if their_state is h11.SEND_BODY:
            return Phase.RECEIVING  # also where the answer is out: the rest of the body still comes
        if self.cycle is not None and not self.cycle.response_complete:
            return Phase.ANSWERING
        unfinished = their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        return Phase.RECEIVING if unfinished else Phase.IDLE

    def _enter(self, phase: tuple[Phase, Any]) -> None:
        self._phase, self._since = phase, self.loop.time()
        if self._deadline is not None:
            self._deadline.cancel()
        seconds = LIMITS.get(phase[0])
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.abort)
