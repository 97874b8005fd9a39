"""Is an archive what its manifests say? Every file is held against its song's manifest, and no key is left out.

The listing is read song by song, so memory does not grow with the archive. What is written meanwhile is not taken for
damage: a song with a pending record is in work, one that has changed since it was listed is looked at again, and what a
listing lacks is asked for by its key before it counts as missing (some S3 services list late).
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from airflow_kie.archive.layout import INBOX, ArchiveKeys, SongKeys
from airflow_kie.archive.manifest import FileRecord, Manifest, read_manifest
from airflow_kie.archive.record_base import ArchiveUnreadable
from airflow_kie.archive.s3.bucket import Bucket, ObjectFacts
from airflow_kie.archive.s3.errors import S3Error
from airflow_kie.client.errors import Remedy
from airflow_kie.client.task_ids import KeyRefused

PARALLEL = 4
"""Songs that are read at a time."""
LONGEST_KEY = 1024
"""Bytes that S3 takes; it refuses a longer one, as it does an empty one, in a way that looks like its own trouble."""
_AHEAD = 4 * PARALLEL
_ATTEMPTS = 3
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Problem:
    """Something that is not as a manifest says.

    :param key: the object.
    :param told: what is wrong with it.
    """

    key: str
    told: str


@dataclass(frozen=True)
class VerifiedSong:
    """What became of one song.

    :param folder: its folder in the bucket.
    :param files: how many files its manifest names.
    :param size: bytes of them.
    :param problems: what is wrong.
    :param in_work: files that no manifest names yet belong to a song that is still owed something.
    """

    folder: str
    files: int = 0
    size: int = 0
    problems: tuple[Problem, ...] = ()
    in_work: bool = False


def count_songs(bucket: Bucket, archive: ArchiveKeys, since: datetime | None = None) -> int:
    """Return how many songs there are to verify; only the listing is read."""
    return sum(1 for _ in _songs(bucket, archive, since))


def verify_archive(
    bucket: Bucket, archive: ArchiveKeys, *, since: datetime | None = None, fast: bool = False
) -> Iterator[VerifiedSong]:
    """Yield what became of every song, in the order of the folders.

    :param bucket: where the archive is.
    :param archive: its prefix.
    :param since: only songs whose manifest was written at this time or later; without a manifest, any of their files.
    :param fast: compare sizes by the listing, and read the manifests only.
    :raises S3Error: when the bucket cannot be read.
    """
    check = _Check(bucket, archive, fast)
    with ThreadPoolExecutor(PARALLEL) as pool:
        running: deque[Future[VerifiedSong]] = deque()
        try:
            for folder, objects in _songs(bucket, archive, since):
                running.append(pool.submit(check.song, folder, objects))
                if len(running) >= _AHEAD:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def _songs(
    bucket: Bucket, archive: ArchiveKeys, since: datetime | None
) -> Iterator[tuple[str, Mapping[str, ObjectFacts]]]:
    """Yield each song's folder with its objects; the archive's own records are no songs."""

    def folder_of(facts: ObjectFacts) -> str:
        return facts.key.removeprefix(archive.root).partition("/")[0]

    records = {archive.probe, archive.inbox_taken}
    for name, group in itertools.groupby(bucket.list(archive.root), folder_of):
        objects = {facts.key: facts for facts in group}
        folder = f"{archive.root}{name}/"
        if folder in (archive.pending, archive.inbox_orders, archive.raw_answers, INBOX) or objects.keys() <= records:
            continue
        if since is None or _written(folder, objects) >= since:
            yield folder, objects


def _written(folder: str, objects: Mapping[str, ObjectFacts]) -> datetime:
    manifest = objects.get(f"{folder}manifest.json")
    return manifest.last_modified if manifest else max(facts.last_modified for facts in objects.values())


@dataclass(frozen=True)
class _Check:
    """Verifies songs; the parameters are those of :func:`verify_archive`."""

    bucket: Bucket
    archive: ArchiveKeys
    fast: bool

    def song(self, folder: str, objects: Mapping[str, ObjectFacts]) -> VerifiedSong:
        """Return what became of a song; one that was written or deleted since it was listed is looked at again."""
        found = self._once(folder, objects)
        if not found.problems or not all(key.startswith(folder) for key in objects):
            return found
        now = {facts.key: facts for facts in self.bucket.list(folder)}
        if now == objects:
            return found
        return self._once(folder, now) if now else VerifiedSong(folder)

    def _once(self, folder: str, objects: Mapping[str, ObjectFacts]) -> VerifiedSong:
        try:
            keys = self.archive.song(folder.removeprefix(self.archive.root).rstrip("/"))
        except KeyRefused:
            return VerifiedSong(folder, problems=_strays(objects, "it stands in no song's folder"))
        try:
            manifest = read_manifest(self.bucket, keys)
        except ArchiveUnreadable as error:
            return VerifiedSong(folder, problems=(Problem(keys.manifest, error.facts.message),))
        if manifest is None:
            strays = _strays(objects, "the song has no manifest, and nothing of it is owed")
            return self._unless_in_work(keys, VerifiedSong(folder), strays)
        broken = tuple(problem for file in manifest.files for problem in self._file(keys, file, objects))
        size = sum(file.size for file in manifest.files)
        verified = VerifiedSong(folder, len(manifest.files), size, broken)
        return self._unless_in_work(keys, verified, self._unnamed(keys, manifest, objects))

    def _unless_in_work(self, keys: SongKeys, song: VerifiedSong, strays: Sequence[Problem]) -> VerifiedSong:
        """Return the song with its strays as problems, unless they are those of a song that is being archived now."""
        if not strays:
            return song
        if self.bucket.head(keys.pending):
            return replace(song, in_work=True)
        return replace(song, problems=(*song.problems, *strays))

    def _unnamed(self, keys: SongKeys, manifest: Manifest, objects: Mapping[str, ObjectFacts]) -> Sequence[Problem]:
        named = {keys.manifest, keys.choice, *(file.key for file in manifest.files)}
        return _strays({key: facts for key, facts in objects.items() if key not in named}, "no manifest names it")

    def _file(self, keys: SongKeys, file: FileRecord, objects: Mapping[str, ObjectFacts]) -> Iterator[Problem]:
        if not file.key.startswith(keys.folder) or len(file.key.encode()) > LONGEST_KEY:
            yield Problem(keys.manifest, f"it names {file.key[:200]!r}, which is no file of the song's folder")
            return
        stored = (objects.get(file.key) or self.bucket.head(file.key)) if self.fast else self._read(file.key)
        if stored is None:
            yield Problem(file.key, "it is missing")
        elif stored.size != file.size:
            yield Problem(file.key, f"it has {stored.size:,} bytes, its manifest says {file.size:,}")
        elif not self.fast:
            yield from _content_problems(file, stored)

    def _read(self, key: str) -> ObjectFacts | None:
        """Read an object; a passing trouble of S3 in the midst of a long archive is no reason to begin again."""
        for attempt in range(1, _ATTEMPTS):
            try:
                return self.bucket.read_facts(key)
            except S3Error as error:
                if error.remedy is Remedy.PERSON:
                    raise
                time.sleep(_PAUSE_SECONDS * attempt)
        return self.bucket.read_facts(key)


def _content_problems(file: FileRecord, stored: ObjectFacts) -> Iterator[Problem]:
    if stored.sha256 != file.sha256:
        yield Problem(file.key, f"its SHA-256 is {stored.sha256}, its manifest says {file.sha256}")
    told, said = _essence(stored.content_type), _essence(file.content_type)
    if told != said:
        yield Problem(file.key, f"its content type is {told or 'not set'}, its manifest says {said}")


def _essence(content_type: str | None) -> str:
    """Return a content type without its parameters: some services add a charset."""
    return (content_type or "").partition(";")[0].strip().lower()


def _strays(objects: Mapping[str, ObjectFacts], why: str) -> tuple[Problem, ...]:
    return tuple(Problem(key, why) for key in objects)
