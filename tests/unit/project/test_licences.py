"""The licence page is that of the lock, and a licence that nobody has checked is refused."""

from __future__ import annotations

from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from tools import licences

ROOT = Path(__file__).resolve().parents[3]
RECORDINGS = ROOT / "tests" / "data" / "kie-recordings"


def metadata(**fields: str | list[str]) -> Callable[[str], Message | None]:
    """Return what finds the metadata of a package ``some`` 1.0 and of no other."""
    message = Message()
    message["Version"] = "1.0"
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            message[name.replace("_", "-")] = value
    return {"some": message}.get


def test_the_page_is_the_one_that_the_command_makes_from_the_lock() -> None:
    made = licences.page(licences.LOCK.read_text(encoding="utf-8"))
    assert licences.PAGE.read_text(encoding="utf-8") == made, "out of date: .venv/bin/python -m tools.licences"


def test_every_package_of_the_lock_has_its_row() -> None:
    lock = licences.LOCK.read_text(encoding="utf-8")
    lines = [line for line in lock.splitlines() if line and line[0] not in "# "]
    page = licences.PAGE.read_text(encoding="utf-8")
    assert len(licences.pins(lock)) == len(lines)
    assert [pin for pin in licences.pins(lock) if f"| {pin.name} | {pin.version} |" not in page] == []


@pytest.mark.parametrize(
    "licence",
    ["AGPL-3.0-or-later", "SSPL-1.0", "GPL-3.0-or-later", "BUSL-1.1", "MIT AND AGPL-3.0-only", "Whatever", ""],
)
def test_a_licence_that_is_not_allowed_or_not_known_is_refused(licence: str) -> None:
    with pytest.raises(licences.LicenceRefused, match=r"some 1\.0"):
        licences.row(licences.Pin("some", "1.0"), metadata(License_Expression=licence))


@pytest.mark.parametrize("licence", ["MIT", "MIT AND PSF-2.0", "GPL-2.0-or-later OR MIT", "MPL-2.0", "LGPL-3.0-only"])
def test_a_licence_that_one_may_depend_on_is_taken(licence: str) -> None:
    row = licences.row(licences.Pin("some", "1.0"), metadata(License_Expression=licence))
    assert (row.licence, row.source) == (licence, "expression")


def test_an_older_package_is_known_by_its_field_or_its_classifier() -> None:
    pin = licences.Pin("some", "1.0")
    assert licences.row(pin, metadata(License="Apache License 2.0")).licence == "Apache-2.0"
    assert licences.row(pin, metadata(Classifier="License :: OSI Approved :: MIT License")).licence == "MIT"


@pytest.mark.parametrize(
    "fields",
    [
        {"License": "MIT", "Classifier": "License :: OSI Approved :: Apache Software License"},
        {
            "Classifier": [
                "License :: OSI Approved :: MIT License",
                "License :: OSI Approved :: Apache Software License",
            ]
        },
        {"License": "see the file COPYING"},
        {},
    ],
)
def test_metadata_that_contradicts_itself_or_says_too_little_has_to_be_read_by_a_person(fields: dict[str, Any]) -> None:
    with pytest.raises(licences.LicenceRefused, match="BY_HAND"):
        licences.row(licences.Pin("some", "1.0"), metadata(**fields))


def test_a_package_of_other_machines_has_to_be_read_in_its_wheel() -> None:
    with pytest.raises(licences.LicenceRefused, match="PLATFORM"):
        licences.row(licences.Pin("other", "1.0", "sys_platform == 'win32'"), metadata())


def test_what_was_read_in_a_wheel_must_agree_with_the_metadata_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(licences, "PLATFORM", {("some", "1.0"): "MIT"})
    pin = licences.Pin("some", "1.0", "sys_platform == 'linux'")
    assert licences.row(pin, metadata(License_Expression="MIT")).source == "wheel"
    with pytest.raises(licences.LicenceRefused, match="PLATFORM says MIT"):
        licences.row(pin, metadata(License_Expression="AGPL-3.0-only"))


def test_a_version_that_is_not_installed_is_not_judged_by_another_one() -> None:
    with pytest.raises(licences.LicenceRefused, match="not installed"):
        licences.row(licences.Pin("some", "2.0"), metadata(License_Expression="MIT"))


def test_the_notice_of_the_recordings_is_beside_them() -> None:
    assert list(RECORDINGS.glob("*.json"))
    notice = (RECORDINGS / "LICENSE").read_text(encoding="utf-8")
    assert notice.startswith("MIT License")
    assert "Copyright (c) 2026 Justin Tanner" in notice
    assert "shall be included in all" in notice
