"""The keys of a release; the names are fixed, because other people's programs read them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from airflow_kie.archive.layout import ArchiveKeys, checked_prefix
from airflow_kie.client.task_ids import KeyRefused

_MOST = 100
_KINDS = frozenset("LMN")
"""Unicode's letters, marks and numbers: a word in Hindi or Thai is not of letters alone."""
_SIGNS = frozenset(" _-.,&'()+!")
_RELEASE_FILE = re.compile(r"(track-\d{2,3}\.(wav|mp3)|cover\.jpg|metadata\.json)")


@dataclass(frozen=True)
class ReleaseKeys:
    """The keys of one release.

    :param prefix: folder of the archive inside the bucket; empty for the bucket's root.
    :param name: what people call it: letters, digits, blanks, and ``-_.,&'()+!``, at most 100 characters. A letter with
        an accent is one character, however it was typed (Unicode's normal form C).
    :raises KeyRefused: when one of them cannot be part of a key.
    """

    prefix: str
    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", checked_prefix(self.prefix))
        object.__setattr__(self, "name", unicodedata.normalize("NFC", self.name))
        known = all(sign in _SIGNS or unicodedata.category(sign)[0] in _KINDS for sign in self.name)
        if not (known and 1 <= len(self.name) <= _MOST) or self.name != self.name.strip(" ."):
            raise KeyRefused(
                f"{self.name[:200]!r} is not a release's name: give 1 to 100 letters, digits, blanks, -_.,&'()+!"
            )

    @property
    def task_id(self) -> str:
        """Return what its manifest must name."""
        return self.name

    @property
    def folder(self) -> str:
        """Return the release's folder, with its slash."""
        return f"{ArchiveKeys(self.prefix).releases}{self.name}/"

    @property
    def manifest(self) -> str:
        """Return the key that is written last: a folder without it was not delivered."""
        return f"{self.folder}manifest.json"

    def is_file(self, key: str) -> bool:
        """Return whether a key is one that a delivery writes: what people have put beside it is theirs."""
        return key.startswith(self.folder) and bool(_RELEASE_FILE.fullmatch(key.removeprefix(self.folder)))

    def file(self, name: str) -> str:
        """Return the key of a file."""
        if not _RELEASE_FILE.fullmatch(name):
            raise KeyRefused(f"{name[:200]!r} is not a file of a release.")
        return f"{self.folder}{name}"
