"""Two runs of one song that ask for different files: in whatever order they read, write and delete, nothing is lost."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any, BinaryIO

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_kie.archive.archiver import archive_song
from airflow_kie.archive.file_transfer import Source
from airflow_kie.archive.layout import SongKeys
from airflow_kie.archive.manifest import (
    AvailableRecord,
    FileKind,
    FileRecord,
    Manifest,
    SongRecord,
    Wanted,
)
from airflow_kie.archive.pending import Options, new_pending
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.client.http.download import DownloadFacts
from media_server import picture, wav

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEYS = SongKeys("songs", "abc")
COVERS, AUDIO, BOTH = Wanted(), Wanted(covers=False, audio=True), Wanted(audio=True)
FILES = {FileKind.COVER: picture(), FileKind.TRACK: wav(0.01)}


class Killed(BaseException):
    """The process that made the request is gone."""


@dataclass
class Turns:
    """Lets one run at a time make its next request, in an order that is given; a run can be killed at a request.

    :param order: which run comes next, 0 or 1; when it ends, the runs go on one after the other.
    :param kill: the run and how many of its requests are answered before it dies; None: nobody dies.
    """

    order: list[int]
    kill: tuple[int, int] | None = None
    _ended: set[int] = field(default_factory=set)
    _made: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    _turn: threading.Condition = field(default_factory=threading.Condition)
    _local: Any = field(default_factory=threading.local)

    def run(self, number: int, work: Callable[[], None]) -> None:
        self._local.number = number
        try:
            work()
        except Killed:
            pass
        finally:
            with self._turn:
                self._ended.add(number)
                self._turn.notify_all()

    def take(self) -> None:
        """Wait until it is this run's turn; outside of the two runs it always is."""
        number = getattr(self._local, "number", None)
        if number is None:
            return
        with self._turn:
            self._turn.wait_for(lambda: self._next() == number)
            if self.order:
                self.order.pop(0)
            if self.kill == (number, self._made[number]):
                raise Killed
            self._made[number] += 1
            self._turn.notify_all()

    def _next(self) -> int:
        while self.order and self.order[0] in self._ended:
            self.order.pop(0)
        return self.order[0] if self.order else min({0, 1} - self._ended)


@dataclass
class MemoryS3:
    """The requests of an S3 client that the archive makes, each one atomic, with AWS's conditional requests."""

    turns: Turns
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)

    def _answer(self, key: str) -> dict[str, Any]:
        if key not in self.objects:
            raise _refusal(404, "NoSuchKey")
        body, metadata = self.objects[key]
        return {
            "Body": BytesIO(body), "ETag": _etag(body), "ContentLength": len(body), "LastModified": NOON,
            "Metadata": metadata,
        }  # fmt: skip

    def _check(self, key: str, asked: dict[str, Any]) -> None:
        stands = _etag(self.objects[key][0]) if key in self.objects else None
        if asked.get("IfNoneMatch") == "*" and stands:
            raise _refusal(412, "PreconditionFailed")
        if "IfMatch" in asked and stands != asked["IfMatch"]:
            raise _refusal(412, "PreconditionFailed") if stands else _refusal(404, "NoSuchKey")

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        self.turns.take()
        return self._answer(Key)

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        self.turns.take()
        return self._answer(Key)

    def put_object(self, *, Bucket: str, Key: str, Body: bytes | BinaryIO, **asked: Any) -> dict[str, str]:
        self.turns.take()
        self._check(Key, asked)
        self.objects[Key] = (Body if isinstance(Body, bytes) else Body.read(), asked.get("Metadata", {}))
        return {}

    def delete_object(self, *, Bucket: str, Key: str, **asked: Any) -> None:
        self.turns.take()
        self._check(Key, asked)
        self.objects.pop(Key, None)


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()}"'


def _refusal(status: int, code: str) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "request")


def _download(url: str, into: BinaryIO, *, max_bytes: int) -> DownloadFacts:
    body = FILES[FileKind(url.rpartition("/")[2])]
    into.write(body)
    return DownloadFacts(len(body), hashlib.sha256(body).hexdigest(), length_proven=True)


