"""How a table of a page is written."""

from __future__ import annotations

from collections.abc import Iterable


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown.

    :param heads: what is above the columns.
    :param rows: the cells of each row.
    """
    lines = [list(heads), *[list(row) for row in rows]]
    marked = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([marked[0], "|---" * len(lines[0]) + "|", *marked[1:]]) + "\n"
