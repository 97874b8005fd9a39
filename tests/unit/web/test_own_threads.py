"""Pages that wait for S3 hold up none of Airflow's own routes."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Response
from fastapi.responses import StreamingResponse

from airflow_kie.web.app import create_app
from airflow_kie.web.own_threads import PageRouter, in_own_thread, streamed

AT_ONCE = 60
"""More than there are threads."""
ANSWERS = threading.Event()
"""S3 answers."""


@pytest.fixture(autouse=True)
def away() -> Iterator[None]:
    ANSWERS.clear()
    yield
    ANSWERS.set()


@in_own_thread
def place(where: str = "") -> str:
    return str(ANSWERS.wait() and where)


def page(found: Annotated[str, Depends(place)]) -> Response:
    return Response(found)


def song(name: str) -> Response:
    return Response(str(ANSWERS.wait() and name))


def file() -> Response:
    return StreamingResponse(streamed(str(ANSWERS.wait()).encode() for _ in range(2)))


def an_airflow() -> FastAPI:
    """Return an app with a route of its own, and pages."""
    app, pages, router = FastAPI(), FastAPI(), PageRouter()
    for path, function in {"/page": page, "/songs/{name}": song, "/file": file}.items():
        router.add_api_route(path, function)
    pages.include_router(router)
    app.mount("/kie", pages)
    app.add_api_route("/api", lambda: "runs")
    return app


@pytest.mark.parametrize(
    ("path", "answer"), [("/kie/page?where=here", "here"), ("/kie/songs/<b>", "<b>"), ("/kie/file", "TrueTrue")]
)
def test_while_pages_wait_airflows_own_routes_answer(path: str, answer: str) -> None:
    async def ask() -> tuple[Any, set[str]]:
        transport = httpx.ASGITransport(an_airflow())
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow", timeout=60) as client:
            waiting = [asyncio.create_task(client.get(path)) for _ in range(AT_ONCE)]
            await asyncio.sleep(0.2)
            try:
                own = await asyncio.wait_for(client.get("/api"), 30)
            finally:
                ANSWERS.set()
            return own.json(), {one.text for one in await asyncio.gather(*waiting)}

    assert asyncio.run(ask()) == ("runs", {answer})


def test_every_page_waits_in_threads_of_its_own() -> None:
    routes = [route for route in create_app().routes if hasattr(route, "dependant")]
    assert len(routes) > 20
    assert [route.path for route in routes if not inspect.iscoroutinefunction(route.endpoint)] == []
