"""Sending requests over httpx: one client per process, event loop and account, never one per task.

This module and `download` are the only ones that know the HTTP library. Redirects are never followed, so the key
reaches KIE's hosts and no other. Building a client costs about 20 ms and a megabyte (a TLS context), hence the cache.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
import weakref
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypedDict

import httpx

from airflow_kie.client.account import KieAccount, is_loopback
from airflow_kie.client.envelope import Response
from airflow_kie.client.errors import KieConnectionInvalid, KieError, KieNotSent, KieUnreachable
from airflow_kie.client.redact import quiet_http_loggers
from airflow_kie.client.requests import Request

USER_AGENT = "airflow-provider-kie-ai"
_LIMITS = httpx.Limits(max_connections=20, max_keepalive_connections=10, keepalive_expiry=30)

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,  # the proxy refused the tunnel
    httpx.UnsupportedProtocol,
)


class _Settings(TypedDict):
    headers: Mapping[str, str]
    cookies: CookieJar
    timeout: httpx.Timeout
    limits: httpx.Limits
    follow_redirects: bool
    trust_env: bool
    verify: ssl.SSLContext


class KieTransport:
    """Sends requests for one account, from code that may block."""

    def __init__(self, account: KieAccount) -> None:
        self.account = account
        self._settings = _settings(account)
        self._client = httpx.Client(**self._settings)

    def send(self, request: Request) -> Response:
        """Send a request and return the answer, whatever its status.

        A POST may be a paid create, so it gets a connection of its own: one that was kept open may be closed by KIE in
        the very moment in which it is used again, and then nobody knows whether the request has arrived.

        :raises KieNotSent: when no connection came about.
        :raises KieUnreachable: when no answer came; the request may have taken effect.
        :raises KieConnectionInvalid: when the connection's host is no host.
        """
        try:
            if request.method == "POST":
                with httpx.Client(**self._settings) as own:
                    return _response(own.request(**_arguments(self.account, request)))
            return _response(self._client.request(**_arguments(self.account, request)))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unreachable(error) from error

    @property
    def closed(self) -> bool:
        """Whether the connections are closed for good."""
        return self._client.is_closed

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class KieAsyncTransport:
    """Sends requests for one account, from an event loop."""

    def __init__(self, account: KieAccount) -> None:
        self.account = account
        self._client = httpx.AsyncClient(**_settings(account))

    async def send(self, request: Request) -> Response:
        """Send a request and return the answer, whatever its status; errors as in :meth:`KieTransport.send`."""
        try:
            answer = await self._client.request(**_arguments(self.account, request))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unreachable(error) from error
        return _response(answer)

    @property
    def closed(self) -> bool:
        """Whether the connections are closed for good."""
        return self._client.is_closed

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


_sync: dict[KieAccount, KieTransport] = {}
_sync_lock = threading.Lock()
_async: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[KieAccount, KieAsyncTransport]]
_async = weakref.WeakKeyDictionary()
_making: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()


def _forget_parent() -> None:
    """Let a fork begin with no connection of its parent, nor with a lock that a thread of the parent held."""
    global _sync_lock
    _sync_lock = threading.Lock()
    _sync.clear()
    _async.clear()
    _making.clear()


os.register_at_fork(after_in_child=_forget_parent)


def shared_transport(account: KieAccount) -> KieTransport:
    """Return this process's transport for an account; a fork gets its own."""
    with _sync_lock:
        transport = _sync.get(account)
        if transport is None or transport.closed:
            transport = _sync[account] = KieTransport(account)
        return transport


async def shared_async_transport(account: KieAccount) -> KieAsyncTransport:
    """Return the running event loop's transport for an account.

    The TLS context is made in a thread: it takes about 20 ms, in which a triggerer's loop would stand still.
    """
    for ended in [loop for loop in _async if loop.is_closed()]:
        _async.pop(ended, None)  # a transport holds on to its loop, so the weak key alone frees neither
        _making.pop(ended, None)
    transports = _async.setdefault(asyncio.get_running_loop(), {})
    if account not in transports or transports[account].closed:
        async with _making.setdefault(asyncio.get_running_loop(), asyncio.Lock()):  # hundreds of triggers start at once
            if account not in transports or transports[account].closed:
                transports[account] = await asyncio.to_thread(KieAsyncTransport, account)
    return transports[account]


def post_anywhere(url: str, body: Mapping[str, Any], timeout: float = 15.0) -> Response:
    """Post JSON once to an address that is not KIE's: without the key, and following no redirect.

    :param url: where to.
    :param body: what to send.
    :param timeout: seconds.
    :raises KieUnreachable: when no answer came.
    :raises KieConnectionInvalid: when the address is none.
    """
    quiet_http_loggers()
    try:
        answer = httpx.post(url, json=dict(body), timeout=timeout, trust_env=not is_loopback(url))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _unreachable(error) from error
    return _response(answer)


def _settings(account: KieAccount) -> _Settings:
    quiet_http_loggers()
    # A proxy from the environment would be asked for loopback addresses too.
    trust_env = not is_loopback(account.api_url)
    return {
        "headers": {"User-Agent": USER_AGENT, "Accept": "application/json"},
        # KIE sets a session cookie with every answer; requests of different tasks share no session.
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        "timeout": httpx.Timeout(account.timeout, connect=10.0, pool=None),
        "limits": _LIMITS,
        "follow_redirects": False,
        "trust_env": trust_env,
        "verify": httpx.create_ssl_context(trust_env=trust_env),  # made once: it is what a client costs
    }


def _arguments(account: KieAccount, request: Request) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "method": request.method,
        "url": account.url(request.host, request.path),
        "headers": {"Authorization": f"Bearer {account.api_key}"},
    }
    if request.params:
        arguments["params"] = dict(request.params)
    if request.files is not None:
        arguments["files"] = dict(request.files)
        arguments["data"] = dict(request.form or {})
    elif request.json is not None:
        arguments["json"] = dict(request.json)
    else:
        arguments["headers"]["Content-Type"] = "application/json"  # KIE wants it on every request
    return arguments


def _response(answer: httpx.Response) -> Response:
    return Response(answer.status_code, {key.lower(): value for key, value in answer.headers.items()}, answer.content)


def _unreachable(error: httpx.HTTPError | httpx.InvalidURL) -> KieError:
    if isinstance(error, httpx.InvalidURL):
        return KieConnectionInvalid("The host is no host")
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return KieNotSent(text) if isinstance(error, _NEVER_SENT) else KieUnreachable(text)
