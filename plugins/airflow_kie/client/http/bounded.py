"""One HTTP request and its answer, bounded: so many decoded bytes, and so many seconds from connection to last byte.

The server decides how much comes and how slowly: 1.5 MB of gzip can hold gigabytes, and a byte every few seconds never
runs into the time limit of a single read. So answers are read in pieces, decoded no further than the bound, and end at
one deadline. Redirects are not followed and cookies not kept: only httpcore's connection pool is used, not a client.
Every failure is a typed error: `KieNotSent` where no connection was made, `KieUnreachable` and `KieBadAnswer` where
the request may have taken effect.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import aclosing, closing, contextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from airflow_kie.client.account import is_loopback
from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.errors import (
    KieBadAnswer,
    KieConnectionInvalid,
    KieError,
    KieInvalidRequest,
    KieNotSent,
    KieUnreachable,
)
from airflow_kie.client.http.deadline import DeadlineNetwork, request_deadline
from airflow_kie.client.redact import quiet_http_loggers

MOST_BYTES = 4 * 1024 * 1024
"""Bytes of one answer, decoded. KIE's largest known ones, the MIDI data of a song, stay below 1 MiB."""
CONNECT_SECONDS = 10.0
CONNECTIONS = 20
"""Connections that one client keeps open or waits for."""
_KEPT_OPEN_SECONDS = 30.0
_LONGEST_TEXT = 300
"""Characters of a library's words in an error: some repeat the whole line that they could not read."""

_NEVER_SENT = (
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.PoolTimeout,
    httpcore.ProxyError,  # the proxy refused the tunnel
    httpcore.UnsupportedProtocol,
)
_FAILURES = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError, ValueError)
_GZIP = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class BoundedClient:
    """Sends requests from code that may block; threads may share it.

    :param url: an address of the host that it sends to; it decides which of the environment's proxies is used.
    """

    def __init__(self, url: str) -> None:
        self._pool = httpcore.ConnectionPool(**_pool_settings(url), network_backend=DeadlineNetwork())
        self._turns = threading.Semaphore(CONNECTIONS)  # a request's time begins when it has a connection

    def send(self, request: httpx.Request, deadline: float, read_timeout: float) -> Response:
        """Send a request and return its answer, whatever its status.

        :param deadline: seconds for the whole request.
        :param read_timeout: seconds in which each piece of the answer has to come.
        :raises KieNotSent: when no connection was made.
        :raises KieUnreachable: when no whole answer came in time.
        :raises KieBadAnswer: when it is larger than allowed or cannot be decoded.
        """
        sent = _core(request, read_timeout)
        with self._turns, _deadline_in(deadline), _typed(), closing(self._pool.handle_request(sent)) as answer:
            body = _Body(answer)
            for piece in answer.iter_stream():
                body.add(piece)
            return body.response()

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


class AsyncBoundedClient:
    """Sends requests from one event loop; parameters as in :class:`BoundedClient`."""

    def __init__(self, url: str) -> None:
        self._pool = httpcore.AsyncConnectionPool(**_pool_settings(url))
        self._turns = asyncio.Semaphore(CONNECTIONS)

    async def send(self, request: httpx.Request, deadline: float, read_timeout: float) -> Response:
        """Send a request and return its answer; parameters and errors as in :meth:`BoundedClient.send`."""
        sent = _core(request, read_timeout)
        async with self._turns:
            with _typed():
                async with (
                    asyncio.timeout(deadline),
                    aclosing(await self._pool.handle_async_request(sent)) as answer,
                ):
                    body = _Body(answer)
                    async for piece in answer.aiter_stream():
                        body.add(piece)
                    return body.response()

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()


def built(method: str, url: str, headers: Mapping[str, str], **content: Any) -> httpx.Request:
    """Return a request that can be sent.

    :param method: GET, POST, PATCH.
    :param url: where to.
    :param headers: further headers.
    :param content: what httpx takes: `params`, `json`, `data`, `files`.
    :raises KieConnectionInvalid: when the address is invalid.
    :raises KieInvalidRequest: when the content cannot be written, such as half an emoji.
    """
    try:
        httpx.URL(url).host.encode("idna")  # what no resolver takes would fail there, without a type
    except (httpx.InvalidURL, UnicodeError):
        raise KieConnectionInvalid("The host is invalid") from None
    try:
        return httpx.Request(method, url, headers={"Accept-Encoding": "gzip", **headers}, **content)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise KieInvalidRequest(f"The request cannot be encoded ({type(error).__name__}); nothing was sent") from None


