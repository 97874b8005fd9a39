"""The documented queries of the index: what other programs read of it is what the library shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_kie.archive.index.entry import IndexChoice, IndexEntry, IndexFile
from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.record_base import Label

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "songs.md").read_text(encoding="utf-8")
QUERY, TABLE, ATHENAS = re.findall(
    r"(?:^    .*\n)+", GUIDE[GUIDE.index("If the archive is older than the library") :], re.M
)[:3]
FILE = IndexFile(name="cover-1.png", kind="cover", position=1, content_type="image/png", size=1)


@dataclass(frozen=True)
class Folder:
    """A bucket that is a folder, for what writes the index."""

    path: Path

    def put_bytes(self, content: bytes, key: str, **_: Any) -> None:
        file = self.path / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    index = Index(Folder(tmp_path), ArchiveKeys("songs"))  # type: ignore[arg-type]
    song = IndexEntry(
        id="a", operation="suno.music", title="Été", model="V6", files=(FILE,), archived_at=NOW, updated_at=NOW
    )
    later = {"updated_at": NOW + timedelta(minutes=1)}
    labels, choice = (Label(name="album", value="A-17"),), IndexChoice(cover=1, by="ann", at=NOW)
    index.add(
        [song, song.changed(id="b", archived_at=NOW - timedelta(days=40)), song.changed(id="a", operation="market")]
    )
    index.add([song.changed(title="Été sans fin", labels=labels, choice=choice, expires_at=NOW, **later)])
    index.add([song.changed(id="b", archived_at=NOW - timedelta(days=40), **later).as_deleted(NOW + timedelta(days=1))])
    return index


def test_duckdb_finds_what_the_library_shows_by_the_guides_query(index: Index, tmp_path: Path) -> None:
    query = QUERY.replace("s3://my-covers", str(tmp_path))
    assert query != QUERY
    found = duckdb.sql(query).fetchall()
    assert sorted(found) == [("Été", "V6", NOW), ("Été sans fin", "V6", NOW)]


def test_the_guides_table_for_athena_names_fields_that_a_line_has() -> None:
    fields = re.findall(r"(\w+) (?:string|double|boolean|array)\b", TABLE)
    assert {"id", "operation", "updated_at", "deleted"} <= set(fields) <= set(IndexEntry.model_fields)
    parts = {"labels": Label, "files": IndexFile}
    for name, inside in re.findall(r"(\w+) array<struct<(.*?)>>", TABLE):
        assert set(re.findall(r"(\w+):", inside)) <= set(parts[name].model_fields)
    assert "songs_index" in TABLE and "from songs_index" in ATHENAS
