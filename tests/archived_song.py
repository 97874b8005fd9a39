"""One song that is archived from a file server on loopback into a bucket, with a clock that tests move."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta

from airflow_kie.archive.archiver import Archived, Refresh, Source, archive_song
from airflow_kie.archive.layout import SongKeys
from airflow_kie.archive.manifest import (
    AirflowRecord,
    FileKind,
    GeneratorRecord,
    Manifest,
    SongRecord,
    TrackRecord,
    Wanted,
)
from airflow_kie.archive.pending import new_pending
from airflow_kie.archive.record_base import Label
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.client.http.download import DownloadSettings, download
from media_server import MediaServer, body, picture, wav
from s3_servers import S3Server

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LOCAL = DownloadSettings(private_hosts=frozenset({"127.0.0.1"}))
SONG = Manifest(
    music_task_id="abc",
    cover_task_ids=("cover-task",),
    kie_conn_id="kie_default",
    song=SongRecord(
        title="Été",
        tags="pop",
        model="V5",
        prompt="a summer song",
        duration_seconds=180.5,
        created_at=NOON - timedelta(hours=1),
        completed_at=NOON,
    ),
    labels=(Label(name="isrc", value="X1"),),
    generator=GeneratorRecord(model="V5"),
    airflow=AirflowRecord(dag_id="music_cover", run_id="r1", task_id="archive_to_s3", try_number=1),
    created_at=NOON,
    updated_at=NOON,
    tracks=(TrackRecord(position=1, audio_id="t1", title="Été", duration_seconds=180.5),),
)


def content_of(bucket: Bucket, key: str) -> bytes | None:
    version = bucket.get_version(key, max_bytes=100_000_000)
    return version and version[1]


class Case:
    """One song, one bucket, one file server."""

    def __init__(self, s3: S3Server, media: MediaServer, name: str) -> None:
        self.bucket = Bucket(s3.client(), name)
        self.bucket.create_on_loopback()
        self.keys = SongKeys("music", SONG.music_task_id)
        self.media = media
        self.pauses: list[float] = []
        self.now = NOON + timedelta(minutes=5)
        media.scripts |= {f"/cover-{n}": body(picture(n), "image/png") for n in (1, 2)}
        media.scripts |= {f"/track-{n}": body(wav(pitch=200.0 * n), "audio/wav") for n in (1, 2)}
        SongArchive(self.bucket, self.keys).merge_pending(
            new_pending(SONG.music_task_id, received_from="form", now=NOON)
        )

    def cover(self, n: int, path: str | None = None) -> Source:
        url = self.media.url(path or f"/cover-{n}?signature=secret")
        return Source(FileKind.COVER, n, url=url, task_id="cover-task", expires_at=NOON + timedelta(days=14))

    def track(self, n: int) -> Source:
        return Source(FileKind.TRACK, n, url=self.media.url(f"/track-{n}"), task_id="abc", audio_id=f"t{n}")

    def archive(
        self,
        *sources: Source,
        song: Manifest = SONG,
        wanted: Wanted | None = None,
        refresh: Refresh | None = None,
        max_file_bytes: int = 10_000_000,
    ) -> Archived:
        return archive_song(
            SongArchive(self.bucket, self.keys),
            song,
            sources,
            old=SongArchive(self.bucket, self.keys).manifest(),
            download=functools.partial(download, settings=LOCAL),
            wanted=wanted,
            refresh=refresh,
            max_file_bytes=max_file_bytes,
            now=lambda: self.now,
            sleep=self.pauses.append,
        )

    def stored(self) -> set[str]:
        keys = {facts.key.removeprefix("music/") for facts in self.bucket.list("music/")}
        return {key for key in keys if not key.startswith("_index/")}
