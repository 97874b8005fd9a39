"""KieCoverToS3Operator: copies a song's files from KIE to S3, complete or not at all."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_kie import metrics
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations.suno import COVER, MUSIC
from airflow_kie.client.untrusted import is_true
from airflow_kie.durable.defaults import labels_in, required
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.durable.rendered_fields import HidesCredentials
from airflow_kie.durable.retried import Retried
from airflow_kie.durable.song_batch import TakesSongs
from airflow_kie.durable.waiting import read_ended
from airflow_kie.durable.xcom import result_of
from airflow_kie.hooks.kie import KieHook, fetching
from airflow_kie.hooks.once_a_day import as_known, digest_of, once_a_day
from airflow_kie.lineage.asset_events import NewFiles, emit_new_files
from airflow_kie.lineage.facts import TaskLineage, of_archive, to_archive
from airflow_kie.lineage.mixin import LineageMethods
from airflow_kie.lineage.songs import of_archived_songs
from airflow_kie.links.kie import KieLogsLink, KieSongLink, S3ObjectLink
from airflow_kie.transfers.song_batch import archive_songs

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.archiver import Archived
    from airflow_kie.archive.manifest import Manifest, Wanted
    from airflow_kie.archive.song_folder import SongArchive
    from airflow_kie.hooks.archive import ExtraArgs


class KieCoverToS3Operator(HidesCredentials, TakesSongs, LineageMethods, Retried, BaseOperator):
    """Archives a song's covers, and optionally its audio and lyrics, and returns what is in the bucket.

    It takes ids and reads the details from KIE itself. Every file is downloaded to a temporary file, checked by its
    content, and uploaded unchanged to its final key; ``manifest.json`` is written last. If a song already has all
    requested files, KIE is not asked; otherwise only the missing files are fetched.

    If ``kie://api.kie.ai/suno/cover`` is among its outlets, it sends an event with the music task id as partition for
    each song whose covers it has archived in this run.

    For a batch of several songs it returns a list of such results, without the songs that failed.

    :param music_task_id: the song's music task id.
    :param cover_task_id: the cover task's id; not needed with ``archive_covers=False``.
    :param bucket: name of the bucket; it is created only on this machine's own S3 server.
    :param prefix: key prefix in the bucket.
    :param kie_conn_id: Airflow connection of type ``kie``.
    :param aws_conn_id: Airflow connection for S3; None or empty: boto3's default credential chain.
    :param archive_covers: archive the cover images.
    :param archive_audio: archive the audio files.
    :param archive_lyrics: archive the lyrics as text.
    :param labels: your own names for the song, at most 10, as a map or its JSON text; stored in the manifest.
    :param max_file_bytes: largest file to archive, in bytes; None: `[kie] max_file_mb`.
    :param extra_args: for S3, as boto3 and S3Hook name them: ``ServerSideEncryption``, ``StorageClass``, ``Tagging``
        and the like, as a map or its JSON text; None: `[kie] s3_extra_args`.
    :param song_title: for labels in the UI.
    :param expires_at: ISO time at which KIE deletes the song's files: outages are waited out until a day before that.
    :param batch: instead of `music_task_id`: a batch that :class:`~airflow_kie.operators.song_list.KieSongListOperator`
        returned.
    :param music: with `batch`: what :class:`~airflow_kie.sensors.suno.KieMusicSensor` returned.
    :param cover: with `batch`: what :class:`~airflow_kie.sensors.suno.KieCoverSensor` returned.
    """

    template_fields: Sequence[str] = (
        "batch",
        "music",
        "cover",
        "music_task_id",
        "cover_task_id",
        "bucket",
        "prefix",
        "kie_conn_id",
        "aws_conn_id",
        "archive_audio",
        "archive_lyrics",
        "labels",
        "extra_args",
        "song_title",
        "expires_at",
    )
    template_fields_renderers = {"labels": "json", "extra_args": "json"}
    operator_extra_links = (KieSongLink(), KieLogsLink(), S3ObjectLink())
    ui_color = "#fff4d6"

    def __init__(
        self,
        *,
        music_task_id: str = "",
        bucket: str = "",
        cover_task_id: str | None = None,
        prefix: str = "",
        kie_conn_id: str = KieHook.default_conn_name,
        aws_conn_id: str | None = "aws_default",
        archive_covers: bool = True,
        archive_audio: bool | str = False,
        archive_lyrics: bool | str = False,
        labels: Mapping[str, str] | str | None = None,
        max_file_bytes: int | None = None,
        extra_args: ExtraArgs = None,
        song_title: str | None = None,
        expires_at: str | None = None,
        batch: Any = None,
        music: Any = None,
        cover: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch = batch
        self.music = music
        self.cover = cover
        self.music_task_id = music_task_id
        self.cover_task_id = cover_task_id
        self.bucket = bucket
        self.prefix = prefix
        self.kie_conn_id = kie_conn_id
        self.aws_conn_id = aws_conn_id
        self.archive_covers = archive_covers
        self.archive_audio = archive_audio
        self.archive_lyrics = archive_lyrics
        self.labels = labels
        self.max_file_bytes = max_file_bytes
        self.extra_args = extra_args
        self.song_title = song_title
        self.expires_at = expires_at
        self.console_folder: tuple[str, str] | None = None

    def execute(self, context: Context) -> Any:
        """Archive what is missing; return ids, the manifest's key, and each file with its size and SHA-256."""
        if self.has_many:
            required(self.task_id, bucket=self.bucket)
            return run_with_outage_backoff(context, lambda: archive_songs(self, context))
        required(self.task_id, music_task_id=self.music_task_id, bucket=self.bucket)
        if not self._wanted().kinds:
            raise KieInvalidRequest(
                f"covers, audio and lyrics are all off in task {self.task_id}: nothing is requested"
            )
        return run_with_outage_backoff(
            context, lambda: self._execute(context), expires_at=self.expires_at, song=self._open
        )

    def _open(self) -> SongArchive:
        from airflow_kie.hooks.archive import open_song

        return open_song(self.aws_conn_id, self.bucket, self.prefix, self.music_task_id, self.extra_args)

    def _execute(self, context: Context) -> dict[str, Any]:
        archive = self._open()
        if ".amazonaws.com" in str(archive.bucket.client.meta.endpoint_url):  # other S3 services have no console
            self.console_folder = (self.bucket, archive.keys.folder)
        new = NewFiles(context, self.music_task_id)
        manifest = archive.bucket.made_if_missing(archive.manifest)
        if manifest and self.has_all(manifest):
            added = new.among(manifest)
            archive.settle_pending(manifest, is_new=bool(added))
            self.log.info("Song %s already has all requested files; nothing was done.", self.music_task_id)
            changed = False
        else:
            since = new.begin()
            bucket = as_known(KieHook(self.kie_conn_id), archive.bucket)
            archived = self.archive(replace(archive, bucket=bucket), manifest, context)
            manifest, changed, added = archived.manifest, archived.changed, new.among(archived.manifest, since)
        key = archive.keys.manifest
        emit_new_files(self, context, self.bucket, self.prefix, [(key, manifest, added)])
        self._lineage = of_archive(self.lineage_at_start(), self.bucket, key, manifest, added)
        return result_of(self.bucket, key, manifest, changed=changed)

    def lineage_at_start(self) -> TaskLineage:
        """Return the song and its covers, which the files are made from."""
        if self.has_many:
            rows = [(row["music_task_id"], row["cover_task_id"]) for row in self.cover]
            return of_archived_songs(self.kie_conn_id, [to_archive(self.kie_conn_id, song, (c,)) for song, c in rows])
        covers = (str(self.cover_task_id),) if self.archive_covers and self.cover_task_id else ()
        return to_archive(self.kie_conn_id, self.music_task_id, covers)

    def has_all(self, manifest: Manifest) -> bool:
        """Return whether a song's manifest has everything that was requested."""
        covers = {str(self.cover_task_id)} if self.archive_covers and self.cover_task_id else set[str]()
        return not self._wanted().missing_in(manifest) and covers <= set(manifest.cover_task_ids)

    def archive(
        self, archive: SongArchive, old: Manifest | None, context: Context, hook: KieHook | None = None
    ) -> Archived:
        """Archive the song.

        :param archive: the song's place in the bucket.
        :param old: its manifest as it was read before.
        :param context: the task's context.
        :param hook: the account, where the song is one of many.
        :raises KieError: see :func:`airflow_kie.archive.archiver.archive_song`.
        """
        from airflow_kie.archive.archiver import archive_song, song_of, sources_of
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.archive.manifest import AirflowRecord
        from airflow_kie.archive.raw_answers import keep_first_answer

        one_of_many = hook is not None
        hook = hook or KieHook(self.kie_conn_id)
        music = read_ended(hook, MUSIC.name, self.music_task_id, quiet=one_of_many)
        cover = None
        if self.archive_covers:
            required(self.task_id, cover_task_id=self.cover_task_id)
            source = {"taskId": self.music_task_id}
            cover = read_ended(hook, COVER.name, str(self.cover_task_id), source, quiet=one_of_many)
            key = ArchiveKeys(self.prefix).raw(self.kie_conn_id, COVER.name)
            keep = functools.partial(keep_first_answer, archive.bucket, key, COVER.name, cover.raw)
            once_a_day(hook, f"raw/{digest_of(archive.bucket.url(key))}", keep)
        archived = archive_song(
            archive,
            song_of(music, cover, self.kie_conn_id, labels_in(self.task_id, self.labels)).changed(
                airflow=AirflowRecord.model_validate(context["ti"], from_attributes=True),
                account=hook.account.account or None,
            ),
            sources_of(music, cover, self._wanted()),
            old=old,
            wanted=self._wanted(),
            one_of_many=one_of_many,
            **fetching(hook, self.max_file_bytes),
        )
        self._count(archived, cover.completed_at if cover else music.completed_at)
        return archived

    def _count(self, archived: Archived, done_at: datetime | None) -> None:
        if archived.changed:
            metrics.ARCHIVED.add(connection=self.kie_conn_id)
            metrics.ARCHIVED_BYTES.add(sum(file.size for file in archived.added), connection=self.kie_conn_id)
            is_new = len(archived.added) == len(archived.manifest.files)  # not files added to an archived song
            if done_at and is_new:
                took = datetime.now(UTC) - done_at
                metrics.DONE_TO_ARCHIVED.took(took.total_seconds(), connection=self.kie_conn_id)

    def _wanted(self) -> Wanted:
        from airflow_kie.archive.manifest import Wanted

        return Wanted(self.archive_covers, is_true(self.archive_audio), is_true(self.archive_lyrics))
