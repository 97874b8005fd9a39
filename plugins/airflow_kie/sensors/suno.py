"""Sensors for KIE's Suno API: typed front ends of :class:`~airflow_kie.sensors.task.KieTaskSensor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.operations.suno import COVER, MUSIC
from airflow_kie.client.redact import one_line
from airflow_kie.durable.song_batch import songs_of
from airflow_kie.sensors.song_batch import SongSensor

if TYPE_CHECKING:
    from airflow.sdk import Context

_COMMON = ("kie_conn_id", "expires_at", "batch")


class KieMusicSensor(SongSensor):
    """Waits until a song is generated, and returns its title, number of tracks, and when KIE deletes its files.

    For a batch of several songs it returns a list of such maps, without the songs that failed.

    :param music_task_id: the song's music task id.
    :param batch: instead of `music_task_id`: a batch that
        :class:`~airflow_kie.operators.song_list.KieSongListOperator` returned.
    :param aws_conn_id: Airflow connection for S3, to read the list of a batch's songs.
    """

    kind: ClassVar[str] = MUSIC.name
    id_field: ClassVar[str] = "music_task_id"
    template_fields: Sequence[str] = (*_COMMON, "music_task_id", "aws_conn_id")

    def __init__(
        self, *, music_task_id: str = "", batch: Any = None, aws_conn_id: str | None = "aws_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.music_task_id = music_task_id
        self.batch = batch
        self.aws_conn_id = aws_conn_id
        self.song_title: str | None = None

    def tasks_of_songs(self) -> list[dict[str, Any]]:
        """Return the songs of the batch, as the task that lists them has written them."""
        from airflow_kie.hooks.archive import open_bucket

        return songs_of(open_bucket(self.aws_conn_id, self.batch["bucket"]), self.batch)

    def result(self, context: Context, details: TaskDetails) -> dict[str, Any]:
        """Return id, title, number of tracks, seconds, and when KIE's files expire."""
        row = self.song_row(self.awaited_id, self.awaited_id, details)
        self.song_title = details.title
        return row

    def song_row(self, song: str | None, task_id: str, details: TaskDetails) -> dict[str, Any]:
        """Return id, title, number of tracks, seconds, and when KIE's files expire."""
        self.log.info("Song %s (%s) is generated.", one_line(details.title or "without title"), task_id)
        return {
            "music_task_id": task_id,
            "kie_conn_id": self.kie_conn_id,
            "title": details.title,
            "tracks": len(details.tracks),
            "duration_seconds": details.tracks[0].duration_seconds if details.tracks else None,
            "expires_at": details.expires_at.isoformat() if details.expires_at else None,
            "form": details.form.value,  # what follows the song goes in it, and need not ask for it again
        }


class KieCoverSensor(SongSensor):
    """Waits until a song's cover images are ready, and returns how many there are and when KIE deletes them.

    For a batch of several songs it returns a list of such maps, without the songs that failed.

    :param cover_task_id: the cover task's id (not the music task id).
    :param music_task_id: the song that the cover must belong to, if known; another song's cover is rejected.
    :param song_title: for labels in the UI.
    :param batch: instead of the ids: a batch that :class:`~airflow_kie.operators.song_list.KieSongListOperator`
        returned.
    :param music: with `batch`: what :class:`KieMusicSensor` returned.
    :param cover: with `batch`: what :class:`~airflow_kie.operators.suno.KieGenerateCoverOperator` returned.
    """

    kind: ClassVar[str] = COVER.name
    id_field: ClassVar[str] = "cover_task_id"
    template_fields: Sequence[str] = (*_COMMON, "cover_task_id", "music_task_id", "song_title", "music", "cover")

    def __init__(
        self,
        *,
        cover_task_id: str = "",
        music_task_id: str | None = None,
        song_title: str | None = None,
        batch: Any = None,
        music: Any = None,
        cover: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch = batch
        self.music = music
        self.cover = cover
        self.cover_task_id = cover_task_id
        self.music_task_id = music_task_id
        self.song_title = song_title

    def source(self) -> Mapping[str, Any]:
        """Return the song, where it is known."""
        return {"taskId": self.music_task_id} if self.music_task_id else {}

    def tasks_of_songs(self) -> list[dict[str, Any]]:
        """Return the songs of the batch whose covers are made."""
        return list(self.cover)

    def result(self, context: Context, details: TaskDetails) -> dict[str, Any]:
        """Return ids, number of images, and when KIE's files expire."""
        return self.song_row(self.music_task_id, self.awaited_id, details)

    def song_row(self, song: str | None, task_id: str, details: TaskDetails) -> dict[str, Any]:
        """Return ids, number of images, and when KIE's files expire."""
        song = details.parent_id or song
        self.log.info("Cover task %s of song %s has %d images.", task_id, song, len(details.results))
        return {
            "cover_task_id": task_id,
            "music_task_id": song,
            "images": len(details.results),
            "expires_at": details.expires_at.isoformat() if details.expires_at else None,
        }
