"""The files that the simulator serves: their names, contents and expiry."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kie_simulator.artwork import enlarge, render_cover, render_plain
from kie_simulator.audio import render_mp3, render_wav
from kie_simulator.tasks import StoredFile

DAY = 86400.0
# A cover has about two megabytes.
_KEPT = 64


def _video(file: StoredFile) -> bytes:
    # The boxes of an MP4 file around seeded bytes: recognised as video/mp4, but no film is in it.
    content = hashlib.shake_256(file.seed.encode()).digest(65536)
    header = b"\x00" * 12 + (1000).to_bytes(4, "big") + int(file.seconds * 1000).to_bytes(4, "big") + b"\x00" * 80
    track = _box(b"trak", _box(b"mdia", _box(b"hdlr", b"\x00" * 8 + b"vide" + b"\x00" * 13)))
    description = _box(b"moov", _box(b"mvhd", header) + track)
    return _box(b"ftyp", b"isom\x00\x00\x02\x00isommp41") + _box(b"mdat", content) + description


def _box(kind: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + kind + content


def _plain_image(file: StoredFile) -> bytes:
    return render_plain(file.seed, file.title)


def _upscaled(file: StoredFile) -> bytes:
    return enlarge(file.made_from or b"", file.factor)


# role: folder, extension, media type, how it is drawn
_ROLES: dict[str, tuple[str, str, str, Callable[[StoredFile], bytes]]] = {
    "image": ("s", "png", "image/png", lambda file: render_cover(file.seed, file.title)),
    "upscaled": ("u", "jpg", "image/jpeg", _upscaled),
    "audio": ("p", "mp3", "audio/mpeg", lambda file: render_mp3(file.seed)),
    "stream": ("stream", "mp3", "audio/mpeg", lambda file: render_mp3(file.seed)),
    "wav": ("w", "wav", "audio/wav", lambda file: render_wav(file.seed)),
    "video": ("v", "mp4", "video/mp4", _video),
}


class FileStore:
    """All files by path; contents are drawn when first asked for, in one thread, and kept."""

    def __init__(self) -> None:
        self._files: dict[str, StoredFile] = {}
        self._contents: OrderedDict[tuple[str, str, bool], asyncio.Future[bytes]] = OrderedDict()
        self._painter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kie-simulator-painter")

    def make(
        self, role: str, *, seed: str, title: str, task_id: str, created: float, expires: float, **more: Any
    ) -> StoredFile:
        """Return a new file of a task.

        :param seed: what the content is drawn from; also decides the name.
        :param created: simulated unix time in seconds; part of the name, as in KIE's.
        :param expires: simulated unix time in seconds.
        :param more: further fields of the file.
        """
        folder, extension, media_type, _ = _ROLES[role]
        name = hashlib.sha256(f"{role}/{task_id}/{seed}".encode()).hexdigest()[:32]
        path = f"{folder}/{int(created)}_{name}.{extension}"
        file = StoredFile(path, role, media_type, title, seed, task_id, expires, **more)
        self._files[path] = file
        return file

    def add(self, file: StoredFile) -> None:
        """Serve a file whose content is given; one of the same path is replaced."""
        self._files[file.path] = file

    def find(self, path: str) -> StoredFile | None:
        """Return the file of a path, or None."""
        return self._files.get(path)

    async def content(self, file: StoredFile, *, plain: bool = False) -> bytes:
        """Return a file's bytes.

        :param plain: draw pictures quickly rather than well.
        """
        if file.content is not None:
            return file.content
        draw = _plain_image if plain and file.role == "image" else _ROLES[file.role][3]
        # A stream is the same sound as the finished track: drawn once.
        key = (_ROLES[file.role][1], file.seed, plain)
        if key not in self._contents:
            loop = asyncio.get_running_loop()
            self._contents[key] = loop.run_in_executor(self._painter, draw, file)
            while len(self._contents) > _KEPT:
                self._contents.popitem(last=False)
        self._contents.move_to_end(key)
        return await asyncio.shield(self._contents[key])

    def close(self) -> None:
        """Stop drawing."""
        self._painter.shutdown(wait=False, cancel_futures=True)

    def forget(self) -> None:
        """Forget all files."""
        self._files.clear()
        self._contents.clear()
