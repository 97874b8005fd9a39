"""``./run matrix``: its table keeps the rows that were not run, and its tools are not held to the lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_stack import matrix
from local_stack.settings import PROJECT


def test_a_row_replaces_its_own_line_and_leaves_the_others_and_the_text_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "compatibility.md"
    page.write_text("before\n<!-- matrix -->\n<!-- /matrix -->\nafter\n")
    monkeypatch.setattr(matrix, "PAGE", page)
    for name, part, passed in (("next", "unit", 7), ("lowest", "unit", 8), ("next", "unit", 9), ("next", "system", 6)):
        matrix._write(name, "Python 3.11.7", f"3.4.0b2 | 2026-11-29 | {part} | {passed} | 0")
    before, *table, after = page.read_text().splitlines()
    assert (before, after) == ("before", "after")
    rows = [line for line in table if line.startswith(("| lowest", "| next"))]
    assert [row.split(" | ")[-2:] for row in rows] == [["8", "0 |"], ["6", "0 |"], ["9", "0 |"]]


def test_the_real_page_has_a_place_for_the_table() -> None:
    assert matrix._TABLE.search((PROJECT / "docs" / "compatibility.md").read_text())


def test_the_tests_tools_are_named_without_airflow_and_without_versions() -> None:
    tools = [line.strip() for line in matrix._tools()]
    assert "pytest" in tools
    assert not [tool for tool in tools if tool.startswith("apache-airflow=") or "==" in tool]
