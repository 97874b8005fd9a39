"""docs/why-not-a-script.md: every row names a test that shows it; tests that pages name exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SECTION = (ROOT / "docs" / "why-not-a-script.md").read_text(encoding="utf-8")
ROWS = [line.strip("|").split("|") for line in SECTION.splitlines() if line.startswith("| ")][1:]
_LINK = re.compile(r'\]\((?:\.\./)*(tests/[\w/]+\.py)(?: "(\w+)")?\)')


def named_tests(text: str) -> list[tuple[str, str]]:
    """Return file and function of every link to a test."""
    return _LINK.findall(text)


def functions(file: Path) -> set[str]:
    """Return the functions of a module."""
    return {node.name for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_the_table_has_a_row_for_each_thing_that_goes_wrong() -> None:
    listed = " ".join(row[0] for row in ROWS)
    for what in ("worker dies", "answer", "cleared", "down for a day", "link", "callback", "0 bytes", "two runs",
                 "credits", "bucket"):  # fmt: skip
        assert what in listed.lower(), what
    assert {len(row) for row in ROWS} == {4}


@pytest.mark.parametrize("row", ROWS, ids=[row[0].strip() for row in ROWS])
def test_a_row_names_a_test_that_exists(row: list[str]) -> None:
    named = named_tests(row[3])
    assert named
    assert [(file, name) for file, name in named if name not in functions(ROOT / file)] == []


def test_what_is_claimed_of_stock_providers_is_tested_too() -> None:
    intro = SECTION.partition("|")[0]
    assert [file for file, _ in named_tests(intro)] == ["tests/unit/operators/test_stock_operators.py"]
    assert all((ROOT / file).is_file() for file, _ in named_tests(intro))


def test_every_test_that_another_page_names_exists() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    named = {found for page in pages for found in named_tests(page.read_text(encoding="utf-8")) if found[1]}
    assert ("tests/integration/archive/test_song.py", "test_embedded_provenance_survives") in named
    assert [(file, name) for file, name in named if name not in functions(ROOT / file)] == []
