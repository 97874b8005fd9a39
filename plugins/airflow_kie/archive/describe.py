"""What KIE's details say of a song, as the archive takes it: a manifest without files, and the files to fetch."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from airflow_kie.archive.file_transfer import Source
from airflow_kie.archive.manifest import (
    CreditsRecord,
    FileKind,
    GeneratorRecord,
    Manifest,
    SongRecord,
    TrackRecord,
    Wanted,
)
from airflow_kie.archive.record_base import label_list
from airflow_kie.client.answers.details import TaskDetails


def song_of(
    music: TaskDetails,
    cover: TaskDetails | None,
    kie_conn_id: str,
    labels: Mapping[str, str] | None,
) -> Manifest:
    """Return what the manifest says of a song.

    :param music: details of the music task.
    :param cover: details of the cover task, None where no covers are asked for.
    """
    first, now = music.tracks[0] if music.tracks else None, datetime.now(UTC)
    model = music.param.get("model") or (first.model if first else None)
    return Manifest(
        music_task_id=music.task_id,
        cover_task_ids=(cover.task_id,) if cover else (),
        kie_conn_id=kie_conn_id,
        song=SongRecord(
            title=music.title,
            tags=first.tags if first else None,
            model=model,
            prompt=prompt_of(music),
            duration_seconds=first.duration_seconds if first else None,
            instrumental=music.param.get("instrumental"),
            created_at=music.created_at,
            completed_at=music.completed_at,
        ),
        tracks=tuple(TrackRecord.model_validate(track, from_attributes=True) for track in music.tracks),
        labels=label_list(dict(labels or {})),
        generator=GeneratorRecord(model=model),
        created_at=now,
        updated_at=now,
        credits_used=tuple(
            CreditsRecord(task_id=task.task_id, kind=task.kind.rpartition(".")[2], credits=task.credits_consumed)
            for task in (music, cover)
            if task
        ),
    )


def sources_of(music: TaskDetails, cover: TaskDetails | None, wanted: Wanted) -> tuple[Source, ...]:
    """Return every file that is asked for, with its position in KIE's answer."""
    covers = [
        Source(FileKind.COVER, number, url=url, task_id=cover.task_id, expires_at=cover.expires_at)
        for number, url in enumerate(cover.urls if cover else (), start=1)
        if cover
    ]
    tracks = [
        Source(
            FileKind.TRACK,
            track.position,
            url=track.audio_url,
            task_id=music.task_id,
            audio_id=track.audio_id,
            duration_seconds=track.duration_seconds,
            expires_at=music.expires_at,
        )
        for track in music.tracks
        if wanted.audio and track.audio_url
    ]
    lyrics = [
        Source(FileKind.LYRICS, track.position, text=track.lyrics, task_id=music.task_id, audio_id=track.audio_id)
        for track in music.tracks
        if wanted.lyrics and track.lyrics and not music.param.get("instrumental")
    ]
    return (*covers, *tracks, *lyrics)


def prompt_of(details: TaskDetails) -> str | None:
    """Return the prompt of a song, or the text that is sung where KIE names no prompt."""
    prompt = details.param.get("prompt")
    return prompt if isinstance(prompt, str) else (details.tracks[0].lyrics if details.tracks else None)
