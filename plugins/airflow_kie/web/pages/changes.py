"""What every change by the pages needs: somebody with the right to it, who meant it, and a line in the audit log.

A change is a POST from one of our pages, with a header that no form and no foreign page can send: a login's cookie
alone changes nothing. Its body is JSON of at most 64 KiB, which is read only after the right was checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.params import Depends as Dependency
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from airflow_kie._airflow_private.api_server import may_trigger, read_access, trigger_access, who, write_audit_log
from airflow_kie.links.kie import SONG_PAGES_DAG_ID

HEADER = "x-kie-change"
MOST_BYTES = 64 * 1024


class ChangeRefused(Exception):
    """The requested change is invalid; nothing was changed.

    :param sentence: what a person reads.
    """


def remember_user() -> Callable[..., None]:
    """Return a dependency that keeps the user with the request."""
    user_of = Depends(who())

    def remember(request: Request, user: Any = user_of) -> None:
        request.state.kie_user = user

    return remember


def page_dependencies(dag_id: str | None = None) -> list[Dependency]:
    """Return what the routes of pages depend on: the right to read a DAG.

    :param dag_id: the DAG; None: the one that the path names.
    """
    return [Depends(step) for step in (read_access(dag_id), remember_user())]


def change_dependencies(dag_id: str | None = None) -> list[Dependency]:
    """Return what the routes of a change depend on: the right to trigger a DAG, one of our pages, then a body.

    :param dag_id: the DAG; None: the one that the path names.
    """
    return [Depends(step) for step in (trigger_access(dag_id), remember_user(), from_our_page, read_body)]


def from_our_page(request: Request) -> None:
    """Refuse what another site has made the browser send."""
    from_our_form(request)
    if HEADER not in request.headers:
        raise HTTPException(403)


def from_our_form(request: Request) -> None:
    """Refuse a form that another site has made the browser send: what it asks for is read, and changes nothing."""
    headers = request.headers
    site, origin = headers.get("sec-fetch-site", ""), headers.get("origin", "")
    try:
        is_ours = site == "same-origin" if site else not origin or urlsplit(origin).netloc == headers.get("host")
    except ValueError:  # brackets that hold no address
        is_ours = False
    if not is_ours:
        raise HTTPException(403)


async def read_content(request: Request) -> None:
    """Keep a request's body with it."""
    await keep_content(request, MOST_BYTES)


async def keep_content(request: Request, most: int) -> None:
    """Keep a request's body with it.

    :param most: bytes.
    :raises ChangeRefused: when it is longer than what our pages send.
    """
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > most:
            raise ChangeRefused("The request is too large.")
    request.state.kie_content = content


async def read_body(request: Request) -> None:
    """Keep the JSON map of a request's body with it."""
    await read_content(request)
    try:
        body = json.loads(request.state.kie_content or b"{}")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ChangeRefused("The request is invalid.")
    request.state.kie_body = body


def body_of(request: Request) -> Mapping[str, Any]:
    """Return what a change sent."""
    body: Mapping[str, Any] = request.state.kie_body
    return body


def user_name(request: Request) -> str:
    """Return the name of who asks."""
    return str(request.state.kie_user.get_name())


def dag_of(request: Request) -> str:
    """Return the DAG whose rights a page needs: that of the run in its path, or the one of the archive's pages."""
    return str(request.path_params.get("dag_id", SONG_PAGES_DAG_ID))


def may_change(request: Request) -> bool:
    """Return whether who asks may change what the page shows."""
    return may_trigger(request.state.kie_user, dag_of(request))


def audit(request: Request, event: str, **facts: Any) -> None:
    """Write into Airflow's audit log what somebody changes; before it is changed.

    :param event: what is done.
    :param facts: to what.
    """
    write_audit_log(event, request.state.kie_user, dag_of(request), facts)


def message_answer(sentence: str, status: int = 200, **more: Any) -> JSONResponse:
    """Return the answer to a change: a sentence for who made it.

    :param more: what the page's script needs to know.
    """
    return JSONResponse({"message": sentence, **more}, status, {"Cache-Control": "no-store"})
