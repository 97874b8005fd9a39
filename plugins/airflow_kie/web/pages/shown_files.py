"""Which archived files a browser may have, and how a page writes names, times and texts of somebody else's."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from airflow_kie.archive.extras.storing import FOLDER, MORE
from airflow_kie.archive.extras.table import EXTRAS
from airflow_kie.archive.layout import SongKeys, TaskKeys
from airflow_kie.archive.manifest import FileRecord, Manifest, TaskManifest

SHOWN_TYPES = (
    *("image/png", "image/jpeg", "image/webp"),
    *("audio/mpeg", "audio/wav", "audio/flac", "audio/ogg", "audio/mp4"),
    *("video/mp4", "video/webm"),
    *("text/plain", "application/json"),
)
"""What a browser is given, in the order in which it is shown: nothing in it can run."""
_FILE_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}-[1-9][0-9]{0,3}\.[a-z0-9]{1,5}")
_LONGEST = 300
"""Characters of a text of KIE's that are shown: a title can be anything."""
CALLED = {"track": "take", "lyrics": "lyrics"} | {name: extra.title for name, extra in EXTRAS.items()}
"""Kind of a file, or name of an extra → what a sentence calls it, where that is another word."""
MORE_COVERS = {"another_cover": "Another cover", "upload": "Uploaded cover"}
"""Origin of a song's file → what the page calls it."""
_CALLED = {"vocals": "Vocals", "stems": "Stem", "track": "Take"}
_NEXT = 100
"""A file's position is that of its take, or hundreds more: see :mod:`airflow_kie.archive.extras.storing`."""


@dataclass(frozen=True)
class ShownFile:
    """A file that the page shows and offers.

    :param record: its manifest's; the type is the one that was checked when it was archived, not the one in S3.
    :param name: last part of its key, such as ``cover-1.png``.
    :param extra: name of the extra that it is of; empty: it is the song's own.
    """

    record: FileRecord
    name: str
    caption: str
    extra: str = ""


def extra_of(kind: str) -> str:
    """Return the name of the extra that files of a kind are of; empty: they are the song's own."""
    return next((name for name, extra in EXTRAS.items() if extra.has(kind)), "")


def called(what: str, position: int) -> str:
    """Return what a sentence calls a file of the song, such as cover 2."""
    return f"another {what}" if position > MORE else f"{what} {position}"


def shown_files(keys: SongKeys | TaskKeys, manifest: TaskManifest | None) -> tuple[ShownFile, ...]:
    """Return the files that a browser may have: in the folder, named after their kind, of a harmless type."""
    files = [file for file in (manifest.files if manifest else ()) if _is_shown(keys, file)]
    counts = Counter(file.kind for file in files)
    return tuple(
        ShownFile(
            record=file,
            name=file.key.rpartition("/")[2],
            extra=extra_of(file.kind) if isinstance(manifest, Manifest) else "",
            caption=_caption(file, manifest, counts[file.kind]),
        )
        for file in sorted(files, key=lambda file: (SHOWN_TYPES.index(_essence(file)), file.kind, file.position))
    )


def _caption(file: FileRecord, manifest: TaskManifest | None, count: int) -> str:
    if file.origin:
        return MORE_COVERS.get(file.origin, "Another file")
    name = extra_of(file.kind)
    if not (name and isinstance(manifest, Manifest)):
        called_so = _CALLED.get(file.kind) if isinstance(manifest, Manifest) else None
        return (called_so or file.kind.capitalize().replace("_", " ")) + (f" {file.position}" if count > 1 else "")
    role = file.kind.removeprefix(name).strip("_").replace("_", " ")
    title = _CALLED.get(name, EXTRAS[name].title)
    if role and name in _CALLED:
        title = f"{title}: {role}" if name == "stems" else role.capitalize()
    number, take = divmod(file.position - 1, _NEXT)
    title = f"{title} {number + 1}" if number else title
    return f"{title}, take {take + 1}" if len(manifest.tracks) > 1 else title


def _is_shown(keys: SongKeys | TaskKeys, file: FileRecord) -> bool:
    name = file.key.removeprefix(keys.folder)
    name = name.removeprefix(FOLDER) if isinstance(keys, SongKeys) else name
    named = file.key.startswith(keys.folder) and _FILE_NAME.fullmatch(name) and name.startswith(f"{file.kind}-")
    return bool(named) and _essence(file) in SHOWN_TYPES


def _essence(file: FileRecord) -> str:
    return file.content_type.partition(";")[0].strip()


def cut(text: str) -> str:
    """Return a text of somebody else's, short enough to be shown."""
    return text if len(text) <= _LONGEST else text[:_LONGEST].rstrip() + "…"


def day(moment: datetime | None) -> str:
    """Return a time as the page writes it."""
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC" if moment else ""


def length(seconds: float | None) -> str:
    """Return minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}" if seconds and 0 < seconds < 360_000 else ""
