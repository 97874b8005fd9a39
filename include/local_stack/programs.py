"""Programs of the operating system's packages that some tests run: where they are, and which package brings them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from types import MappingProxyType

PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "redis-server": "redis-server",
        "chromium": "chromium",
        "exiftool": "libimage-exiftool-perl",
        "eyeD3": "eyed3",
        "identify": "imagemagick",
        "soxi": "sox",
    }
)
"""Debian's package of each program."""


def program(name: str) -> str | None:
    """Return a program's path; None where it is not installed.

    :param name: one of :data:`PACKAGES`.
    """
    return shutil.which(name)


def missing_packages(names: Iterable[str]) -> list[str]:
    """Return the packages whose programs are not installed, each once.

    :param names: programs, of :data:`PACKAGES`.
    """
    return list(dict.fromkeys(PACKAGES[name] for name in names if program(name) is None))
