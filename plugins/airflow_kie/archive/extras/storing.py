"""Extras in a song's folder: ``<song>/extras/<kind>-<n>.<ending>``, and in its manifest.

A file is of the take that its `audio_id` names. Its position is that of the take; of further files of one kind, such
as the second track of an extended version, it is 100, 200, … more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from airflow_kie.archive.archiver import is_stored
from airflow_kie.archive.extras.table import Extra, Take
from airflow_kie.archive.file_transfer import Fetcher, Source
from airflow_kie.archive.layout import SongKeys
from airflow_kie.archive.manifest import AirflowRecord, CreditsRecord, FileRecord, Manifest
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.task_archiver import store_files
from airflow_kie.client.errors import NotArchived
from airflow_kie.client.operations.operation import Medium

FOLDER = "extras/"
_NEXT = 100
MORE = 100
"""Positions of a song's own files that KIE has not made with it are higher."""


@dataclass(frozen=True)
class ExtraKeys(SongKeys):
    """The keys of a song's extras."""

    def file(self, kind: str, n: int, extension: str) -> str:
        """Return the key of a file."""
        return f"{self.folder}{FOLDER}{super().file(kind, n, extension).removeprefix(self.folder)}"


def keys_of(prefix: str, extra: Extra, take: Take) -> SongKeys:
    """Return the keys of the song for the files of an extra."""
    return (SongKeys if extra.adds_to else ExtraKeys)(prefix, take.song)


def files_of(manifest: Manifest | None, extra: Extra, take: Take) -> tuple[FileRecord, ...]:
    """Return the files of an extra of a take that a manifest names."""
    files = manifest.files if manifest else ()
    if extra.adds_to:
        return tuple(file for file in files if file.origin == extra.name)
    return tuple(file for file in files if extra.has(file.kind) and file.audio_id == take.audio_id)


def position_of_more(manifest: Manifest, kind: str, name: str) -> int:
    """Return the position of one more of a song's own files: the same whenever it is requested, and no other one's.

    :param name: what it is, in hexadecimal digits: a digest, or KIE's id of the task that has made it.
    """
    digest = hashlib.sha256(name.encode()).hexdigest()
    start = int(digest[:8], 16)
    taken = {file.position: file for file in manifest.files if file.kind == kind}
    at = (MORE + 1 + (start + step) % 899 for step in range(899))
    return next(n for n in at if n not in taken or name in (taken[n].task_id, taken[n].sha256))


def is_there(bucket: Bucket, files: Sequence[FileRecord]) -> bool:
    """Return whether an extra is archived: its files came into the manifest together, and the bucket has them."""
    return bool(files) and all(is_stored(bucket, file) for file in files)


def store_extra(
    fetcher: Fetcher,
    extra: Extra,
    take: Take,
    sources: Sequence[Source],
    cost: CreditsRecord,
    airflow: AirflowRecord,
) -> tuple[Manifest, tuple[FileRecord, ...]]:
    """Bring an extra into its song's folder, then extend the manifest.

    :param fetcher: of the song, see :func:`keys_of`.
    :param sources: what KIE names, by its roles.
    :param cost: what it has cost.
    :param airflow: the Airflow task that archives it.
    :return: the manifest, and the files that were archived now.
    :raises NotArchived: when the song is not in the archive any more.
    :raises KieError: as :func:`~airflow_kie.archive.task_archiver.archive_task`.
    """
    song = Manifest.read(fetcher.bucket, fetcher.keys)[0]
    if song is None:
        raise NotArchived(f"song {take.song} is no longer archived, so nothing can be added to it")
    own = [_placed(song, extra, take, source) for source in sources]
    now = fetcher.now()
    news = Manifest(
        music_task_id=take.song, airflow=airflow, credits_used=(cost,), created_at=song.created_at, updated_at=now
    )
    return store_files(fetcher, Manifest, own, news)


def _placed(song: Manifest, extra: Extra, take: Take, source: Source) -> Source:
    """Return a result as the file of the song that it becomes."""
    kind = extra.kind(source.kind)
    if extra.adds_to:
        position = position_of_more(song, kind, source.task_id or "")
        return replace(source, kind=kind, position=position, origin=extra.name, medium=Medium.IMAGE)
    position = take.position + _NEXT * (source.position - 1)
    return replace(source, kind=kind, position=position, audio_id=take.audio_id)
