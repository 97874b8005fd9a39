"""What the song pages answer with: a page made from a template, under a policy that lets it load nothing foreign."""
# No `from __future__ import annotations`: FastAPI reads the annotations of handlers that are made in functions.

import base64
import functools
import hashlib
import logging
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException

from airflow_kie.archive.record_base import ArchiveUnreadable
from airflow_kie.client.errors.base import KieError
from airflow_kie.client.task_ids import KeyRefused
from airflow_kie.hooks.spending_switch import stops
from airflow_kie.links.kie import SONG_PAGES_DAG_ID
from airflow_kie.web.pages.files import EVERYWHERE
from airflow_kie.web.pages.queries import SongQueries
from airflow_kie.web.pages.view_model import day, length

log = logging.getLogger(__name__)

_TEMPLATES = Environment(loader=PackageLoader(__package__, "templates"), autoescape=True, undefined=StrictUndefined)


def _size(size: int) -> str:
    return f"{size / 1024**2:,.1f} MB" if size >= 1024**2 else f"{max(1, size // 1024):,} KB"


_TEMPLATES.filters.update(day=day, length=length, size=_size, part=lambda text: quote(str(text), safe=""))


def _inline(name: str) -> str:
    """Put a file of ours into the templates; return the source with which a policy allows it, and no other."""
    # Without the last line's end, so that the hash is that of what stands between <style> and </style>.
    text = PackageLoader(__package__, "templates").get_source(_TEMPLATES, name)[0].strip()
    _TEMPLATES.globals["style" if name.endswith(".css") else "script"] = Markup(text)  # noqa: S704 - our own file
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


PAGE_POLICY = (
    f"default-src 'none'; img-src 'self'; media-src 'self'; style-src {_inline('style.css')}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
REFRESHING_POLICY = f"{PAGE_POLICY}; script-src {_inline('refresh.js')}; connect-src 'self'"
"""Of a page that asks for itself again: one script, word for word, which can ask nobody else."""
_PAGE_HEADERS = {"Cache-Control": "no-store", **EVERYWHERE}


class NothingToShow(Exception):
    """There is a sentence instead of a song.

    :param heading: in a few words.
    :param sentence: what a person can do.
    :param status: HTTP status.
    """

    def __init__(self, heading: str, sentence: str, status: int = 404) -> None:
        super().__init__(heading)
        self.heading, self.sentence, self.status = heading, sentence, status


def page_answer(
    request: Request, template: str, status: int = 200, refresh: int = 0, *, logged_in: bool = True, **shown: Any
) -> Response:
    """Return a page; 304 to one that asks for itself again and has nothing new to show.

    :param template: its template.
    :param status: HTTP status.
    :param refresh: seconds after which it asks again by itself; 0: never.
    :param logged_in: False where nobody has checked who asks: such a page says nothing about this Airflow.
    :param shown: what the template shows.
    """
    shown["notices"] = spending_notices() if logged_in else []
    # In Airflow's frame, links out of it lead nowhere. The script in a framed page says so: its requests have no frame.
    framed = request.headers.get("sec-fetch-dest", "") == "iframe" or "x-kie-framed" in request.headers
    text = _TEMPLATES.get_template(template).render(
        root=root_of(request), airflow=_airflow_root(request), framed=framed, refresh=refresh, **shown
    )
    policy = REFRESHING_POLICY if refresh else PAGE_POLICY
    tag = f'"{hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]}"'
    headers = {**_PAGE_HEADERS, "Content-Security-Policy": policy, "ETag": tag}
    if status == 200 and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return HTMLResponse(text, status, headers)


def spending_notices() -> list[str]:
    """Return a sentence for each account whose new paid tasks somebody has stopped."""
    try:
        return [stop.sentence() for stop in stops().values()]
    except Exception as error:  # noqa: BLE001 - the songs are shown without it
        log.warning("Whether new paid tasks are stopped could not be read: %s", type(error).__name__)
        return []


def root_of(request: Request) -> str:
    """Return the path under which this app is mounted, with what `[api] base_url` puts before it."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def _airflow_root(request: Request) -> str:
    return root_of(request).removesuffix("/kie")


def run_root(request: Request, dag_id: str, run_id: str) -> str:
    return f"{root_of(request)}/runs/{quote(dag_id, safe='')}/{quote(run_id, safe='')}"


def add_refusals(app: FastAPI, world: SongQueries) -> None:
    """Let every refusal be a page with a sentence."""
    say = functools.partial(page_answer, template="message.html", login="", back=False)

    @app.exception_handler(NothingToShow)
    def nothing(request: Request, error: NothingToShow) -> Response:
        return say(request, status=error.status, heading=error.heading, sentence=error.sentence)

    @app.exception_handler(KeyRefused)
    def no_id(request: Request, error: KeyRefused) -> Response:
        return say(request, status=404, heading="This is no music task id", sentence=error.facts.message, back=True)

    @app.exception_handler(ArchiveUnreadable)
    def unreadable(request: Request, error: ArchiveUnreadable) -> Response:
        log.warning("Song page %s: %s", request.url.path, error)
        sentence = f"{error.facts.message}. {error.todo}"  # which object it is has to be known for it to be fixed
        return say(request, status=503, heading=error.what, sentence=sentence, back=True)

    @app.exception_handler(KieError)
    def refused(request: Request, error: KieError) -> Response:
        log.warning("Song page %s: %s", request.url.path, error)
        return say(request, status=503, heading=error.what, sentence=error.todo)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        heading, sentence = _HTTP.get(error.status_code, _HTTP[404])
        login = world.login_address(str(request.url)) if error.status_code == 401 else ""
        return say(request, status=error.status_code, heading=heading, sentence=sentence, login=login, logged_in=False)


_HTTP = {
    401: ("You are not logged in", "Log in to Airflow, then open this page again."),
    403: (
        "You may not see this",
        f"It needs the right to read DAG {SONG_PAGES_DAG_ID}, or the run's own DAG.",
    ),
    404: ("There is no such page", "The songs stand under /kie/songs."),
    405: ("There is no such page", "The songs stand under /kie/songs."),
}
