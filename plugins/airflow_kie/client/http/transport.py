"""Sending requests to KIE: one client per process, event loop and account, never one per task.

Redirects are never followed, so the key reaches KIE's hosts and no other. Building a client costs about 20 ms and a
megabyte (a TLS context), hence the cache. How much an answer may be stands in `bounded`.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
import weakref
from collections.abc import Mapping
from typing import Any

import httpx

from airflow_kie.client.account import KieAccount, is_loopback
from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.http.bounded import AsyncBoundedClient, BoundedClient, Bounds, built
from airflow_kie.client.operations.operation import Host
from airflow_kie.client.redact import quiet_http_loggers
from airflow_kie.client.requests import Request

USER_AGENT = "airflow-provider-kie-ai"


class KieTransport:
    """Sends requests for one account, from code that may block."""

    def __init__(self, account: KieAccount) -> None:
        self.account = account
        self._verify = _trusted(account.api_url)  # made once: it is what a client costs
        self._clients = {host: BoundedClient(self._verify, account.url(host, "/")) for host in Host}

    def send(self, request: Request) -> Response:
        """Send a request and return the answer, whatever its status.

        A POST may be a paid create, so it gets a connection of its own: one that was kept open may be closed by KIE in
        the very moment in which it is used again, and then nobody knows whether the request has arrived.

        :raises KieNotSent: when no connection came about.
        :raises KieUnreachable: when no whole answer came in time; the request may have taken effect.
        :raises KieBadAnswer: when the answer is larger than allowed or cannot be decoded; as above.
        :raises KieConnectionInvalid: when the connection's host is no host; nothing was sent.
        :raises KieInvalidRequest: when the request cannot be written; nothing was sent.
        """
        ready, bounds = _ready(self.account, request), _bounds(self.account, request)
        if request.method != "POST":
            return self._clients[request.host].send(ready, bounds)
        own = BoundedClient(self._verify, self.account.url(request.host, "/"))
        try:
            return own.send(ready, bounds)
        finally:
            own.close()

    @property
    def closed(self) -> bool:
        """Whether the connections are closed for good."""
        return any(client.closed for client in self._clients.values())

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()


class KieAsyncTransport:
    """Sends requests for one account, from an event loop."""

    def __init__(self, account: KieAccount) -> None:
        self.account = account
        verify = _trusted(account.api_url)
        self._clients = {host: AsyncBoundedClient(verify, account.url(host, "/")) for host in Host}

    async def send(self, request: Request) -> Response:
        """Send a request and return the answer, whatever its status; errors as in :meth:`KieTransport.send`."""
        ready, bounds = _ready(self.account, request), _bounds(self.account, request)
        return await self._clients[request.host].send(ready, bounds)

    @property
    def closed(self) -> bool:
        """Whether the connections are closed for good."""
        return any(client.closed for client in self._clients.values())

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.close()


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
    :param timeout: seconds for all of it.
    :raises KieUnreachable: when no whole answer came in time.
    :raises KieBadAnswer: when the answer is larger than allowed or cannot be decoded.
    :raises KieConnectionInvalid: when the address is none.
    """
    quiet_http_loggers()
    client = BoundedClient(_trusted(url), url)
    try:
        return client.send(built("POST", url, {"User-Agent": USER_AGENT}, json=dict(body)), Bounds(timeout, timeout))
    finally:
        client.close()


def _trusted(url: str) -> ssl.SSLContext:
    quiet_http_loggers()
    return httpx.create_ssl_context(trust_env=not is_loopback(url))


def _bounds(account: KieAccount, request: Request) -> Bounds:
    uploads = request.host is Host.UPLOAD
    return Bounds(account.upload_deadline if uploads else account.deadline, account.timeout)


def _ready(account: KieAccount, request: Request) -> httpx.Request:
    headers = {
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Authorization": f"Bearer {account.api_key}",
    }
    content: dict[str, Any] = {"params": dict(request.params)} if request.params else {}
    if request.files is not None:
        content |= {"files": dict(request.files), "data": dict(request.form or {})}
    elif request.json is not None:
        content["json"] = dict(request.json)
    else:
        headers["Content-Type"] = "application/json"  # KIE wants it on every request
    return built(request.method, account.url(request.host, request.path), headers, **content)
