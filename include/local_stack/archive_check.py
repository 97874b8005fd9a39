"""Checks an archive by what its manifests promise."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from local_stack.bucket import Folder


@dataclass(frozen=True)
class ArchivedFile:
    """A file that a manifest names.

    :param key: its key in the bucket.
    :param size: bytes, as the manifest says.
    :param sha256: checksum in hex, as the manifest says.
    :param problem: what is wrong with the stored file; empty when it is whole.
    """

    key: str
    size: int
    sha256: str
    problem: str


@dataclass(frozen=True)
class ArchivedSong:
    """What the archive holds of one song.

    :param manifest: its manifest.
    :param files: the files that the manifest names.
    :param problem: what is wrong with the manifest itself; empty when it is there and readable.
    """

    manifest: Folder
    files: tuple[ArchivedFile, ...] = ()
    problem: str = ""

    @property
    def whole(self) -> bool:
        """Whether the manifest is there, names files, and every one of them is as it says."""
        return not self.problem and not any(file.problem for file in self.files)


def claimed_songs(bucket: Folder, prefix: str) -> dict[str, list[str]]:
    """Return the songs of each run that an event has woken, by run id, whether it goes on or has ended.

    :param bucket: the bucket.
    :param prefix: prefix of the archive.
    """
    runs = bucket / prefix / "_runs"
    kept = [folder / "songs.json" for folder in runs.iterdir() if "." not in folder.name]
    claims: dict[str, list[str]] = {}
    for path in [*(runs / "claims").iterdir(), *kept]:
        with contextlib.suppress(FileNotFoundError):  # ended meanwhile, or a run of many that a form has started
            claim = json.loads(path.read_text())
            claims[claim["run_id"]] = claim["songs"]
    return claims


def check_song(bucket: Folder, prefix: str, music_task_id: str) -> ArchivedSong:
    """Check the files of one song against its manifest.

    :param bucket: the bucket.
    :param prefix: prefix of the archive.
    :param music_task_id: the song.
    :return: what is there; what is not as it should be is described in ``problem``, never raised.
    """
    path = bucket / prefix / music_task_id / "manifest.json"
    try:
        manifest: Mapping[str, Any] = json.loads(path.read_text())
        files = tuple(_check(bucket, entry) for entry in manifest["files"])
    except FileNotFoundError:
        return ArchivedSong(path, problem="no manifest")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return ArchivedSong(path, problem=f"unreadable manifest ({type(error).__name__}: {error})")
    return ArchivedSong(path, files, problem="" if files else "the manifest names no files")


def _check(bucket: Folder, entry: Mapping[str, Any]) -> ArchivedFile:
    key, size, sha256 = str(entry["key"]), int(entry["size"]), str(entry["sha256"])
    return ArchivedFile(key, size, sha256, _problem(bucket, key, size, sha256))


def _problem(bucket: Folder, key: str, size: int, sha256: str) -> str:
    path = PurePosixPath(key)
    if path.is_absolute() or ".." in path.parts:
        return "its key is outside the bucket"
    try:
        data = (bucket / key).read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return "missing"
    if len(data) != size:
        return f"{len(data)} bytes instead of {size}"
    found = hashlib.sha256(data).hexdigest()
    return "" if found == sha256 else f"SHA-256 {found[:12]}… instead of {sha256[:12]}…"
