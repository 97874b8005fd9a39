"""Sending requests over httpx: one client per process, event loop and account, never one per task.

This module and `download` are the only ones that know the HTTP library. Redirects are never followed, so the key
reaches KIE's hosts and no other. Building a client costs about 20 ms and a megabyte (a TLS context), hence the cache.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Mapping
from typing import Any, TypedDict

import httpx

from airflow_kie.client import errors
from airflow_kie.client.account import KieAccount, is_loopback
from airflow_kie.client.envelope import Response
from airflow_kie.client.redact import quiet_http_loggers
from airflow_kie.client.requests import Request

USER_AGENT = "airflow-provider-kie-ai"
_LIMITS = httpx.Limits(max_connections=20, max_keepalive_connections=10, keepalive_expiry=30)

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class KieNotSent(errors.KieUnreachable):
    """No connection came about: the request certainly never reached KIE."""

    reason = "not_sent"


class _Settings(TypedDict):
    headers: Mapping[str, str]
    timeout: httpx.Timeout
    limits: httpx.Limits
    follow_redirects: bool
    trust_env: bool


class KieTransport:
    """Sends requests for one account, from code that may block."""

    def __init__(self, account: KieAccount) -> None:
        self.account = account
        self._client = httpx.Client(**_settings(account))

    def send(self, request: Request) -> Response:
        """Send a request and return the answer, whatever its status.

        :raises KieNotSent: when no connection came about.
        :raises KieUnreachable: when no answer came; the request may have taken effect.
        """
        try:
            answer = self._client.request(**_arguments(self.account, request))
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        return _response(answer)

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
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        return _response(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


_sync: dict[tuple[int, KieAccount], KieTransport] = {}
_sync_lock = threading.Lock()
_async: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[KieAccount, KieAsyncTransport]]
_async = weakref.WeakKeyDictionary()


def shared_transport(account: KieAccount) -> KieTransport:
    """Return this process's transport for an account; a fork gets its own."""
    key = (os.getpid(), account)
    with _sync_lock:
        for stale in [other for other in _sync if other[0] != key[0]]:
            del _sync[stale]
        if key not in _sync:
            _sync[key] = KieTransport(account)
        return _sync[key]


async def shared_async_transport(account: KieAccount) -> KieAsyncTransport:
    """Return the running event loop's transport for an account.

    The TLS context is made in a thread: it takes about 20 ms, in which a triggerer's loop would stand still.
    """
    transports = _async.setdefault(asyncio.get_running_loop(), {})
    if account not in transports:
        made = await asyncio.to_thread(KieAsyncTransport, account)
        transports.setdefault(account, made)
    return transports[account]


def _settings(account: KieAccount) -> _Settings:
    quiet_http_loggers()
    return {
        "headers": {"User-Agent": USER_AGENT, "Accept": "application/json"},
        "timeout": httpx.Timeout(account.timeout, connect=10.0, pool=None),
        "limits": _LIMITS,
        "follow_redirects": False,
        # A proxy from the environment would be asked for loopback addresses too.
        "trust_env": not is_loopback(account.api_url),
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


def _unreachable(error: httpx.HTTPError) -> errors.KieUnreachable:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return KieNotSent(text) if isinstance(error, _NEVER_SENT) else errors.KieUnreachable(text)
