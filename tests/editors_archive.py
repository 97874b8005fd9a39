"""An editor's archive: songs with covers and takes that can be seen and heard, and thousands more to search."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_kie.archive.index.entry import IndexEntry, IndexFile
from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.manifest import AirflowRecord, FileRecord, GeneratorRecord, Manifest, SongRecord, TrackRecord
from airflow_kie.archive.record_base import Label
from airflow_kie.archive.s3.bucket import Bucket
from archived_kinds import all_archived
from kie_simulator.artwork import render_cover, render_plain
from kie_simulator.audio import render_mp3
from songs_to_deliver import stereo_wav

NOW = datetime.now(UTC).replace(microsecond=0)
TITLES = (
    *("Velvet Harbour", "Paper Lanterns", "Été sans fin", "Glass Mountains", "Northbound", "Salt and Copper"),
    *("Midnight Greenhouse", "<b>Bold</b> \u202egnos", "שיר של ים", "Slow Machine"),
)
PREFIX = "songs"


def archive_for_editors(songs: Bucket, *, drawn: bool) -> None:
    """Store songs of two covers and two takes, and an index that lists ten thousand more.

    Each song has a first cover of its own; the second one and the takes are the same.

    :param drawn: whether covers are as KIE's in the documentation's pictures, or plain ones, made in a moment.
    """
    keys, index = ArchiveKeys(PREFIX), Index(songs, ArchiveKeys(PREFIX))
    cover = render_cover if drawn else render_plain
    second, takes = cover(f"{song_named(TITLES[0])}2", TITLES[0]), (render_mp3("one"), render_mp3("two"))
    for number, title in enumerate(TITLES):
        covers = (cover(f"{song_named(title)}1", title), second)
        _archive(songs, keys, title, covers, takes, NOW - timedelta(hours=3 * number + 1))
    index.rebuild()
    index.add(_listed(number) for number in range(10_000))


def song_named(title: str) -> str:
    """Return the id of the song with a title."""
    return hashlib.sha256(title.encode()).hexdigest()[:32]


def _archive(
    songs: Bucket, keys: ArchiveKeys, title: str, covers: Sequence[bytes], takes: Sequence[bytes], at: datetime
) -> None:
    song = song_named(title)

    def stored(kind: str, position: int, ending: str, content: bytes, content_type: str, **known: Any) -> FileRecord:
        key = keys.song(song).file(kind, position, ending)
        songs.put_bytes(content, key, content_type=content_type)
        return FileRecord(
            key=key,
            kind=kind,
            position=position,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            content_type=content_type,
            archived_at=at,
            expires_at=at + timedelta(days=14),
            **known,
        )

    files: list[FileRecord] = [
        *(stored("cover", n, "png", cover, "image/png", width=1024, height=1024) for n, cover in enumerate(covers, 1)),
        *(stored("track", n, "mp3", take, "audio/mpeg", duration_seconds=138.0 + n) for n, take in enumerate(takes, 1)),
    ]
    if title == TITLES[0]:  # it has extras
        words = [
            {"word": word, "startS": n * 0.6}
            for n, word in enumerate(("[Verse 1]\nThe", "tide", "\nis", "a", "slow", "\nmachine"))
        ]
        made = {"audio_id": f"{song}-1", "task_id": f"extra-of-{song}"}
        files += [
            stored("extras/wav", 1, "wav", stereo_wav(), "audio/wav", duration_seconds=0.5, **made),
            stored(
                "extras/timed_lyrics",
                1,
                "json",
                json.dumps({"alignedWords": words}).encode(),
                "application/json",
                **made,
            ),
        ]
        files = [file.changed(kind=file.kind.removeprefix("extras/")) for file in files]
    manifest = Manifest(
        music_task_id=song,
        song=SongRecord(
            title=title,
            tags="synthwave, driving, warm pads",
            prompt="A slow song about a harbour at night",
            duration_seconds=139.0,
            model="V6",
        ),
        generator=GeneratorRecord(model="V6"),
        files=files,
        tracks=tuple(TrackRecord(position=n, audio_id=f"{song}-{n}", title=title) for n in (1, 2)),
        available=all_archived(*files),
        airflow=AirflowRecord(dag_id="music_cover", run_id="r+1"),
        labels=(Label(name="album", value="Harbour Lights"),),
        created_at=at,
        updated_at=at,
    )
    songs.put_json(manifest.to_json(), keys.song(song).manifest)


def _listed(number: int) -> IndexEntry:
    at = NOW - timedelta(days=1, minutes=7 * number)
    sound = IndexFile(name="track-1.mp3", kind="track", position=1, content_type="audio/mpeg", size=1)
    return IndexEntry(
        id=f"listed{number:06d}",
        operation="suno.music",
        title=f"Demo {number:05d}",
        tags=("lo-fi, rain", "house, bright", "folk, fingerpicked")[number % 3],
        model=("V6", "V5_5")[number % 2],
        duration_seconds=120.0 + number % 90,
        files=(sound,),
        archived_at=at,
        updated_at=at,
    )
