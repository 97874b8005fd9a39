"""The simulator as one FastAPI application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from kie_simulator.answers import refusal
from kie_simulator.api import Api
from kie_simulator.callbacks import Callbacks
from kie_simulator.calls import add_calls
from kie_simulator.chat.endpoints import add_chat
from kie_simulator.control import Control
from kie_simulator.serving import Files
from kie_simulator.simulation import Simulation
from kie_simulator.unified.discovery import add_discovery
from kie_simulator.uploads import add_uploads


@contextlib.asynccontextmanager
async def _sending(sim: Simulation, callbacks: Callbacks) -> AsyncIterator[None]:
    """Send callbacks while the application serves."""
    running = asyncio.create_task(callbacks.run())
    try:
        yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        sim.files.close()


def create_app(sim: Simulation) -> FastAPI:
    """Return the application that serves a simulated KIE.

    :param sim: the simulated KIE.
    """
    callbacks = Callbacks(sim)

    app = FastAPI(title="KIE simulator", lifespan=lambda app: _sending(sim, callbacks), openapi_url=None)
    app.include_router(Control(sim, callbacks).router)
    api = Api(sim, callbacks)
    add_calls(api)
    add_chat(api)
    add_uploads(api)
    add_discovery(api)
    app.include_router(api.router)
    app.include_router(Files(sim).router)

    @app.api_route("/api/{path:path}", methods=["GET", "POST"], response_model=None)
    async def unknown(path: str, request: Request) -> Response:
        sim.counts.requests[f"{request.method} {request.url.path}"] += 1
        return refusal(404, "Not Found").response(http_errors=sim.settings.http_errors)

    return app
