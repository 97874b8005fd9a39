"""The song pages' answers: pages made from templates, under a policy that lets them load nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.exceptions import HTTPException

from airflow_kie._airflow_private.api_server import login_address
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.client.errors.base import KieError
from airflow_kie.client.task_ids import KeyRefused
from airflow_kie.hooks.spending_switch import stops
from airflow_kie.links.kie import SONG_PAGES_DAG_ID
from airflow_kie.web.pages.changes import ChangeRefused, message_answer
from airflow_kie.web.pages.shown_files import day, length

log = logging.getLogger(__name__)

HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
}
"""Headers of every answer."""

_CODE = re.compile(r"`([^`]{1,200})`")
_LOADER = PackageLoader(__package__, "templates")
_ENVIRONMENT = Environment(loader=_LOADER, autoescape=True, undefined=StrictUndefined)
_ENVIRONMENT.filters.update(
    day=day,
    length=length,
    part=lambda text: quote(str(text), safe=""),
    coded=lambda text: Markup(_CODE.sub(r"<code>\1</code>", str(escape(text)))),  # noqa: S704 - it is escaped
)


def _source(text: str) -> str:
    """Return the source with which a policy allows one of our texts, and nothing else."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(name: str) -> str:
    # Without the last line's end, so that the hash is that of the text between <style> and </style>.
    return _LOADER.get_source(_ENVIRONMENT, name)[0].strip()


_ENVIRONMENT.globals["style_css"] = Markup(_text("style.css"))  # noqa: S704 - our own file
PAGE_POLICY = (
    f"default-src 'none'; img-src 'self'; media-src 'self'; style-src {_source(_text('style.css'))}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)


@cache
def _script(names: tuple[str, ...]) -> tuple[Markup, str]:
    """Return the script of a page, made of some of our files, and the policy with which nothing else runs.

    Without files it follows Airflow's theme and the reader's time zone, and asks nobody anything.
    """
    text = "\n".join(map(_text, ("theme.js", *names, "times.js")))
    asks = "; connect-src 'self'" if names else ""
    return Markup(text), f"{PAGE_POLICY}; script-src {_source(text)}{asks}"  # noqa: S704 - our own files


def _of_request(request: Request) -> dict[str, Any]:
    """Return what every template shows of a request."""
    root = address(request)
    return {"root": root, "airflow": root.removesuffix("/kie"), "framed": _is_framed(request)}


def _is_framed(request: Request) -> bool:
    """Return whether a page is in Airflow's frame, out of which links lead nowhere; a script in such a page says so."""
    return request.headers.get("sec-fetch-dest", "") == "iframe" or "x-kie-framed" in request.headers


_TEMPLATES = Jinja2Templates(env=_ENVIRONMENT, context_processors=[_of_request])


class NothingToShow(HTTPException):
    """There is a sentence instead of a song.

    :param heading: in a few words.
    :param sentence: what a person can do.
    """

    def __init__(self, heading: str, sentence: str) -> None:
        super().__init__(404, sentence)
        self.heading = heading


def page_answer(
    request: Request,
    template: str,
    status: int = 200,
    refresh: int = 0,
    *,
    scripts: tuple[str, ...] = (),
    logged_in: bool = True,
    **shown: Any,
) -> Response:
    """Return a page; 304 to one that asks for itself again and has nothing new to show.

    :param template: its template.
    :param status: HTTP status.
    :param refresh: seconds after which it asks again by itself; 0: never.
    :param scripts: what its script does besides, of the templates; it can ask nobody but this server.
    :param logged_in: False where nobody has checked who asks: such a page says nothing about this Airflow.
    :param shown: what the template shows.
    """
    scripts = scripts or (("refresh.js",) if refresh else ())
    is_page = status == 200 or scripts or _is_framed(request)
    script, policy = _script(scripts) if is_page else (Markup(""), PAGE_POLICY)
    shown |= {"refresh": refresh, "script": script, "notices": spending_notices() if logged_in else []}
    headers = {"Cache-Control": "no-store", "Content-Security-Policy": policy, **HEADERS}
    page = _TEMPLATES.TemplateResponse(request, template, shown, status, headers)
    tag = page.headers["ETag"] = f'"{hashlib.sha256(page.body).hexdigest()[:32]}"'
    if status == 200 and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={**headers, "ETag": tag})
    return page


def rendered(template: str, **shown: Any) -> str:
    """Return a page of its own, which leads nowhere.

    :param template: its template.
    :param shown: what it shows.
    """
    return _ENVIRONMENT.get_template(template).render(shown)


def spending_notices() -> list[str]:
    """Return a sentence for each account whose new paid tasks somebody has stopped."""
    try:
        return [stop.sentence() for stop in stops().values()]
    except Exception as error:  # noqa: BLE001 - the songs are shown without it
        log.warning("The spending switch could not be read: %s", type(error).__name__)
        return []


def address(request: Request, *parts: str) -> str:
    """Return a path below the one under which this app is mounted, with what `[api] base_url` puts before it."""
    root = str(request.scope.get("root_path", "")).rstrip("/")
    return "/".join((root, *(quote(part, safe="") for part in parts)))


def add_refusals(app: FastAPI) -> None:
    """Let every refusal be a page with a sentence."""

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        if isinstance(error, NothingToShow):
            return _message(request, 404, error.heading, error.detail)
        heading, sentence = _HTTP.get(error.status_code, _HTTP[404])
        login = login_address(str(request.url)) if error.status_code == 401 else ""
        return _message(request, error.status_code, heading, sentence, login=login, logged_in=False)

    @app.exception_handler(ChangeRefused)
    def change_refused(request: Request, error: ChangeRefused) -> Response:
        return message_answer(str(error), 400)

    @app.exception_handler(KieError)
    def refused(request: Request, error: KieError) -> Response:
        if isinstance(error, KeyRefused):
            return _message(request, 404, "This is not a music task id", error.facts.message, back=True)
        log.warning("Song page %s: %s", request.url.path, error)
        if isinstance(error, ArchiveUnreadable):  # which object it is has to be known for it to be fixed
            return _message(request, 503, error.what, f"{error.facts.message}. {error.todo}", back=True)
        return _message(request, 503, error.what, error.todo)


def _message(request: Request, status: int, heading: str, sentence: str, **more: Any) -> Response:
    shown = {"heading": heading, "sentence": sentence, "login": "", "back": False, **more}
    return page_answer(request, "message.html", status, **shown)


_HTTP = {
    401: ("You are not logged in", "Log in to Airflow, then open this page again."),
    403: ("Access denied", f"You need permission to read DAG {SONG_PAGES_DAG_ID}, or the run's own DAG."),
    404: ("Page not found", "The songs are at /kie/songs."),
}