def run_of_a_song(bucket: Bucket, wanted: Wanted) -> None:
    """Do what a run does: note what it asks for, archive it, and delete the record if nothing is owed any more."""
    asked = new_pending("abc", received_from="form", now=NOON).changed(options=Options.of(wanted))
    archive = SongArchive(bucket, KEYS)
    manifest = archive.manifest()
    if manifest and not wanted.missing_in(manifest):
        archive.settle_pending(manifest)
        return
    archive.merge_pending(asked)
    manifest = archive.manifest()
    sources = [Source(kind, 1, url=f"https://kie.example/{kind}", task_id=f"task-{kind}") for kind in wanted.kinds]
    song = Manifest(music_task_id="abc", created_at=NOON, updated_at=NOON)
    clock = iter(range(1_000_000))
    archive_song(
        archive, song, sources, old=manifest, wanted=wanted, download=_download,
        now=lambda: NOON + timedelta(seconds=next(clock)), sleep=lambda _: None,
    )  # fmt: skip


WISHES = st.sampled_from([COVERS, AUDIO, BOTH])


@settings(max_examples=300, deadline=None)
@given(
    first=WISHES,
    second=WISHES,
    order=st.lists(st.integers(0, 1), max_size=60),
    kill=st.none() | st.tuples(st.integers(0, 1), st.integers(0, 25)),
)
def test_what_two_runs_ask_for_is_archived_or_pending_in_every_order_of_their_requests(
    first: Wanted, second: Wanted, order: list[int], kill: tuple[int, int] | None
) -> None:
    turns = Turns(order, kill)
    bucket = Bucket(MemoryS3(turns), "b")
    SongArchive(bucket, KEYS).merge_pending(new_pending("abc", received_from="callback", now=NOON))
    with ThreadPoolExecutor(2) as pool:
        futures = [
            pool.submit(turns.run, number, lambda wanted=wanted: run_of_a_song(bucket, wanted))
            for number, wanted in enumerate((first, second))
        ]
        for future in futures:
            future.result(20)
    manifest, pending = SongArchive(bucket, KEYS).manifest(), SongArchive(bucket, KEYS).pending()
    for number, wanted in enumerate((first, second)):
        missing = set(wanted.missing_in(manifest))
        if kill is None or kill[0] != number:
            assert not missing, "a run that ended has archived what it asked for"
        elif kill[1] > 4 or FileKind.COVER in missing:  # it had noted what it asks for
            assert missing <= set(pending.wanted.kinds if pending else ()), "what is missing is pending"
    if pending is not None and kill is None:
        assert pending.wanted.missing_in(manifest), "a record stays only while something is missing"
    if manifest is not None:  # it never names what is not there
        assert all(bucket.head(file.key) for file in manifest.files)


@pytest.mark.parametrize("kind", list(FileKind))
def test_a_kind_is_archived_when_a_file_stands_at_each_position_that_kie_has(kind: FileKind) -> None:
    wanted = Wanted(kind is FileKind.COVER, kind is FileKind.TRACK, kind is FileKind.LYRICS)
    assert wanted.missing_in(None) == (kind,)
    assert wanted.missing_in(_manifest(kind, files=[1, 2], at_kie=None)) == (kind,)
    assert wanted.missing_in(_manifest(kind, files=[2], at_kie=[1, 2])) == (kind,)
    assert wanted.missing_in(_manifest(kind, files=[1, 2, 3], at_kie=[1, 2])) == ()


def test_lyrics_that_kie_does_not_have_are_not_missing_but_covers_and_tracks_are() -> None:
    for kind in FileKind:
        wanted = Wanted(kind is FileKind.COVER, kind is FileKind.TRACK, kind is FileKind.LYRICS)
        missing = wanted.missing_in(_manifest(kind, files=[], at_kie=[]))
        assert missing == (() if kind is FileKind.LYRICS else (kind,))
    instrumental = Manifest(music_task_id="abc", song=SongRecord(instrumental=True), created_at=NOON, updated_at=NOON)
    assert Wanted(covers=False, lyrics=True).missing_in(instrumental) == ()


def _manifest(kind: FileKind, files: list[int], at_kie: list[int] | None) -> Manifest:
    records = tuple(
        FileRecord(
            key=f"{kind}-{n}", kind=kind.value, position=n, size=1, sha256="0" * 64, content_type="x/y",
            archived_at=NOON,
        )
        for n in files
    )  # fmt: skip
    known = () if at_kie is None else (AvailableRecord(kind=kind.value, positions=tuple(at_kie)),)
    return Manifest(music_task_id="abc", files=records, available=known, created_at=NOON, updated_at=NOON)
