"""What became of each request of a list: rows that are added while it runs, and one table in its order at the end."""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, BinaryIO, cast

from airflow_kie.archive.s3.bucket import Bucket

MAX_BYTES = 2 * 1024 * 1024 * 1024
MANY = 20
"""Objects with rows from which on they are joined."""
_NDJSON = "application/x-ndjson"


@dataclass(frozen=True)
class ResultTable:
    """The results of one list.

    While it runs each object below ``rows/`` holds some of the rows; of two with one request the later one holds.

    :param bucket: where.
    :param folder: the list's folder, with its slash.
    """

    bucket: Bucket
    folder: str

    @property
    def key(self) -> str:
        """The key of the table."""
        return f"{self.folder}results.jsonl"

    def clear(self) -> None:
        """Delete what an earlier run of the list has left; what it has archived stays."""
        for key in [self.key, *self._parts()]:
            self.bucket.delete(key)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write some rows, in one request."""
        body = b"".join(_line(row) for row in rows)
        self.bucket.put_bytes(
            body, f"{self.folder}rows/{time.time_ns():020d}-{secrets.token_hex(4)}.jsonl", content_type=_NDJSON
        )

    def known(self) -> dict[str, tuple[str, str | None]]:
        """Return status and KIE task of each request that has a row."""
        with self._rows() as (file, _):
            rows = map(json.loads, _lines(file))
            known = {row["request"]: (row["status"], row.get("task_id")) for row in rows}
            if len(parts := self._parts()) > MANY:  # each wait of a long list ends with reading them
                file.seek(0)
                self.add(map(json.loads, _lines(file)))
                for key in parts:
                    self.bucket.delete(key)
        return known

    def finish(self, requests: Iterable[tuple[int, str]], count: Callable[[Mapping[str, Any]], None]) -> None:
        """Write the table, one row for each request and in their order, then delete the single rows.

        :param requests: index and digest of each.
        :param count: called with each row.
        """
        digest, size = sha256(), 0
        with self._rows() as (file, offsets), tempfile.TemporaryFile() as table:
            for index, request in requests:
                file.seek(offsets[request])
                row = {**json.loads(file.readline()), "index": index}
                count(row)
                line = _line(row)
                digest.update(line)
                size += table.write(line)
            parts = self._parts()
            self.bucket.put_file(
                cast("BinaryIO", table), self.key, size=size, content_type=_NDJSON, sha256=digest.hexdigest()
            )
        for key in parts:
            self.bucket.delete(key)

    def _parts(self) -> list[str]:
        return [facts.key for facts in self.bucket.list(f"{self.folder}rows/")]

    @contextmanager
    def _rows(self) -> Iterator[tuple[BinaryIO, Mapping[str, int]]]:
        """Give all rows as they were written, in a file, and where the last one of each request begins."""
        with tempfile.TemporaryFile() as opened:
            file = cast("BinaryIO", opened)
            for key in [self.key, *self._parts()]:
                self.bucket.read_facts(key, file, MAX_BYTES)
            file.seek(0)
            offsets, at = {}, 0
            for line in _lines(file):
                offsets[json.loads(line)["request"]] = at
                at += len(line)
            file.seek(0)
            yield file, offsets


def _lines(file: BinaryIO) -> Iterator[bytes]:
    return iter(file.readline, b"")


def _line(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False, sort_keys=False) + "\n").encode(errors="backslashreplace")
