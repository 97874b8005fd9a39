"""The licences of everything in requirements.txt: ``.venv/bin/python -m tools.licences`` writes docs/licences.md.

It fails, and names the package, where a licence is not known or not allowed; tests/unit/project/test_licences.py
compares the page.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.txt"
PAGE = ROOT / "docs" / "licences.md"

BSD = "LicenseRef-BSD-unspecified"
PERMISSIVE = frozenset(
    {
        "Apache-2.0",
        "Artistic-1.0-Perl",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "PSF-2.0",
        "Unlicense",
        BSD,
    }
)
COPYLEFT = frozenset({"LGPL-3.0-only", "LGPL-3.0-or-later", "MPL-2.0"})
"""Allowed: it reaches the package's own files, not a program that imports it."""
STRONG_COPYLEFT = frozenset({"GPL-2.0-or-later", "GPL-3.0-or-later"})
"""Allowed only where one may choose another licence, or for files that are not installed."""

CLASSIFIERS: Mapping[str, str] = {
    "Apache Software License": "Apache-2.0",
    "BSD License": BSD,
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
FIELDS: Mapping[str, str] = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD 2-Clause License": "BSD-2-Clause",
    "ISC License": "ISC",
    "MIT License": "MIT",
    "MIT -or- Apache License 2.0": "MIT OR Apache-2.0",
}
"""What is in the free-text field `License` of older metadata."""

BY_HAND: Mapping[tuple[str, str], tuple[str, str]] = {
    ("libcst", "1.9.0"): (
        "MIT AND PSF-2.0 AND Apache-2.0",
        "its LICENSE names the files that come from Python's and from dataclasses' source",
    ),
    ("python-daemon", "3.1.2"): (
        "Apache-2.0",
        "the library `daemon` is Apache-2.0; its packaging and tests, which are not installed, are GPL-3.0-or-later",
    ),
    ("python-dateutil", "2.9.0.post0"): ("Apache-2.0 OR BSD-3-Clause", "its LICENSE: either, at one's choice"),
    ("redshift-connector", "2.2.0"): ("Apache-2.0", "its LICENSE; the classifier says BSD and is wrong"),
    ("text-unidecode", "1.3"): (
        "Artistic-1.0-Perl OR GPL-2.0-or-later",
        "its LICENSE: either, at one's choice; used under the Artistic License",
    ),
}
"""Metadata that says too little or contradicts itself: read in the distribution. A new version has to be read again."""

PLATFORM: Mapping[tuple[str, str], str] = {
    ("cffi", "2.1.1"): "MIT-0",
    ("colorama", "0.4.6"): "BSD-3-Clause",
    ("deprecated", "1.3.1"): "MIT",
    ("deprecated", "3.0.1"): "MIT",
    ("lazy-importer", "0.1.0"): "Apache-2.0",
    ("pycparser", "3.12"): "BSD-3-Clause",
    ("pyyaml-ft", "8.0.0"): "MIT",
    ("soupsieve", "2.10"): "MIT",
    ("soupsieve", "4.1.2"): "MIT",
    ("uvloop", "0.23.0"): "MIT OR Apache-2.0",
}
"""Packages that the lock installs on some machines only: read in their wheels, so that the page is the same everywhere.
Where one is installed, its metadata must agree."""

_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)(?:\s*;\s*([^\\]+?))?\s*\\?$", re.M)
_HEAD = """# Licences

Made by `.venv/bin/python -m tools.licences` from `requirements.txt`, which is what an installation in production holds.
A test fails when this page is out of date, or when a package has a licence that is unknown or not allowed. The licence
is what the installed distribution's metadata says (*expression*; older ones: *field*, *classifier*), or was read by a
person where that says too little. The lock is for all machines: packages that it installs on some only were read in
their wheels.

This project itself is [Apache-2.0](../LICENSE). The recordings in `tests/data/kie-recordings` are MIT, with their
[notice](../tests/data/kie-recordings/LICENSE) beside them; OpenLineage's schemas in `tests/data/openlineage` are
Apache-2.0. The optional extra `postgres` brings psycopg, which is LGPL-3.0-only; the optional extra `delivery`
brings mutagen, which is GPL-2.0-or-later and writes the tags of delivered MP3s. Neither comes without being asked for.
"""


class LicenceRefused(Exception):
    """A licence is unknown or not allowed; the message names the package and what to do."""


@dataclass(frozen=True)
class Pin:
    """A line of the lock.

    :param name: the package.
    :param version: its version.
    :param marker: on which machines it is installed; empty: on all.
    """

    name: str
    version: str
    marker: str = ""


@dataclass(frozen=True)
class Row:
    """A package with its licence.

    :param pin: the line of the lock.
    :param licence: an SPDX expression.
    :param source: where that was found.
    """

    pin: Pin
    licence: str
    source: str


Metadata = Callable[[str], Message | None]


def installed(name: str) -> Message | None:
    """Return the metadata of an installed package, None where it is not installed."""
    try:
        return distribution(name).metadata  # type: ignore[return-value]
    except PackageNotFoundError:
        return None


