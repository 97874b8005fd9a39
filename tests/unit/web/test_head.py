"""HEAD is answered as GET is, without a body, and no file is read to its end for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from airflow_kie.web.head import AnswersHead

PIECES = 1000
given: list[int] = []


def page(request: Request) -> Response:
    return PlainTextResponse(f"asked with {request.method}", headers={"ETag": '"1"'})


def file(request: Request) -> Response:
    def pieces() -> Iterator[bytes]:
        for number in range(PIECES):
            given.append(number)
            yield b"x" * 100

    return StreamingResponse(pieces(), headers={"Content-Length": str(PIECES * 100)})


def broken(request: Request) -> Response:
    raise OSError("the disk is gone")


ROUTES = [
    Route("/page", page, methods=["POST"]),
    *(Route(f"/{answer.__name__}", answer) for answer in (page, file, broken)),
]
for route in ROUTES[1:]:
    (route.methods or set()).discard("HEAD")  # FastAPI's routes take GET alone
APP = Starlette(routes=ROUTES, middleware=[Middleware(AnswersHead)])


def asked(method: str, path: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(APP), base_url="http://pages") as client:
            return await client.request(method, path)

    return asyncio.run(ask())


def test_head_has_the_headers_of_get_and_no_body() -> None:
    get, head = asked("GET", "/page"), asked("HEAD", "/page")
    assert (head.status_code, head.headers, head.content) == (200, get.headers, b"")
    assert get.text == "asked with GET"


def test_head_of_what_is_not_there_or_takes_no_get_is_refused_as_get_is() -> None:
    for path in ("/nothing", "/page?x=1"):
        assert asked("HEAD", path).status_code == asked("GET", path).status_code


def test_a_file_is_not_read_to_its_end_for_its_length() -> None:
    given.clear()
    head = asked("HEAD", "/file")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(PIECES * 100), b"")
    assert len(given) < 10


def test_an_error_is_none_of_a_client_that_has_gone() -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        asked("HEAD", "/broken")
