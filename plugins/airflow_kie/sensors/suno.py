"""Sensors for KIE's Suno API: typed front ends of :class:`~airflow_kie.sensors.task.KieTaskSensor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.operations.suno import COVER, MUSIC
from airflow_kie.client.redact import one_line
from airflow_kie.durable.xcom import EXPIRES_AT_KEY, SONG_TITLE_KEY
from airflow_kie.sensors.task import KieTaskSensor

if TYPE_CHECKING:
    from airflow.sdk import Context

_COMMON = ("kie_conn_id", "expires_at")


class KieMusicSensor(KieTaskSensor):
    """Waits until a song is generated and returns its title, number of tracks and when KIE deletes its files.

    :param music_task_id: the song's music task id.
    """

    kind: ClassVar[str] = MUSIC.name
    id_field: ClassVar[str] = "music_task_id"
    template_fields: Sequence[str] = (*_COMMON, "music_task_id")

    def __init__(self, *, music_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.music_task_id = music_task_id
        self.song_title: str | None = None

    def result(self, context: Context, details: TaskDetails) -> dict[str, Any]:
        """Return id, title, number of tracks, seconds, and when KIE's files expire."""
        self.song_title = details.title
        expires_at = details.expires_at.isoformat() if details.expires_at else None
        context["ti"].xcom_push(key=SONG_TITLE_KEY, value=details.title or "")
        context["ti"].xcom_push(key=EXPIRES_AT_KEY, value=expires_at or "")
        self.log.info("Song %s (%s) is generated.", one_line(details.title or "without title"), self.awaited_id)
        return {
            "music_task_id": self.awaited_id,
            "kie_conn_id": self.kie_conn_id,
            "title": details.title,
            "tracks": len(details.tracks),
            "duration_seconds": details.tracks[0].duration_seconds if details.tracks else None,
            "expires_at": expires_at,
        }


class KieCoverSensor(KieTaskSensor):
    """Waits until a song's cover images are drawn and returns how many there are and when KIE deletes them.

    :param cover_task_id: the cover's own task id (not the music task's).
    :param music_task_id: the song that the cover must belong to, if known: another song's cover is refused.
    :param song_title: for labels in the UI.
    """

    kind: ClassVar[str] = COVER.name
    id_field: ClassVar[str] = "cover_task_id"
    template_fields: Sequence[str] = (*_COMMON, "cover_task_id", "music_task_id", "song_title")

    def __init__(
        self, *, cover_task_id: str, music_task_id: str | None = None, song_title: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.cover_task_id = cover_task_id
        self.music_task_id = music_task_id
        self.song_title = song_title

    def source(self) -> Mapping[str, Any]:
        """Return the song, where it is known."""
        return {"taskId": self.music_task_id} if self.music_task_id else {}

    def result(self, context: Context, details: TaskDetails) -> dict[str, Any]:
        """Return ids, number of images, and when KIE's files expire."""
        song = details.parent_id or self.music_task_id
        self.log.info("Cover task %s of song %s has %d images.", self.awaited_id, song, len(details.results))
        return {
            "cover_task_id": self.awaited_id,
            "music_task_id": song,
            "images": len(details.results),
            "expires_at": details.expires_at.isoformat() if details.expires_at else None,
        }