def pins(lock: str) -> list[Pin]:
    """Return the lines of a lock.

    :param lock: its text.
    """
    return [Pin(name, version, (marker or "").strip()) for name, version, marker in _PIN.findall(lock)]


def row(pin: Pin, metadata: Metadata = installed) -> Row:
    """Return a package's licence.

    :param pin: the line of the lock.
    :param metadata: finds a package's metadata.
    :raises LicenceRefused: when it is unknown, contradictory or not allowed.
    """
    found = metadata(pin.name)
    if found is not None and found.get("Version") != pin.version:
        found = None
    known = _platform(pin, found) if pin.marker else _read(pin, found)
    if not allowed(known.licence):
        raise LicenceRefused(
            f"{pin.name} {pin.version} is licensed {known.licence}, which is not allowed or not known."
        )
    return known


def allowed(licence: str) -> bool:
    """Return whether a licence is one that we may depend on: of alternatives one, of several at once all.

    :param licence: an SPDX expression; brackets are not understood and refused.
    """
    return any(
        all(part.strip() in PERMISSIVE | COPYLEFT for part in choice.split(" AND ")) for choice in licence.split(" OR ")
    )


def page(lock: str, metadata: Metadata = installed) -> str:
    """Return docs/licences.md.

    :param lock: the lock's text.
    :param metadata: finds a package's metadata.
    """
    rows = [row(pin, metadata) for pin in pins(lock)]
    marked = [it for it in rows if _parts(it.licence) & (COPYLEFT | STRONG_COPYLEFT)]
    rest = [it for it in rows if it not in marked]
    return "\n".join(
        (
            _HEAD,
            f"## Copyleft ({len(marked)})\n",
            "MPL and LGPL ask for the source of changes to these packages themselves; we change none and ship none.",
            "Where one licence may be chosen, it is the permissive one.\n",
            _table(marked),
            f"## Permissive ({len(rest)})\n",
            _table(rest),
        )
    )


def _platform(pin: Pin, found: Message | None) -> Row:
    licence = PLATFORM.get((pin.name, pin.version))
    if licence is None:
        raise LicenceRefused(
            f"{pin.name} {pin.version} is installed on some machines only ({pin.marker}): read the licence in its "
            "wheel and enter it into PLATFORM in tools/licences.py."
        )
    found_claim = next(_claims(found), None) if found is not None else None
    if found_claim and not _parts(found_claim[0]) <= _parts(licence) | {BSD}:
        raise LicenceRefused(f"{pin.name} {pin.version}: PLATFORM says {licence}, its metadata {found_claim[0]}.")
    return Row(pin, licence, "wheel")


def _read(pin: Pin, found: Message | None) -> Row:
    by_hand = BY_HAND.get((pin.name, pin.version))
    if by_hand:
        return Row(pin, by_hand[0], f"by hand: {by_hand[1]}")
    if found is None:
        raise LicenceRefused(f"{pin.name} {pin.version} is not installed here: install requirements.txt first.")
    claims = list(_claims(found))
    if not claims or _contradicted(claims):
        raise LicenceRefused(
            f"The metadata of {pin.name} {pin.version} does not tell its licence, or contradicts itself: read it in "
            "the distribution and enter it into BY_HAND in tools/licences.py."
        )
    return Row(pin, *claims[0])


def _claims(found: Message) -> Iterator[tuple[str, str]]:
    """Yield what the metadata says, the most exact first."""
    expression = found.get("License-Expression")
    if expression:
        yield str(expression), "expression"
    field = str(found.get("License") or "").strip()
    field = FIELDS.get(field, field)
    if _parts(field) <= PERMISSIVE | COPYLEFT:
        yield field, "field"
    named = [text.rpartition(" :: ")[2] for text in found.get_all("Classifier") or () if text.startswith("License ::")]
    if named and all(text in CLASSIFIERS for text in named):
        yield " OR ".join(dict.fromkeys(CLASSIFIERS[text] for text in named)), "classifier"


def _contradicted(claims: list[tuple[str, str]]) -> bool:
    """Say whether classifiers leave open which of them counts, or leave out what an older field says."""
    licence, source = claims[0]
    if source == "expression":
        return False
    classified = [_parts(claim) for claim, by in claims if by == "classifier"]
    if source == "classifier":
        return len(classified[0]) > 1
    any_bsd = {"BSD-2-Clause", "BSD-3-Clause"}
    return any(not _parts(licence) <= named | (any_bsd if BSD in named else set()) for named in classified)


def _parts(licence: str) -> set[str]:
    return {part.strip() for part in re.split(r" OR | AND ", licence)}


def _table(rows: Iterable[Row]) -> str:
    lines = ["| package | version | licence | source | only where |", "|---|---|---|---|---|"]
    for it in rows:
        licence = it.licence.replace(BSD, "BSD (the metadata does not say which)")
        marker = f"`{it.pin.marker}`" if it.pin.marker else ""
        lines.append(f"| {it.pin.name} | {it.pin.version} | {licence} | {it.source} | {marker} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        PAGE.write_text(page(LOCK.read_text(encoding="utf-8")), encoding="utf-8")
    except LicenceRefused as refused:
        sys.exit(f"docs/licences.md was not written: {refused}")
