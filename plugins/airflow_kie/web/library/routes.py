"""The library's pages: search and browse everything that is archived. They need the right to read DAG `music_cover`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from typing import Annotated, Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from airflow_kie._airflow_private.api_server import may_trigger
from airflow_kie.archive.choice import CHOSEN_KINDS
from airflow_kie.archive.delivery.upscale import most_credits
from airflow_kie.archive.index.entry import IndexEntry, IndexFile
from airflow_kie.archive.layout import TaskKeys
from airflow_kie.archive.manifest import TaskManifest
from airflow_kie.archive.record_base import label_map
from airflow_kie.client.catalogue import prices
from airflow_kie.client.errors import FileDamaged
from airflow_kie.client.operations.suno_tracks import WAV
from airflow_kie.links.kie import GENERATE_DAG_ID, SONG_PAGES_DAG_ID
from airflow_kie.web.library.catalogues import MUSIC, catalogue_of, keys_of
from airflow_kie.web.library.releases import DELIVER_DAG_ID
from airflow_kie.web.library.search import MEDIA, ORDERS, STATES, Search
from airflow_kie.web.library.thumbnails import thumbnail
from airflow_kie.web.own_threads import PageRouter
from airflow_kie.web.pages.changes import may_change, page_dependencies
from airflow_kie.web.pages.files import FILE_POLICY, file_answer
from airflow_kie.web.pages.queries import Place
from airflow_kie.web.pages.responses import HEADERS, NothingToShow, address, page_answer
from airflow_kie.web.pages.routes import place_of
from airflow_kie.web.pages.shown_files import cut, length
from airflow_kie.web.pages.view_model import task_page

PER_PAGE = 48
_LONGEST = 200
"""Characters that are searched for."""
_LONGEST_LABEL = 256 + len(": ") + 256
_LAST_PAGE = 2000
VIEWS = ("grid", "list")
_FILTERS = ("text", "medium", "model", "state", "label", "since", "until")


@dataclass(frozen=True)
class Card:
    """One result as the library shows it.

    :param title: its title, or its operation.
    :param subtitle: what else is known, in one line.
    :param archived: the day in UTC; the page's script shows it in the reader's zone.
    :param more: what a list has room for: style and labels.
    :param page: where all of it is shown.
    :param picture: a small picture; empty: it has none.
    :param sound: its chosen or first audio file; empty: it has none.
    :param choice: where a choice of its covers is sent; empty: there is nothing to choose.
    """

    entry: IndexEntry
    title: str
    subtitle: str
    archived: str
    more: str
    page: str
    picture: str
    sound: str
    choice: str


def add_library(app: FastAPI) -> None:
    """Add the library to the app that is mounted in the api-server."""
    router = PageRouter(dependencies=page_dependencies(SONG_PAGES_DAG_ID))
    router.add_api_route("/library", library)
    router.add_api_route("/library/neighbours/{operation}/{task_id}", neighbours)
    router.add_api_route("/library/thumbnails/{operation}/{task_id}", picture)
    router.add_api_route("/tasks/{operation}/{task_id}", task)
    router.add_api_route("/tasks/{operation}/{task_id}/files/{name}", file)
    app.include_router(router, include_in_schema=False)


def search_of(
    q: str = "",
    medium: str = "",
    model: str = "",
    state: str = "",
    label: str = "",
    since: str = "",
    until: str = "",
    zone: str = "",
    sort: str = "newest",
) -> Search:
    """Return the search that an address asks for."""
    days = (_date(since), _date(until), _zone(zone) if since or until else "")
    return Search(q[:_LONGEST], medium, model[:_LONGEST], state, label[:_LONGEST_LABEL], *days, sort)


def library(
    request: Request,
    place: Annotated[Place, Depends(place_of)],
    search: Annotated[Search, Depends(search_of)],
    page: str = "1",
    view: str = "grid",
) -> Response:
    """Show what is archived and matches the search, as a grid or as a list."""
    number = min(max(1, int(page)), _LAST_PAGE) if page.isascii() and page.isdigit() and len(page) < 9 else 1
    may_generate = may_trigger(request.state.kie_user, GENERATE_DAG_ID)
    may_deliver = may_trigger(request.state.kie_user, DELIVER_DAG_ID)
    changing = may_change(request)
    found = catalogue_of(place).find(search, (number - 1) * PER_PAGE, PER_PAGE)
    pages = min(_LAST_PAGE, max(1, -(-found.count // PER_PAGE)))
    return page_answer(
        request,
        "library.html",
        scripts=(
            "changes.js",
            "library.js",
            *(("new_song.js",) if may_generate else ()),
            *(("labels.js",) if changing else ()),
            *(("release.js",) if may_deliver else ()),
        ),
        may_deliver=may_deliver,
        wav_credits=prices.quote(WAV, {}).high,
        cover_credits=most_credits(),
        may_generate=may_generate,
        may_change=changing,
        label_names=sorted({text.partition(": ")[0] for text in found.counts["label"]}),
        view=view if view in VIEWS else VIEWS[0],
        views=VIEWS,
        states=tuple(STATES),
        cards=[_card(request, entry) for entry in found.entries],
        found=found,
        search=search,
        media=MEDIA,
        orders=tuple(ORDERS),
        number=min(number, pages),
        pages=pages,
        query=query_of(search, view),
        searched=any(asdict(search)[name] for name in _FILTERS),
    )


def neighbours(
    request: Request,
    operation: str,
    task_id: str,
    place: Annotated[Place, Depends(place_of)],
    search: Annotated[Search, Depends(search_of)],
    view: str = VIEWS[0],
) -> Response:
    """Return the way from a result to those before and after it in a search, and back to the search."""
    query = query_of(search, view)
    found = catalogue_of(place).neighbours(search, f"{operation}/{task_id}")
    cards = [_card(request, entry) if entry else None for entry in found]
    shown: dict[str, Any] = {
        name: {"page": f"{card.page}{'?' if query else ''}{query}", "title": card.title} if card else None
        for name, card in zip(("before", "after"), cards, strict=True)
    }
    shown["back"] = f"{address(request, 'library')}{'?' if query else ''}{query}"
    return JSONResponse(shown, headers={"Cache-Control": "no-store", **HEADERS})


def picture(request: Request, operation: str, task_id: str, place: Annotated[Place, Depends(place_of)]) -> Response:
    """Send a small picture of a result."""
    catalogue = catalogue_of(place)
    entry = catalogue.entry(f"{operation}/{task_id}")
    if entry is None:  # another process of the api-server has read more of the index than this one
        entry = catalogue.index.entry_at(keys_of(place, operation, task_id).folder)
    image = _first(entry, "image") if entry else None
    if entry is None or image is None:
        raise NothingToShow("File not found", "The library lists what is archived.")
    tag = f'"{entry.updated_at:%Y%m%d%H%M%S%f}-{quote(image.name)}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=3600", "Content-Security-Policy": FILE_POLICY, **HEADERS}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    try:
        small = thumbnail(place.open(), f"{keys_of(place, entry.operation, entry.id).folder}{image.name}", tag)
    except FileDamaged:
        small = None
    if small is None:
        raise NothingToShow("File not found", "`airflow kie verify` reports problems of the archive.")
    return Response(small, media_type="image/webp", headers=headers)


def task(request: Request, operation: str, task_id: str, place: Annotated[Place, Depends(place_of)]) -> Response:
    """Show what is archived of any task."""
    keys = TaskKeys(place.prefix, operation, task_id)
    manifest, changing = _manifest(place, keys), may_change(request)
    return page_answer(
        request,
        "song.html",
        scripts=(*(("changes.js", "refresh.js") if changing else ()), "texts.js", "neighbours.js"),
        may_label=changing,
        key=f"{quote(operation, safe='')}/{quote(task_id, safe='')}",
        may_extend=False,
        extras_open=False,
        page=task_page(keys, manifest),
        stored_in=f"s3://{place.bucket}/{keys.folder}",
        choice=None,
        may_change=False,
        can_be_retried=False,
        of_song="",
        files=address(request, "tasks", operation, task_id, "files"),
        of_run="",
    )


def file(
    request: Request,
    operation: str,
    task_id: str,
    name: str,
    place: Annotated[Place, Depends(place_of)],
    download: str = "",
) -> Response:
    """Send a file of a task."""
    keys = TaskKeys(place.prefix, operation, task_id)
    page = task_page(keys, _manifest(place, keys))
    found = next((file for file in page.files if file.name == name), None)
    if found is None:
        raise NothingToShow("File not found", "The task's page lists the files that are archived.")
    return file_answer(request, place.open(), page, found, download=bool(download))


def query_of(search: Search, view: str = VIEWS[0]) -> str:
    """Return a search and a view of it as the query of an address, without what is as it is anyway."""
    names = {"q": "text", "sort": "order"} | {name: name for name in (*_FILTERS[1:], "zone")}
    asked = {name: (getattr(search, field), getattr(Search, field)) for name, field in names.items()}
    asked["view"] = (view if view in VIEWS else VIEWS[0], VIEWS[0])
    return urlencode({name: value for name, (value, usual) in asked.items() if value != usual})


def _manifest(place: Place, keys: TaskKeys) -> TaskManifest:
    manifest = TaskManifest.read(place.open(), keys)[0]
    if manifest is None:
        raise NothingToShow("This task is not archived", "The library lists what is archived.")
    return manifest


def _card(request: Request, entry: IndexEntry) -> Card:
    is_song = entry.operation == MUSIC
    page = address(request, "songs", entry.id) if is_song else address(request, "tasks", entry.operation, entry.id)
    picture, sound = _first(entry, "image"), _first(entry, "audio")
    known = ("" if is_song else entry.operation, entry.model or "", length(entry.duration_seconds))
    more = (entry.tags or "", *(f"{name}: {value}" for name, value in label_map(entry.labels).items()))
    return Card(
        entry,
        title=cut(entry.title or "").strip() or (f"Song {entry.id}" if is_song else entry.id),
        subtitle=" · ".join(cut(part) for part in known if part),
        archived=f"{entry.archived_at.day} {entry.archived_at:%b %Y}",
        more=" · ".join(cut(part) for part in more if part),
        page=page,
        picture=f"{address(request, 'library', 'thumbnails', entry.operation, entry.id)}?{quote(picture.name)}"
        if picture
        else "",
        sound=f"{page}/files/{quote(sound.name, safe='')}" if sound else "",
        choice=f"{page}/choice" if entry.chosen else "",
    )


def _first(entry: IndexEntry, medium: str) -> IndexFile | None:
    """Return the file that represents a result: the chosen one, otherwise the first."""
    files = [file for file in entry.files if file.content_type.startswith(f"{medium}/")]
    chosen = [(kind, getattr(entry.choice, name, None)) for name, kind in CHOSEN_KINDS.items()]
    return next((file for file in files if (file.kind, file.position) in chosen), files[0] if files else None)


def _date(text: str) -> str:
    """Return an ISO date, or nothing for what is none, such as a year that somebody is still typing."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return ""
    return day.isoformat() if 1970 <= day.year < 3000 else ""


def _zone(name: str) -> str:
    """Return the name of a time zone, or nothing for what is none."""
    try:
        return ZoneInfo(name[:_LONGEST]).key if name else ""
    except (ValueError, KeyError, OSError):  # no name, no such zone, a folder of zones
        return ""
