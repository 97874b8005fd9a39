"""Is an archive what its manifests say? Every file is compared with its song's manifest, and no key is left out.

The listing is read song by song, so memory does not grow with the archive. What is written meanwhile does not count as
damage: a song with a pending record is in progress, one that has changed since it was listed is checked again, and what
a listing lacks is asked for by its key before it counts as missing (some S3 services list late).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_incrementing

from airflow_kie.archive.extras.storing import FOLDER
from airflow_kie.archive.layout import FAILED, INBOX, MAX_KEY_BYTES, RETRY, UNARCHIVED, ArchiveKeys, SongKeys, TaskKeys
from airflow_kie.archive.manifest import FileRecord, Manifest, TaskManifest
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import ArchiveUnreadable, S3Error
from airflow_kie.archive.s3.objects import ObjectFacts
from airflow_kie.client.errors import Remedy
from airflow_kie.client.task_ids import KeyRefused

PARALLEL = 4
"""Songs that are read at a time."""
LATELY = timedelta(hours=1)
"""A task, or an extra, whose files were written after this may be being archived."""
_AHEAD = 4 * PARALLEL
# S3 may fail for a moment while a long archive is read.
_RETRYING = Retrying(
    stop=stop_after_attempt(3),
    wait=wait_incrementing(start=1, increment=1),
    retry=retry_if_exception(lambda error: isinstance(error, S3Error) and error.remedy is not Remedy.PERSON),
    reraise=True,
)


@dataclass(frozen=True)
class Problem:
    """Something that is not as a manifest says.

    :param key: the object.
    :param text: what is wrong with it.
    """

    key: str
    text: str


@dataclass(frozen=True)
class VerifiedSong:
    """What became of one song, or of another task.

    :param folder: its folder in the bucket.
    :param files: how many files its manifest names.
    :param size: bytes of them.
    :param problems: what is wrong.
    :param in_progress: files that no manifest names yet belong to a song that is pending.
    """

    folder: str
    files: int = 0
    size: int = 0
    problems: tuple[Problem, ...] = ()
    in_progress: bool = False


def count_songs(bucket: Bucket, archive: ArchiveKeys, since: datetime | None = None) -> int:
    """Return how many songs there are to verify; only the listing is read."""
    return sum(1 for _ in _songs(bucket, archive, since))


def verify_archive(
    bucket: Bucket,
    archive: ArchiveKeys,
    *,
    since: datetime | None = None,
    fast: bool = False,
    folders: Sequence[str] | None = None,
) -> Iterator[VerifiedSong]:
    """Yield what became of every song, in the order of the folders.

    :param bucket: where the archive is.
    :param archive: its prefix.
    :param since: only songs whose manifest was written at this time or later; without a manifest, any of their files.
    :param fast: compare sizes by the listing, and read the manifests only.
    :param folders: only these; None: all.
    :raises S3Error: when the bucket cannot be read.
    """
    check = _Check(bucket, archive, fast)
    songs = _songs(bucket, archive, since)
    if folders is not None:
        songs = ((folder, {facts.key: facts for facts in bucket.list(folder)}) for folder in folders)
    with ThreadPoolExecutor(PARALLEL) as pool:
        while some := list(itertools.islice(songs, _AHEAD)):
            yield from pool.map(lambda song: check.song(*song), some)


def _songs(
    bucket: Bucket, archive: ArchiveKeys, since: datetime | None
) -> Iterator[tuple[str, Mapping[str, ObjectFacts]]]:
    """Yield each song's folder with its objects, without the archive's own records."""

    def folder_of(facts: ObjectFacts) -> str:
        depth = 3 if facts.key.startswith(archive.tasks) else 1
        return "/".join(facts.key.removeprefix(archive.root).split("/")[:depth])

    records = {archive.probe, archive.inbox_taken, archive.catalogue}
    folders = {archive.pending, archive.inbox_orders, archive.raw_answers, archive.paid_requests, archive.index, INBOX}
    folders |= {archive.lists, archive.uploads, archive.runs, archive.releases}
    folders |= {f"{archive.root}{name}/" for name in (RETRY, FAILED, UNARCHIVED)}
    for name, group in itertools.groupby(bucket.list(archive.root), folder_of):
        objects = {facts.key: facts for facts in group}
        folder = f"{archive.root}{name}/"
        if folder in folders or objects.keys() <= records:
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
        """Return what became of a song; one that was written or deleted since it was listed is checked again."""
        found = self._once(folder, objects)
        if not found.problems or not all(key.startswith(folder) for key in objects):
            return found
        now = {facts.key: facts for facts in self.bucket.list(folder)}
        if now == objects:
            return found
        return self._once(folder, now) if now else VerifiedSong(folder)

    def _once(self, folder: str, objects: Mapping[str, ObjectFacts]) -> VerifiedSong:
        try:
            keys = self.archive.at(folder)
            manifest = self._manifest(keys)
        except KeyRefused:
            return VerifiedSong(folder, problems=_strays(objects, "it is not in the folder of any song or task"))
        except ArchiveUnreadable as error:
            return VerifiedSong(folder, problems=(Problem(f"{folder}manifest.json", error.facts.message),))
        files = manifest.files if manifest else ()
        named = {keys.manifest, *(file.key for file in files)} if manifest else set[str]()
        if isinstance(keys, SongKeys) and manifest:
            named.add(keys.choice)
        why = "no manifest names it" if manifest else "it has no manifest, and is not being archived"
        strays = _strays({key: facts for key, facts in objects.items() if key not in named}, why)
        broken = tuple(problem for file in files for problem in self._file(keys, file, objects))
        song = VerifiedSong(folder, len(files), sum(file.size for file in files), broken)
        if not strays:
            return song
        if self._in_progress(keys, [objects[stray.key] for stray in strays]):
            return replace(song, in_progress=True)
        return replace(song, problems=(*broken, *strays))

    def _manifest(self, keys: SongKeys | TaskKeys) -> TaskManifest | None:
        record = Manifest if isinstance(keys, SongKeys) else TaskManifest
        return record.read(self.bucket, keys)[0]

    def _in_progress(self, keys: SongKeys | TaskKeys, strays: Sequence[ObjectFacts]) -> bool:
        """Return whether it is being archived now: a song is pending, a task's files or extras were written lately."""
        folder, since = keys.folder, datetime.now(UTC) - LATELY
        if isinstance(keys, SongKeys):
            if self.bucket.head(keys.pending) is not None:
                return True
            folder += FOLDER
        return all(one.last_modified > since and one.key.startswith(folder) for one in strays)

    def _file(
        self, keys: SongKeys | TaskKeys, file: FileRecord, objects: Mapping[str, ObjectFacts]
    ) -> Iterator[Problem]:
        if not file.key.startswith(keys.folder) or len(file.key.encode()) > MAX_KEY_BYTES:
            yield Problem(keys.manifest, f"it names {file.key[:200]!r}, which is not in its folder")
            return
        if self.fast:
            stored = objects.get(file.key) or self.bucket.head(file.key)
        else:
            stored = _RETRYING.copy()(self.bucket.read_facts, file.key)
        if stored is None:
            yield Problem(file.key, "it is missing")
        elif stored.size != file.size:
            yield Problem(file.key, f"it has {stored.size:,} bytes, its manifest says {file.size:,}")
        elif not self.fast:
            yield from _content_problems(file, stored)


def _content_problems(file: FileRecord, stored: ObjectFacts) -> Iterator[Problem]:
    if stored.sha256 != file.sha256:
        yield Problem(file.key, f"its SHA-256 is {stored.sha256}, its manifest says {file.sha256}")
    found, expected = _essence(stored.content_type), _essence(file.content_type)
    if found != expected:
        yield Problem(file.key, f"its content type is {found or 'not set'}, its manifest says {expected}")


def _essence(content_type: str | None) -> str:
    """Return a content type without its parameters: some services add a charset."""
    return (content_type or "").partition(";")[0].strip().lower()


def _strays(objects: Mapping[str, ObjectFacts], why: str) -> tuple[Problem, ...]:
    return tuple(Problem(key, why) for key in objects)