def headers_of(answer: httpcore.Response) -> dict[str, str]:
    """Return an answer's headers by lower-case name."""
    return {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in answer.headers}


class _Body:
    """An answer's body as it comes, decoded and counted."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._headers, self._status = headers_of(answer), answer.status
        self._pieces: list[bytes] = []
        self._came = self._size = 0
        encoding = self._headers.get("content-encoding", "").strip().lower()
        if encoding not in _GZIP | {"", "identity"}:
            raise KieBadAnswer("The answer has an encoding that was not requested", code=self._status)
        self._decoder = zlib.decompressobj(_GZIP_OR_ZLIB) if encoding in _GZIP else None

    def add(self, piece: bytes) -> None:
        """Decode a piece, no further than the bound."""
        self._came += len(piece)
        if self._decoder:
            try:
                piece = self._decoder.decompress(piece, MOST_BYTES - self._size + 1)
            except zlib.error:
                raise KieBadAnswer("The answer's compression is invalid", code=self._status) from None
        self._size += len(piece)
        if max(self._size, self._came) > MOST_BYTES:
            raise KieBadAnswer(f"The answer is larger than {MOST_BYTES:,} bytes", code=self._status)
        self._pieces.append(piece)

    def response(self) -> Response:
        """Return the whole answer."""
        if self._decoder and self._came and not self._decoder.eof:
            raise KieBadAnswer("The compressed answer is incomplete", code=self._status)
        return Response(self._status, self._headers, b"".join(self._pieces))


@contextmanager
def _deadline_in(seconds: float) -> Iterator[None]:
    token = request_deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        request_deadline.reset(token)


@contextmanager
def _typed() -> Iterator[None]:
    try:
        yield
    except KieError:
        raise
    except TimeoutError as error:
        raise KieUnreachable("The whole request has timed out") from error
    except _NEVER_SENT as error:
        raise KieNotSent(_words(error)) from error
    except ImportError as error:
        raise KieConnectionInvalid(f"The environment's proxy needs a library that is not installed: {error}") from None
    except _FAILURES as error:
        raise KieUnreachable(_words(error)) from error


def _words(error: BaseException) -> str:
    ours = isinstance(error, httpcore.LocalProtocolError)  # it repeats what we sent, such as a header
    text = "" if ours else str(error)[:_LONGEST_TEXT]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _core(request: httpx.Request, timeout: float) -> httpcore.Request:
    seconds = {"connect": min(CONNECT_SECONDS, timeout), "read": timeout, "write": timeout}
    url, headers = _core_url(request.url), request.headers.raw
    return httpcore.Request(
        request.method, url, headers=headers, content=request.stream, extensions={"timeout": seconds}
    )


def _core_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


@cache
def trusted_certificates() -> ssl.SSLContext:
    """Return certifi's certificates, or those of ``SSL_CERT_FILE``; loading them takes about 20 ms and a megabyte."""
    return httpx.create_ssl_context()


def _pool_settings(url: str) -> dict[str, Any]:
    quiet_http_loggers()
    return {
        "ssl_context": trusted_certificates(),
        "proxy": _environment_proxy(url),
        "max_connections": CONNECTIONS,
        "max_keepalive_connections": CONNECTIONS // 2,
        "keepalive_expiry": _KEPT_OPEN_SECONDS,
    }


def _environment_proxy(url: str) -> httpcore.Proxy | None:
    """Return the proxy that the environment names for an address; none is asked for this machine's own.

    :raises KieConnectionInvalid: when that is not the address of a proxy, or the address itself is none.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that hold no address
        raise KieConnectionInvalid("The host is invalid") from None
    if is_loopback(url) or not parts.hostname or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    known = getproxies()
    named = known.get(parts.scheme) or known.get("all")
    return proxy_at(named, "The environment's proxy") if named else None


def proxy_at(address: str, what: str) -> httpcore.Proxy:
    """Return the proxy at an address, such as ``http://user:password@proxy:3128``.

    :param what: whose address it is, for the error, which does not show it.
    :raises KieConnectionInvalid: when it is not the address of a proxy.
    """
    try:
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
    except (ValueError, httpx.InvalidURL):
        raise KieConnectionInvalid(f"{what} is not the address of a proxy") from None
    return httpcore.Proxy(_core_url(proxy.url), auth=proxy.raw_auth, headers=proxy.headers.raw)
