"""Delete a result: its files, what was chosen of it, its line in the index, its pending record, its inbox objects.

The manifest goes first, so that a removal that breaks off leaves nothing that seems whole; running it again continues.
The ledger of paid requests stays: it alone keeps the same request from being paid again without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from airflow_kie.archive.delivery.keys import ReleaseKeys
from airflow_kie.archive.delivery.records import ReleaseManifest
from airflow_kie.archive.index.entry import entry_of
from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.layout import FAILED, INBOX, RETRY, ArchiveKeys
from airflow_kie.archive.manifest import Manifest
from airflow_kie.archive.removing.inbox import Named, objects_that_name, reason_of
from airflow_kie.archive.removing.places import Place
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.archive.unarchived import unarchived_keys
from airflow_kie.client.task_ids import KeyRefused

_PARALLEL = 8
_RAW_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Removal:
    """What is deleted of a KIE task's results, and what is not.

    :param bucket: where.
    :param archive: the archive's keys.
    :param place: the folder.
    :param records: keys of records outside of the folder: pending, failed, the inbox's, KIE's first answer.
    :param shared: keys of inbox objects that name other songs too: they stay.
    :param releases: folders of releases that are made of it: they stay.
    """

    bucket: Bucket
    archive: ArchiveKeys
    place: Place
    records: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()

    @property
    def keys(self) -> Iterator[str]:
        """The keys of all that is deleted, the manifest first."""
        place = self.place
        if place.whole and place.keys.manifest in place.objects:
            yield place.keys.manifest
        yield from (key for key in place.objects if key != place.keys.manifest)
        yield from self.records

    def carry_out(self) -> None:
        """Delete it.

        :raises S3Error: its subclass says why; running it again continues.
        """
        place, index = self.place, Index(self.bucket, self.archive)
        if not place.whole:
            self._drop_part(datetime.now(UTC))
        keys = list(self.keys)
        if place.whole and place.keys.manifest in place.objects:
            self.bucket.delete(keys.pop(0))
        if place.whole:
            index.remove(f"{place.operation}/{place.task_id}", datetime.now(UTC))
        with ThreadPoolExecutor(_PARALLEL) as pool:
            list(pool.map(self.bucket.delete, keys))

    def _drop_part(self, now: datetime) -> None:
        """Take the files that the task has made out of its song's manifest, and list the song again."""
        place, song = self.place, self.place.song
        if song is None:
            raise AssertionError("Only a song has parts that can be deleted on their own.")

        def without(stored: Manifest | None) -> Manifest:
            if stored is None:
                raise ArchiveUnreadable(f"{self.bucket.url(song.manifest)} no longer exists")
            return _without(stored, place.task_id, now)

        manifest = Manifest.update(self.bucket, song, without)
        Index(self.bucket, self.archive).add([entry_of(manifest)], now)


def _without(manifest: Manifest, task_id: str, now: datetime) -> Manifest:
    """Return a song's manifest without what a task has made of it."""
    files = tuple(file for file in manifest.files if file.task_id != task_id)
    kinds = {file.kind for file in files}
    gone = {file.kind for file in manifest.files} - kinds
    return manifest.changed(
        files=files,
        available=tuple(known for known in manifest.available if known.kind not in gone),
        cover_task_ids=tuple(known for known in manifest.cover_task_ids if known != task_id),
        updated_at=now,
    )


def removal_of(bucket: Bucket, archive: ArchiveKeys, place: Place) -> Removal:
    """Return what would be deleted of a result, and what stays; nothing is deleted yet.

    :param bucket: where the archive is.
    :param archive: its prefix.
    :param place: where the result is.
    :raises S3Error: when the bucket cannot be read.
    """
    song = place.song
    if song is None or not place.whole:
        if place.whole:  # an archiver that died has left it
            drop = unarchived_keys(bucket, archive, place.task_id)
            return Removal(bucket, archive, place, tuple(drop), releases=tuple(_releases(bucket, archive, place)))
        return Removal(bucket, archive, place, releases=tuple(_releases(bucket, archive, place)))
    named = list(objects_that_name(bucket, archive, song.music_task_id))
    records = [*_records(bucket, archive, place), *_inbox_keys(bucket, named)]
    shared = tuple(one.key for one in named if not one.alone)
    return Removal(bucket, archive, place, tuple(records), shared, tuple(_releases(bucket, archive, place)))


def _inbox_keys(bucket: Bucket, named: list[Named]) -> Iterator[str]:
    for one in named:
        if one.alone:
            yield one.key
            if one.key.startswith(INBOX) and bucket.head(reason_of(one.key)):
                yield reason_of(one.key)


def _records(bucket: Bucket, archive: ArchiveKeys, place: Place) -> Iterator[str]:
    """Yield the song's records outside of its folder."""
    if place.pending and place.song:
        yield place.song.pending
    for folder in (RETRY, FAILED):
        yield from (facts.key for facts in bucket.list(f"{archive.root}{folder}/{place.task_id}."))
    for facts in bucket.list(archive.raw_answers):
        version = bucket.get_version(facts.key, max_bytes=_RAW_BYTES)
        if version and place.task_id.encode() in version[1]:
            yield facts.key


def _releases(bucket: Bucket, archive: ArchiveKeys, place: Place) -> Iterator[str]:
    """Yield the folders of the releases that are made of a song or of its files."""
    mine = {file.key for file in place.files}
    for folder in bucket.list_folder(archive.releases):
        if not isinstance(folder, str):
            continue
        try:
            keys = ReleaseKeys(archive.prefix, folder.removeprefix(archive.releases).rstrip("/"))
            release = ReleaseManifest.read(bucket, keys)[0]
        except (KeyRefused, ArchiveUnreadable):
            continue
        made_from = {file.made_from for file in release.files} if release else set()
        if release and ((place.whole and place.task_id in release.songs) or mine & made_from):
            yield folder


def kept_at_kie_until(place: Place) -> datetime | None:
    """Return when KIE has deleted its own copies of a task's files; None: nobody knows."""
    ends = [file.expires_at for file in place.files]
    return max((end for end in ends if end), default=None) if all(ends) else None
