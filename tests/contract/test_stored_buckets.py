"""What each version has stored in a bucket is read by this one, object by object, and none is left unread.

``tests/data/stored/<version>/`` is what a chain, a table, an upload, a release and a ledger of every ending left in a
bucket, without the media. The folders of released versions are never edited; a version that stores something else gets
one of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_kie.archive.choice import Choice
from airflow_kie.archive.delivery.records import Release, ReleaseManifest
from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.ledger_store import BucketLedgerStore
from airflow_kie.archive.manifest import Manifest, TaskManifest
from airflow_kie.archive.pending import Pending
from airflow_kie.archive.record_base import Record
from airflow_kie.archive.run_songs import read_songs
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.tables.results import ResultTable
from airflow_kie.hooks.uploads import UploadRecord
from airflow_kie.lifecycle.claims import AlreadyMade, InDoubt, RequestId
from airflow_kie.lifecycle.ledger import Ledger
from simulated.s3 import Client, Objects

STORED = Path(__file__).parents[1] / "data" / "stored"
VERSIONS = sorted(folder.name for folder in STORED.iterdir())
SONG = "cad4a5be62ba01bfe7a07a8ff9ab1ed0"
LATER = datetime(2027, 1, 1, tzinfo=UTC).timestamp()


def bucket_of(version: str) -> Bucket:
    """Return a bucket with what a version has stored."""
    files = (path for path in (STORED / version).rglob("*") if path.is_file())
    objects = Objects(bodies={path.relative_to(STORED / version).as_posix(): path.read_bytes() for path in files})
    return Bucket(Client(objects, lambda _, effect: effect("")), "songs")


def holds(now: Any, stored: Any) -> bool:
    """Return whether every stored field and value is there; a later version may know more."""
    if isinstance(stored, dict):
        return isinstance(now, dict) and all(name in now and holds(now[name], value) for name, value in stored.items())
    if isinstance(stored, list):
        return isinstance(now, list) and len(now) == len(stored) and all(map(holds, now, stored))
    return bool(now == stored)


def record(kind: type[Record]) -> Callable[[Bucket, str], None]:
    """Return what reads a record, which must have every stored field and value."""

    def read(bucket: Bucket, key: str) -> None:
        stored = bucket.get_json(key)
        now = kind.from_json(stored, key).to_json()
        assert holds(now, stored), now

    return read


def index(bucket: Bucket, key: str) -> None:
    lines = bucket.client.objects.bodies[key].splitlines()
    read = Index(bucket, ArchiveKeys(key.partition("/")[0])).read(key) or []
    assert [entry.to_json()["id"] for entry in read] == [json.loads(line)["id"] for line in lines]


def songs_of_a_run(bucket: Bucket, key: str) -> None:
    body = bucket.client.objects.bodies[key]
    batch = {"songs": len(body.splitlines()), "list": key, "start": 0, "end": len(body)}
    assert next(song["music_task_id"] for song in read_songs(bucket, batch)) == SONG


def results(bucket: Bucket, key: str) -> None:
    rows = ResultTable(bucket, key.removesuffix("results.jsonl")).known().values()
    assert {status for status, _ in rows} == {"archived"}


def upload(bucket: Bucket, key: str) -> None:
    assert UploadRecord(**bucket.get_json(key)).source.startswith("s3://")


def shape(bucket: Bucket, key: str) -> None:
    """Read what only people read."""
    assert bucket.get_json(key)["operation"]


def ledger(bucket: Bucket, key: str) -> None:
    """Find the task of a request that has one, and the doubt of one that has none; no name is unknown."""
    paid = Ledger(BucketLedgerStore(bucket, "songs/_paid/"), lambda: LATER)
    account, operation, digest, name = key.removeprefix("songs/_paid/").split("/")
    request = RequestId(account, operation, digest)
    word = name.split(".")[1]
    attempt = next(one for one in paid.attempts(request) if one.number == int(name.split(".")[0]))
    assert word in attempt.endings
    last = paid.attempts(request)[-1]
    if operation == "suno.music" and account == "studio":
        (doubted,) = paid.doubts(account)
        assert doubted[0] == request and isinstance(doubted[1], InDoubt) and doubted[1].balance == 88.0
    else:
        found = paid.find(request)
        assert isinstance(found, AlreadyMade) and found.number == last.number
        assert found.task_id == (last.task_id or f"answer-{digest}-1")


def beside_the_ledger(bucket: Bucket, key: str) -> None:
    """Read a doubt and a kept answer, which are found by their request."""
    assert json.loads(bucket.client.objects.bodies[key])


READERS: dict[str, Callable[[Bucket, str], None]] = {
    r"songs/_pending/[0-9a-f]{32}\.json": record(Pending),
    r"songs/[0-9a-f]{32}/manifest\.json": record(Manifest),
    r"songs/[0-9a-f]{32}/choice\.json": record(Choice),
    r"\w+/_tasks/[\w.]+/[0-9a-f]{32}/manifest\.json": record(TaskManifest),
    r"songs/release/[^/]+/manifest\.json": record(ReleaseManifest),
    r"songs/release/[^/]+/metadata\.json": record(Release),
    r"\w+/_index/\d{4}-\d{2}/.+\.jsonl": index,
    r"songs/_runs/[0-9a-f]{32}/[0-9a-f]{32}\.jsonl": songs_of_a_run,
    r"media/_lists/.+/results\.jsonl": results,
    r"songs/_uploads/\w+/[0-9a-f]{32}\.json": upload,
    r"songs/_raw/.+\.json": shape,
    r"songs/_paid/(_doubt|_answers|_released)/.+": beside_the_ledger,
    r"songs/_paid/[a-z]\w*/.+": ledger,
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("pattern", READERS)
def test_what_a_version_has_stored_is_read(version: str, pattern: str) -> None:
    bucket = bucket_of(version)
    keys = [key for key in bucket.client.objects.bodies if re.fullmatch(pattern, key)]
    assert keys
    for key in keys:
        READERS[pattern](bucket, key)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_that_a_version_has_stored_has_one_reader(version: str) -> None:
    for key in bucket_of(version).client.objects.bodies:
        assert sum(bool(re.fullmatch(pattern, key)) for pattern in READERS) == 1, key


def test_every_word_of_the_ledger_is_among_what_was_stored() -> None:
    paid = r"songs/_paid/studio/.+/\d+\.(\w+).*"
    words = {found[1] for key in bucket_of("0.1.0").client.objects.bodies if (found := re.fullmatch(paid, key))}
    assert words == {"intent", "task", "refused", "failed", "released", "unanswered", "repeated", "used"}
