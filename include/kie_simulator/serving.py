"""Serving files as KIE's CDN does: no key wanted, default Python clients refused, gone after fourteen days."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from kie_simulator.api import link_query
from kie_simulator.connection import Reset, Truncated
from kie_simulator.faults import Fault, Moment
from kie_simulator.simulation import Simulation
from kie_simulator.tasks import StoredFile

_FORBIDDEN = "<html><body><h1>403 Forbidden</h1><p>error code: 1010</p></body></html>"
_NOT_FOUND = "<html><body><h1>404 Not Found</h1></body></html>"


def _gone(fault: Fault, content: bytes, file: StoredFile) -> Response:
    return HTMLResponse(_NOT_FOUND, 404)


_SPOIL: Mapping[str, Callable[[Fault, bytes, StoredFile], Response]] = {
    "truncated": lambda fault, content, file: Truncated(content, file.media_type),
    # Whole as far as HTTP can tell: the file was cut where KIE keeps it.
    "cut": lambda fault, content, file: Response(content[: len(content) // 5], media_type=file.media_type),
    "zero_bytes": lambda fault, content, file: Response(b"", media_type=file.media_type),
    "html": lambda fault, content, file: HTMLResponse("<html><body>Please wait ...</body></html>"),
    "forbidden": lambda fault, content, file: HTMLResponse(_FORBIDDEN, 403),
    "not_found": _gone,
    "expired": _gone,
    "redirect": lambda fault, content, file: RedirectResponse(fault.url, fault.http or 302),
    "content_type": lambda fault, content, file: Response(content, media_type=fault.content_type),
    "http": lambda fault, content, file: HTMLResponse(fault.msg, fault.http or fault.code),
    "reset_before": lambda fault, content, file: Reset(),
}


class Files:
    """The endpoint ``/files/...``."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.router = APIRouter()
        self.router.add_api_route("/files/{path:path}", self.serve, methods=["GET", "HEAD"], response_model=None)

    async def serve(self, path: str, request: Request) -> Response:
        """Answer with a file, a range of it, or KIE's reason why not."""
        self._sim.counts.requests[f"{request.method} /files"] += 1
        if "authorization" in request.headers:
            # A client that sends the key here gives it to a host that is not KIE's API.
            self._sim.counts.authorization_leaks.append(f"/files/{path}")
            return HTMLResponse("<html><body>400 Bad Request</body></html>", 400)
        agent = request.headers.get("user-agent", "")
        if self._sim.settings.refuse_default_user_agents and (not agent or agent.lower().startswith("python")):
            return HTMLResponse(_FORBIDDEN, 403)
        file = self._sim.files.find(path)
        if file is None or self._expired(file, request):
            return HTMLResponse(_NOT_FOUND, 404)
        self._sim.counts.downloads[path] += 1
        return await self._content(file, request)

    def _expired(self, file: StoredFile, request: Request) -> bool:
        now = self._sim.clock.now()
        if "Signature" not in request.query_params:
            return now >= file.expires
        expires = request.query_params.get("Expires", "")
        if not expires.isdigit() or request.url.query != link_query(self._sim.seed, file.path, int(expires)):
            return True
        return now >= min(file.expires, int(expires))

    async def _content(self, file: StoredFile, request: Request) -> Response:
        content = await self._sim.files.content(file, plain=self._sim.settings.plain_images)
        for fault in self._sim.faults.strike(self._moment(file)):
            if fault.action == "slow":
                await asyncio.sleep(fault.seconds)
            else:
                return _SPOIL[fault.action](fault, content, file)
        return _ranged(content, file.media_type, request.headers.get("range"))

    def _moment(self, file: StoredFile) -> Moment:
        task = self._sim.tasks.get(file.task_id)
        if task is None:
            return Moment("file", path=f"/files/{file.path}", role=file.role)
        path = f"/files/{file.path}"
        return Moment(
            "file",
            task.kind,
            path,
            task.id,
            task.source_id,
            task.title,
            task.account,
            file.role,
            task.form,
            task.model,
        )


def _ranged(content: bytes, media_type: str, wanted: str | None) -> Response:
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "max-age=14400"}
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "")
    if match is None:
        return Response(content, media_type=media_type, headers=headers)
    first = int(match[1])
    last = min(int(match[2]) if match[2] else len(content) - 1, len(content) - 1)
    if first > last:
        return Response(b"", 416, {"Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(content[first : last + 1], 206, headers, media_type=media_type)
