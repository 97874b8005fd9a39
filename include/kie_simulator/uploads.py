"""KIE's file uploads (another host in reality): Base64, stream and by URL; free of charge, kept for three days."""

from __future__ import annotations

import base64
import binascii
import hashlib
import mimetypes
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from kie_simulator.answers import UNAUTHORIZED, Answer
from kie_simulator.api import Api, read_json
from kie_simulator.faults import Moment
from kie_simulator.files import DAY
from kie_simulator.tasks import StoredFile

_JSON = "application/json"
_SUCCESS = "File uploaded successfully"


@dataclass(frozen=True)
class Upload:
    """A file that was sent; ``name`` is empty where KIE is to choose one."""

    content: bytes
    folder: str
    name: str


Read = Callable[[Api, Request], Awaitable[Upload | str]]


async def _base64(api: Api, request: Request) -> Upload | str:
    body = await read_json(request) or {}
    encoded = str(body.get("base64Data") or "").rpartition("base64,")[2]
    if not encoded or not body.get("uploadPath"):
        return "base64Data and uploadPath are required"
    try:
        content = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return "base64Data is not valid Base64"
    return Upload(content, str(body["uploadPath"]), str(body.get("fileName") or ""))


async def _stream(api: Api, request: Request) -> Upload | str:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return "The request is not multipart/form-data"
    async with request.form() as form:
        file, folder, name = form.get("file"), form.get("uploadPath"), form.get("fileName")
        if not isinstance(file, UploadFile) or not isinstance(folder, str) or not folder:
            return "file and uploadPath are required"
        chosen = name if isinstance(name, str) and name else f"{api.sim.new_id()}.{_extension(file.filename)}"
        return Upload(await file.read(), folder, chosen)


async def _url(api: Api, request: Request) -> Upload | str:
    body = await read_json(request) or {}
    url, folder = str(body.get("fileUrl") or ""), str(body.get("uploadPath") or "")
    if not url or not folder:
        return "fileUrl and uploadPath are required"
    # The simulator fetches nothing from elsewhere: only its own files can be uploaded by URL.
    file = api.sim.files.find(url.partition("/files/")[2].partition("?")[0])
    if file is None or not url.startswith(f"{api.base_url(request)}/files/"):
        return "The file could not be downloaded from fileUrl"
    return Upload(await api.sim.files.content(file), folder, str(body.get("fileName") or ""))


def _extension(filename: str | None) -> str:
    return (filename or "").rpartition(".")[2] or "bin"


def _stored(api: Api, upload: Upload, account: str, base_url: str) -> Answer:
    sim = api.sim
    name = upload.name or f"{sim.new_id()}.bin"
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    user = int(hashlib.sha256(account.encode()).hexdigest()[:8], 16) % 1_000_000  # an account is named by its key
    path = f"kieai/{user}/{upload.folder.strip('/')}/{name}"
    expires = sim.clock.now() + sim.settings.upload_days * DAY
    sim.files.add(StoredFile(path, "upload", media_type, name, path, "", expires, upload.content))
    moment = datetime.fromtimestamp(sim.clock.now(), UTC)
    data = {
        "success": True,
        "fileName": name,
        "filePath": path,
        "downloadUrl": f"{base_url}/files/{path}",
        "fileSize": len(upload.content),
        "mimeType": media_type,
        "uploadedAt": moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z",
    }
    return Answer(200, _SUCCESS, data, extra={"success": True}, media_type=_JSON)


def _failed(code: int, msg: str) -> Answer:
    return Answer(code, msg, extra={"success": False}, media_type=_JSON)


def add_uploads(api: Api) -> None:
    """Add the upload endpoints to the API."""
    for name, read in (("base64", _base64), ("stream", _stream), ("url", _url)):
        api.add("POST", f"/api/file-{name}-upload", _endpoint(api, read))


def _endpoint(api: Api, read: Read) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        account = api.enter(request)

        async def effect() -> Answer:
            if account is None:
                return _failed(401, UNAUTHORIZED)
            upload = await read(api, request)
            if isinstance(upload, str):
                return _failed(400, upload)
            return _stored(api, upload, account.name, api.base_url(request))

        moment = Moment("upload", path=request.url.path, account=account.name if account else "")
        return await api.answer(api.sim.faults.strike(moment) if account else [], effect)

    return endpoint
