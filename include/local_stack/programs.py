"""Servers of the operating system's packages that some tests run: where they are, and which package brings them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

PACKAGES: Mapping[str, str] = MappingProxyType(
    {"redis-server": "redis-server", "initdb": "postgresql", "postgres": "postgresql"}
)
"""Debian's package of each program."""
_POSTGRES = Path("/usr/lib/postgresql")
"""Debian keeps Postgres' servers outside the PATH, in a folder for each version."""


def program(name: str) -> str | None:
    """Return a program's path, the newest version's where there are several; None where it is not installed.

    :param name: one of :data:`PACKAGES`.
    """
    versions = sorted(_POSTGRES.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return shutil.which(name) or (str(versions[-1]) if versions else None)


def missing_packages(names: Iterable[str]) -> list[str]:
    """Return the packages whose programs are not installed, each once.

    :param names: programs, of :data:`PACKAGES`.
    """
    return list(dict.fromkeys(PACKAGES[name] for name in names if program(name) is None))
