"""Songs that are archived with covers, takes and lyrics, and their WAV, as a release is made from them."""

from __future__ import annotations

import hashlib
import io
import struct
import wave
from datetime import UTC, datetime
from typing import Any

from airflow_kie.archive.layout import SongKeys, TaskKeys
from airflow_kie.archive.manifest import (
    AvailableRecord,
    FileRecord,
    Manifest,
    SongRecord,
    TaskManifest,
    TrackRecord,
)
from airflow_kie.archive.record_base import label_list
from airflow_kie.archive.s3.bucket import Bucket
from media_server import mp3, picture

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
PREFIX = "music"
SAID: dict[str, Any] = {
    "title": "Three summers",
    "artist": "The Examples",
    "genre": "Pop",
    "language": "fr",
    "explicit": False,
    "writers": [{"name": "Ada Example"}],
    "p_line": "2026 Example Records",
    "c_line": "2026 Example Records",
    "release_date": "2026-12-24",
    "upc": "036000291452",
    "ai": {"lyrics": "assisted"},
}
"""Metadata of a release that lacks nothing."""


def stereo_wav(seconds: float = 0.5) -> bytes:
    """Return a WAV of 16 bits, 44,100 samples a second and two channels."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(bytes(n % 251 for n in range(4 * int(44_100 * seconds))))
    return out.getvalue()


def tagged(plain: bytes) -> bytes:
    """Return a WAV with an INFO list before its sound and an ID3 chunk of odd length after it."""
    listed = b"LIST" + struct.pack("<I", 18) + b"INFOISFT" + struct.pack("<I", 6) + b"Suno!\0"
    id3 = b"id3 " + struct.pack("<I", 5) + b"ID3\x03\0" + b"\0"
    inner = plain[12:36] + listed + plain[36:] + id3
    return b"RIFF" + struct.pack("<I", 4 + len(inner)) + b"WAVE" + inner


def archive_song(
    bucket: Bucket, song: str, *, instrumental: bool = False, sound: bytes = b"", side: int = 1024, **labels: str
) -> TaskKeys:
    """Store a song with two covers, two takes and lyrics, and its first take as WAV; return the WAV's task.

    :param sound: the WAV; empty: one of half a second.
    :param side: pixels of its covers' sides.
    """
    keys = SongKeys(PREFIX, song)
    files = [_store(bucket, keys.file("cover", n, "png"), "cover", n, picture(n, size=(side, side))) for n in (1, 2)]
    files += [_store(bucket, keys.file("track", n, "mp3"), "track", n, mp3(n), audio_id=f"{song}-{n}") for n in (1, 2)]
    if not instrumental:
        files += [_store(bucket, keys.file("lyrics", n, "txt"), "lyrics", n, b"la la \xc3\xa9") for n in (1, 2)]
    title = f"Été {song}"
    manifest = Manifest(
        music_task_id=song,
        files=tuple(files),
        available=tuple(AvailableRecord(kind=kind, positions=(1, 2)) for kind in ("cover", "track")),
        song=SongRecord(title=title, tags="pop", instrumental=instrumental),
        tracks=tuple(TrackRecord(position=n, audio_id=f"{song}-{n}", title=title) for n in (1, 2)),
        labels=label_list(labels),
        created_at=NOON,
        updated_at=NOON,
    )
    bucket.put_json(manifest.to_json(), keys.manifest)
    task = TaskKeys(PREFIX, "suno.wav", f"wav-of-{song}")
    stored = _store(bucket, task.file("wav", 1, "wav"), "wav", 1, tagged(sound or stereo_wav()))
    made = TaskManifest(
        operation="suno.wav",
        task_id=task.task_id,
        files=(stored,),
        available=(AvailableRecord(kind="wav", positions=(1,)),),
        created_at=NOON,
        updated_at=NOON,
    )
    bucket.put_json(made.to_json(), task.manifest)
    return task


def _store(bucket: Bucket, key: str, kind: str, n: int, content: bytes, **more: Any) -> FileRecord:
    digest = hashlib.sha256(content).hexdigest()
    types = {"cover": "image/png", "track": "audio/mpeg", "lyrics": "text/plain", "wav": "audio/wav"}
    bucket.put_file(io.BytesIO(content), key, size=len(content), content_type=types[kind], sha256=digest)
    return FileRecord(
        key=key,
        kind=kind,
        position=n,
        size=len(content),
        sha256=digest,
        content_type=types[kind],
        archived_at=NOON,
        **more,
    )
