"""Checks an archive of the local S3 on disk, by what its manifests promise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ArchivedFile:
    """A file that a manifest names.

    :param key: its key in the bucket.
    :param size: bytes, as the manifest says.
    :param sha256: checksum in hex, as the manifest says.
    :param problem: what is wrong with the file on disk; empty when it is whole.
    """

    key: str
    size: int
    sha256: str
    problem: str


@dataclass(frozen=True)
class ArchivedSong:
    """What the archive holds of one song.

    :param manifest: path of its manifest.
    :param files: the files that the manifest names.
    :param problem: what is wrong with the manifest itself; empty when it is there and readable.
    """

    manifest: Path
    files: tuple[ArchivedFile, ...] = ()
    problem: str = ""

    @property
    def whole(self) -> bool:
        """Whether the manifest is there, names files, and every one of them is as it says."""
        return not self.problem and not any(file.problem for file in self.files)


def check_song(bucket: Path, prefix: str, music_task_id: str) -> ArchivedSong:
    """Check the files of one song against its manifest.

    :param bucket: folder of the bucket.
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
    return ArchivedSong(path, files, problem="" if files else "the manifest names no file")


def _check(bucket: Path, entry: Mapping[str, Any]) -> ArchivedFile:
    key, size, sha256 = str(entry["key"]), int(entry["size"]), str(entry["sha256"])
    return ArchivedFile(key, size, sha256, _problem(bucket, key, size, sha256))


def _problem(bucket: Path, key: str, size: int, sha256: str) -> str:
    path = (bucket / key).resolve()
    if not path.is_relative_to(bucket.resolve()):
        return "its key leads out of the bucket"
    if not path.is_file():
        return "missing"
    if path.stat().st_size != size:
        return f"{path.stat().st_size} bytes instead of {size}"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if found == sha256 else f"SHA-256 {found[:12]}… instead of {sha256[:12]}…"
