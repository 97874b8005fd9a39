"""Archives a batch of songs in one task: several at a time, each complete or not at all; a failure stops no other."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from airflow_kie.client.errors import KieError, KieUnexpected, Remedy, Scope
from airflow_kie.durable.song_batch import SongBatch, songs_of
from airflow_kie.durable.xcom import result_of
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.once_a_day import as_known
from airflow_kie.lineage.asset_events import NewFiles, emit_new_files
from airflow_kie.lineage.facts import TaskLineage, of_archive
from airflow_kie.lineage.songs import of_archived_songs

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

    from airflow_kie.archive.archiver import Archived
    from airflow_kie.archive.manifest import FileRecord, Manifest
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.archive.song_folder import SongArchive
    from airflow_kie.hooks.archive import ExtraArgs

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Songs that are archived at a time: each holds one file in memory, or on disk where it is large."""
PAUSES = (5.0, 15.0, 40.0)
"""Seconds before what has failed is tried again; a song that still fails then leaves the batch."""


class SongTransfer(Protocol):
    """An operator that archives songs, as ``KieCoverToS3Operator`` does."""

    batch: Any
    music_task_id: str
    cover_task_id: str | None
    bucket: str
    prefix: str
    kie_conn_id: str
    aws_conn_id: str | None
    archive_audio: bool | str
    archive_lyrics: bool | str
    labels: Mapping[str, str] | str | None
    cover: Any
    extra_args: ExtraArgs

    def begin(
        self, context: Context, known: Sequence[Mapping[str, Any]], *, resumed: bool, operation: str
    ) -> SongBatch: ...
    def has_all(self, manifest: Manifest) -> bool: ...
    def archive(
        self, archive: SongArchive, old: Manifest | None, context: Context, hook: KieHook | None = None
    ) -> Archived: ...
    def lineage_at_start(self) -> TaskLineage: ...
    def set_lineage(self, lineage: TaskLineage) -> None: ...


@dataclass(frozen=True)
class _Song:
    """A song that is archived, and what this run has added to it."""

    archive: SongArchive
    manifest: Manifest
    changed: bool
    added: tuple[FileRecord, ...] = ()


def archive_songs(operator: SongTransfer, context: Context) -> list[dict[str, Any]]:
    """Archive the songs of an operator's batch; return what is in the bucket for each archived song.

    All of them are added to the index in one object before their pending records are deleted. If the task dies in
    between, the next attempt adds them again, which is harmless.

    :param operator: whose batch it is.
    :param context: the task's context.
    :raises KieError: when an outage has stopped all songs; what is archived is kept.
    """
    from airflow_kie.archive.layout import ArchiveKeys
    from airflow_kie.hooks.archive import open_bucket

    hook, keys = KieHook(operator.kie_conn_id), ArchiveKeys(operator.prefix)
    bucket = as_known(hook, open_bucket(operator.aws_conn_id, operator.bucket, operator.extra_args))
    asked = {song["music_task_id"]: song for song in songs_of(bucket, operator.batch)}
    songs = operator.begin(context, operator.cover, resumed=False, operation="archive_to_s3")
    songs.rows.clear()  # the manifests say what is archived, also after a clear
    hook.account  # noqa: B018 - read once, not in each thread
    progress = _Archiving(operator, context, hook, bucket, keys, asked, songs)
    for pause in (0.0, *PAUSES):
        time.sleep(pause)
        if not progress.go():
            break
    songs.leave(progress.errors)
    done = [progress.done[song] for song in songs.ids if song in progress.done]
    if done:
        found = [(song.archive.keys.manifest, song.manifest, song.added) for song in done]
        emit_new_files(cast("BaseOperator", operator), context, operator.bucket, operator.prefix, found)
        operator.set_lineage(of_archived_songs(operator.kie_conn_id, [progress.lineage(song) for song in done]))
    return songs.end()


class _Archiving:
    """How far the archiving of a batch is."""

    def __init__(
        self,
        operator: SongTransfer,
        context: Context,
        hook: KieHook,
        bucket: Bucket,
        keys: Any,
        asked: Mapping[str, Mapping[str, Any]],
        songs: SongBatch,
    ) -> None:
        self.operator = operator
        self.context = context
        self.hook = hook
        self.bucket = bucket
        self.keys = keys
        self.asked = asked
        self.songs = songs
        self.new = NewFiles(context, "songs")
        self.since = self.new.begin()
        self.done: dict[str, _Song] = {}
        self.errors: dict[str, KieError] = {}

    def go(self) -> bool:
        """Archive what is not archived yet; return whether trying again may help."""
        from airflow_kie.archive.index.entry import entry_of
        from airflow_kie.archive.index.segments import Index

        todo = [song for song in self.songs.ids if song not in self.done and self._may_help(self.errors.get(song))]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            results = dict(zip(todo, pool.map(self._one, todo), strict=True))
            self.errors |= {song: result for song, result in results.items() if isinstance(result, KieError)}
            archived = {song: result for song, result in results.items() if isinstance(result, _Song)}
            try:
                Index(self.bucket, self.keys).add(entry_of(song.manifest) for song in archived.values() if song.added)
                settled = dict(zip(archived, pool.map(self._settle, archived.values()), strict=True))
            except KieError as error:  # of the index: nothing is lost, and the pending records stay
                settled = dict.fromkeys(archived, error)
        for song, one in archived.items():
            if refused := settled[song]:
                self.errors[song] = refused
                continue
            self.errors.pop(song, None)
            self.done[song] = one
            row = result_of(self.bucket.name, one.archive.keys.manifest, one.manifest, changed=one.changed)
            self.songs.rows[song] = row
        return any(map(self._may_help, self.errors.values()))

    def lineage(self, song: _Song) -> TaskLineage:
        """Return the lineage of one song."""
        mine = self._operator(song.manifest.music_task_id)
        key = song.archive.keys.manifest
        return of_archive(mine.lineage_at_start(), self.bucket.name, key, song.manifest, song.added)

    def _operator(self, song: str) -> SongTransfer:
        """Return the operator as it would be for this song alone."""
        one, asked = copy.copy(self.operator), self.asked[song]
        one.batch, one.music_task_id = None, song
        one.cover_task_id = self.songs.given[song]["cover_task_id"]
        one.archive_audio, one.archive_lyrics = asked["archive_audio"], asked["archive_lyrics"]
        one.labels = asked["labels"]
        return one

    def _one(self, song: str) -> _Song | KieError:
        from airflow_kie.archive.song_folder import SongArchive

        mine, archive = self._operator(song), SongArchive(self.bucket, self.keys.song(song))
        try:
            manifest = archive.manifest()
            if manifest and mine.has_all(manifest):
                return _Song(archive, manifest, False, self.new.among(manifest, self.since))
            archived = mine.archive(archive, manifest, self.context, self.hook)
        except KieError as error:
            return error
        except Exception as error:
            log.exception("Archiving song %s ended unexpectedly.", song)
            return KieUnexpected(f"{type(error).__name__}, see the log", source_id=song)
        return _Song(archive, archived.manifest, archived.changed, self.new.among(archived.manifest, self.since))

    def _settle(self, song: _Song) -> KieError | None:
        try:
            song.archive.settle_pending(song.manifest, is_listed=bool(song.added))
        except KieError as error:
            return error
        return None

    def _may_help(self, error: KieError | None) -> bool:
        """Return whether a song is tried: for the first time, or again after this error.

        An outage that only a person ends would have met every song: where others are archived, it may have passed.
        """
        if error is None or error.remedy is not Remedy.PERSON:
            return True
        return error.scope is not Scope.TASK and bool(self.done)
