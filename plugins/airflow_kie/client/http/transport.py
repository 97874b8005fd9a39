"""Sending requests to KIE: one client per process, event loop and account, never one per task.

Redirects are never followed, so the key reaches KIE's hosts and no other. What bounds an answer is in `bounded`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from contextlib import closing
from typing import Any
from weakref import WeakKeyDictionary

import httpx

from airflow_kie.client.account import KieAccount
from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.http.bounded import AsyncBoundedClient, BoundedClient, built, trusted_certificates
from airflow_kie.client.operations.operation import Host
from airflow_kie.client.requests import Request
from airflow_kie.threads import in_thread

USER_AGENT = "airflow-provider-kie-ai"
ELSEWHERE_SECONDS = 15.0
"""Seconds for a whole request to an address that is not KIE's."""


class KieTransport:
    """Sends requests for one account, from code that may block."""

    def __init__(self, account: KieAccount) -> None:
        self.account = account
        self._clients = {host: BoundedClient(account.url(host, "/")) for host in Host}

    def send(self, request: Request) -> Response:
        """Send a request and return the answer, whatever its status.

        A POST may be a paid create, so it gets a connection of its own: one that was kept open may be closed by KIE in
        the very moment in which it is used again, and then it is not known whether the request has arrived.

        :raises KieNotSent: when no connection was made.
        :raises KieUnreachable: when no whole answer came in time; the request may have taken effect.
        :raises KieBadAnswer: when the answer is larger than allowed or cannot be decoded; as above.
        :raises KieConnectionInvalid: when the connection's host is invalid; nothing was sent.
        :raises KieInvalidRequest: when the request cannot be written; nothing was sent.
        """
        ready = _ready(self.account, request)
        if request.method != "POST":
            return self._clients[request.host].send(*ready)
        with closing(BoundedClient(self.account.url(request.host, "/"))) as own:
            return own.send(*ready)

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()


class KieAsyncTransport:
    """Sends requests for one account, from an event loop."""

    def __init__(self, account: KieAccount) -> None:
        self.account = account
        self._clients = {host: AsyncBoundedClient(account.url(host, "/")) for host in Host}

    async def send(self, request: Request) -> Response:
        """Send a request and return the answer, whatever its status; errors as in :meth:`KieTransport.send`."""
        ready = _ready(self.account, request)
        if request.method != "POST":
            return await self._clients[request.host].send(*ready)
        own = AsyncBoundedClient(self.account.url(request.host, "/"))
        try:
            return await own.send(*ready)
        finally:
            await own.close()

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.close()


_sync: dict[KieAccount, KieTransport] = {}
_sync_lock = threading.Lock()
_async: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[KieAccount, KieAsyncTransport]] = WeakKeyDictionary()


def _forget_parent() -> None:
    """Let a fork begin with no connection of its parent, nor with a lock that a thread of the parent held."""
    global _sync_lock
    _sync_lock = threading.Lock()
    _sync.clear()
    _async.clear()


os.register_at_fork(after_in_child=_forget_parent)


def shared_transport(account: KieAccount) -> KieTransport:
    """Return this process's transport for an account; a fork gets its own."""
    with _sync_lock:
        if account not in _sync:
            _sync[account] = KieTransport(account)
        return _sync[account]


async def shared_async_transport(account: KieAccount) -> KieAsyncTransport:
    """Return the running event loop's transport for an account."""
    for ended in [loop for loop in _async if loop.is_closed()]:
        _async.pop(ended, None)  # a transport holds on to its loop, so the weak key alone does not free it
    transports = _async.setdefault(asyncio.get_running_loop(), {})
    if account not in transports:
        await in_thread(trusted_certificates)  # loaded once, for 20 ms that would block the loop
    if account not in transports:  # hundreds of triggers start at once
        transports[account] = KieAsyncTransport(account)
    return transports[account]


def post_anywhere(url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """Post JSON once to an address that is not KIE's: without the key, and following no redirect.

    :param url: where to.
    :param body: what to send.
    :param headers: further headers.
    :raises KieUnreachable: when no whole answer came in time.
    :raises KieBadAnswer: when the answer is larger than allowed or cannot be decoded.
    :raises KieConnectionInvalid: when the address is invalid.
    """
    with closing(BoundedClient(url)) as client:
        request = built("POST", url, {"User-Agent": USER_AGENT, **(headers or {})}, json=dict(body))
        return client.send(request, ELSEWHERE_SECONDS, ELSEWHERE_SECONDS)


def _ready(account: KieAccount, request: Request) -> tuple[httpx.Request, float, float]:
    """Return what a client sends: the request, the seconds for all of it and those for each piece of the answer."""
    headers = {
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Authorization": f"Bearer {account.api_key}",
        **request.headers,
    }
    content: dict[str, Any] = {"params": dict(request.params)} if request.params else {}
    if request.files is not None:
        content |= {"files": dict(request.files), "data": dict(request.form or {})}
    elif request.json is not None:
        content["json"] = dict(request.json)
    else:
        headers["Content-Type"] = "application/json"  # KIE wants it on every request
    deadline = account.upload_deadline if request.host is Host.UPLOAD else account.deadline
    url = account.url(request.host, request.path)
    return built(request.method, url, headers, **content), deadline, account.timeout
