"""Where the archive has what a KIE task has made: a folder of its own, or a part of a song's folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.layout import ArchiveKeys, SongKeys, TaskKeys
from airflow_kie.archive.manifest import FileRecord, Manifest, TaskManifest
from airflow_kie.archive.pending import Pending
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.client.task_ids import KeyRefused

_PARALLEL = 8
_OURS = re.compile(r"(extras/)?[a-z0-9_]+-[0-9]+\.[a-z0-9]{1,5}|manifest\.json|choice\.json")
"""What can be in the folder of a song or a task; a folder without any of it is somebody else's."""


@dataclass(frozen=True)
class Place:
    """A folder that holds what a KIE task has made.

    :param keys: of the folder: a song's, or a task's own.
    :param manifest: what it holds; None: it is not archived whole, or its manifest is damaged.
    :param task_id: the KIE task: the folder's own, or one that has made a part of the song, such as a cover or a WAV.
    :param objects: the keys of what belongs to it in the folder.
    :param foreign: the keys of what does not.
    :param pending: the song is pending.
    """

    keys: SongKeys | TaskKeys
    manifest: TaskManifest | None
    task_id: str
    objects: Sequence[str] = ()
    foreign: Sequence[str] = ()
    pending: bool = False

    @property
    def whole(self) -> bool:
        """Whether the folder is the task's own."""
        return self.task_id == self.keys.task_id

    @property
    def song(self) -> SongKeys | None:
        """The song whose folder it is; None: it is another task's."""
        return self.keys if isinstance(self.keys, SongKeys) else None

    @property
    def operation(self) -> str:
        """What has made the folder's own task."""
        return self.keys.operation

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """The archived files that the task has made."""
        files = self.manifest.files if self.manifest else ()
        return files if self.whole else tuple(file for file in files if file.task_id == self.task_id)


def places_of(bucket: Bucket, archive: ArchiveKeys, task_id: str) -> list[Place]:
    """Return where the archive has something of a KIE task: usually one place.

    A part of a song is found by the index, everything else by its key.

    :param bucket: where the archive is.
    :param archive: its prefix.
    :param task_id: KIE's id of any task.
    :raises S3Error: when the bucket cannot be read.
    """
    own: list[SongKeys | TaskKeys] = [archive.song(task_id)]
    own += [archive.task(operation, task_id) for operation in _operations(bucket, archive)]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = [place for place in pool.map(lambda keys: _own_place(bucket, keys), own) if place]
    return found or list(_parts(bucket, archive, task_id))


def _operations(bucket: Bucket, archive: ArchiveKeys) -> Iterator[str]:
    for item in bucket.list_folder(archive.tasks):
        if isinstance(item, str):
            yield item.removeprefix(archive.tasks).rstrip("/")


def _own_place(bucket: Bucket, keys: SongKeys | TaskKeys) -> Place | None:
    keys_there = [facts.key for facts in bucket.list(keys.folder)]
    objects = [key for key in keys_there if _OURS.fullmatch(key.removeprefix(keys.folder))]
    pending = isinstance(keys, SongKeys) and bucket.head(Pending.key_of(keys)) is not None
    if not objects and not pending:
        return None
    foreign = [key for key in keys_there if key not in objects]
    return Place(keys, _manifest(bucket, keys), keys.task_id, objects, foreign, pending)


def _manifest(bucket: Bucket, keys: SongKeys | TaskKeys) -> TaskManifest | None:
    record = Manifest if isinstance(keys, SongKeys) else TaskManifest
    try:
        return record.read(bucket, keys)[0]
    except ArchiveUnreadable:
        return None


def _parts(bucket: Bucket, archive: ArchiveKeys, task_id: str) -> Iterator[Place]:
    """Yield the songs that the task has made a part of."""
    listed: dict[str, set[str]] = {}
    for entry in (entry for _, lines in Index(bucket, archive).holding(task_id) for entry in lines):
        if task_id in entry.tasks and not entry.deleted:
            listed.setdefault(entry.id, set()).update(file.name for file in entry.files)
    for song, names in listed.items():
        try:
            keys = archive.song(song)
        except KeyRefused:
            continue
        manifest = _manifest(bucket, keys)
        files = [file.key for file in Place(keys, manifest, task_id).files]
        if manifest and not files:  # a removal that broke off has left it; what was never listed, a run archives now
            named = {keys.choice, keys.manifest, *(file.key for file in manifest.files)}
            there = (facts.key for facts in bucket.list(keys.folder) if facts.key not in named)
            ours = (key for key in there if _OURS.fullmatch(key.removeprefix(keys.folder)))
            files = [key for key in ours if key.rpartition("/")[2] in names]
        if files:
            yield Place(keys, manifest, task_id, files)
