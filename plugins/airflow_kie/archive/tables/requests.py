"""A table of requests: CSV, JSON Lines or Parquet, read row by row; no letter of a cell is changed.

A cell of a CSV file is text. A column whose name ends in ``:json`` holds JSON (``seed:json``), and dots in a column's
name lead into an object (``input.prompt``). An empty cell is a field that is left out.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NoReturn

from airflow_kie.client.errors import KieInvalidRequest

MAX_ROWS = 100_000
MAX_BYTES = 1024 * 1024 * 1024
MAX_ROW_BYTES = 1024 * 1024


@dataclass(frozen=True)
class TableRow:
    """One row.

    :param fields: what it holds, by KIE's names.
    :param problem: why it cannot be read; empty: it can.
    """

    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    problem: str = ""


def read_rows(file: BinaryIO, name: str) -> Iterator[TableRow]:
    """Yield the rows of a table; one that cannot be read says so and stops no other.

    :param file: the table, from its beginning.
    :param name: its name, whose ending says what it is: ``.csv``, ``.jsonl``, ``.ndjson`` or ``.parquet``.
    :raises KieInvalidRequest: when the whole table cannot be read.
    """
    ending = name.rpartition(".")[2].lower()
    reader = {"csv": _csv_rows, "jsonl": _json_rows, "ndjson": _json_rows, "parquet": _parquet_rows}.get(ending)
    if reader is None:
        raise KieInvalidRequest(f"{name} does not end in .csv, .jsonl, .ndjson or .parquet; nothing was sent to KIE")
    for number, row in enumerate(reader(file)):
        if number == MAX_ROWS:
            raise KieInvalidRequest(f"{name} has more than {MAX_ROWS:,} rows; split it; nothing was sent to KIE")
        yield row


def _csv_rows(file: BinaryIO) -> Iterator[TableRow]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        lines = csv.reader(text, strict=True)
        columns = _columns(lines)
        while True:
            try:
                cells = next(lines, None)
            except csv.Error as error:
                if "field limit" in str(error):  # the lines that follow may be the rest of that cell
                    raise KieInvalidRequest(
                        f"a cell of the table has more than {csv.field_size_limit():,} characters at its line "
                        f"{lines.line_num}, or a quote before it is not closed; nothing was sent to KIE"
                    ) from None
                yield TableRow(problem=f"is not CSV: {error}")
                continue
            if cells is None:
                return
            if cells:
                yield _csv_row(columns, cells)
    finally:
        text.detach()


def _columns(lines: Iterator[list[str]]) -> list[str]:
    try:
        columns = [name.strip() for name in next(lines, ())]
        "".join(columns).encode()
    except UnicodeEncodeError:
        raise KieInvalidRequest("the table's first line is not UTF-8; nothing was sent to KIE") from None
    except csv.Error as error:
        raise KieInvalidRequest(f"the table's first line is not CSV: {error}; nothing was sent to KIE") from None
    if not columns or "" in columns or len(set(columns)) < len(columns):
        raise KieInvalidRequest("the table's first line has an empty or repeated column name; nothing was sent to KIE")
    return columns


def _csv_row(columns: list[str], cells: list[str]) -> TableRow:
    if len(cells) != len(columns):
        return TableRow(problem=f"has {len(cells)} cells, and the table has {len(columns)} columns")
    try:
        for cell in cells:
            cell.encode()
        return TableRow(_nested((name, cell) for name, cell in zip(columns, cells, strict=True) if cell))
    except UnicodeEncodeError:
        return TableRow(problem="is not UTF-8")
    except ValueError as error:
        return TableRow(problem=str(error))


def _json_rows(file: BinaryIO) -> Iterator[TableRow]:
    while line := file.readline(MAX_ROW_BYTES + 1):
        if len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(MAX_ROW_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield TableRow(problem=f"is longer than {MAX_ROW_BYTES:,} bytes")
        elif line.strip():
            try:
                fields = _parsed(line.decode("utf-8-sig"))
            except ValueError as error:  # also UnicodeDecodeError
                yield TableRow(problem=f"is not JSON: {error}")
                continue
            yield TableRow(fields) if isinstance(fields, dict) else TableRow(problem="is not a JSON object")


def _parquet_rows(file: BinaryIO) -> Iterator[TableRow]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise KieInvalidRequest(
            "a Parquet table needs the package pyarrow, which is not installed here: install it on the workers, or "
            "give the table as CSV or JSON Lines; nothing was sent to KIE"
        ) from None
    try:
        for batch in parquet.ParquetFile(file).iter_batches(batch_size=500):
            for fields in batch.to_pylist():
                try:
                    yield TableRow(_nested((name, value) for name, value in fields.items() if value is not None))
                except ValueError as error:
                    yield TableRow(problem=str(error))
    except (ArrowException, OSError) as error:
        raise KieInvalidRequest(f"the table cannot be read as Parquet: {error}; nothing was sent to KIE") from error


def _nested(cells: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields of named cells; dots in a name lead into an object."""
    fields: dict[str, Any] = {}
    for name, cell in cells:
        path, _, as_json = name.rpartition(":json")
        *outer, last = (path if path and not as_json else name).split(".")
        inner = fields
        for part in outer:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ValueError(f"its column {name} leads into a value")
        try:
            value = _parsed(cell) if path and not as_json and isinstance(cell, str) else cell
        except ValueError as error:
            raise ValueError(f"its column {name} is not JSON: {error}") from None
        known = inner.get(last, {})
        if last in inner and not (isinstance(known, dict) and isinstance(value, dict)):
            raise ValueError(f"its column {name} has a value from another column")
        inner[last] = {**known, **value} if known else value
    return fields


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
