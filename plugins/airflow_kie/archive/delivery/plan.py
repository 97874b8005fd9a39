"""The plan of a release, from what people have requested and chosen, before anything is paid."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_kie.archive.choice import Choice
from airflow_kie.archive.delivery.keys import ReleaseKeys
from airflow_kie.archive.delivery.metadata import MAX_TRACKS, TrackSource, release_of, track_of, wanted
from airflow_kie.archive.inbox.song_request import ids_in
from airflow_kie.archive.layout import SongKeys
from airflow_kie.archive.manifest import FileKind, FileRecord, Manifest
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.client.errors import KieInvalidRequest, NotArchived
from airflow_kie.client.task_ids import KeyRefused


def as_map(value: Mapping[str, Any] | str | None, what: str) -> dict[str, Any]:
    """Return a map that may have come as JSON text; nothing is an empty one.

    :param value: the map or its text.
    :param what: what it is, for the error.
    :raises KieInvalidRequest: when it is something else.
    """
    try:
        found = json.loads(value) if isinstance(value, str) and value.strip() else value or {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, Mapping):
        raise KieInvalidRequest(f'{what} is not a JSON map such as {{"artist": "…"}}; nothing was made')
    return {str(name): setting for name, setting in found.items()}


def tracks_in(songs: Any) -> list[Mapping[str, Any]]:
    """Return a release's tracks from a list of maps or ids, JSON text of one, or ids in any text.

    :raises KieInvalidRequest: for too few or too many, or for what names no song.
    """
    if isinstance(songs, str):
        try:
            songs = json.loads(songs)
        except (ValueError, RecursionError):
            songs = ids_in(songs)
    given = list(songs) if isinstance(songs, Sequence) and not isinstance(songs, str) else []
    tracks = [{"song": track} if isinstance(track, str) else track for track in given]
    if not 1 <= len(tracks) <= MAX_TRACKS:
        raise KieInvalidRequest(f"A release has 1 to {MAX_TRACKS} songs, not {len(tracks)}; nothing was made")
    for n, track in enumerate(tracks, 1):
        if not isinstance(track, Mapping) or not isinstance(track.get("song"), str):
            raise KieInvalidRequest(f"Track {n} has no song; nothing was made")
        if wrong := [name for name in ("take", "cover") if not _is_position(track.get(name))]:
            raise KieInvalidRequest(f"Track {n}: {wrong[0]} is a position such as 1 or 2; nothing was made")
    return tracks


def planned(
    bucket: Bucket,
    keys: ReleaseKeys,
    tracks: Sequence[Mapping[str, Any]],
    credits: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> tuple[list[dict[str, Any]], FileRecord]:
    """Return each track with its take and cover, once all that the release needs is known to be there.

    :param tracks: of :func:`tracks_in`.
    :param credits: the release's metadata.
    :param defaults: of `[kie] release_defaults`.
    :return: maps with ``song``, ``take``, ``cover``, ``audio_id`` and ``credits``; and the release's cover.
    :raises KieInvalidRequest: when metadata cannot be used, or somebody has rejected a song.
    :raises NotArchived: naming what is not there.
    """
    plan, known, manifests, covers = [], [], [], []
    for n, track in enumerate(tracks, 1):
        try:
            song_keys = SongKeys(keys.prefix, track["song"].strip())
        except KeyRefused as e:
            raise KieInvalidRequest(f"Track {n}: {e}; nothing was made") from e
        song = Manifest.read(bucket, song_keys)[0]
        if song is None:
            raise NotArchived(f"song {song_keys.task_id} is not archived, so it cannot be delivered")
        take, cover = _chosen(bucket, song_keys, song, track)
        audio = wanted(song, FileKind.TRACK, take)
        manifests.append(song)
        covers.append(wanted(song, FileKind.COVER, cover))
        more = {name: setting for name, setting in track.items() if name not in {"song", "take", "cover"}}
        source = TrackSource(song_keys.task_id, take, cover, credits=more)
        known.append(track_of(song, source, n, covers[0], defaults))
        plan.append(
            {
                "song": source.song,
                "take": take,
                "cover": cover,
                "audio_id": audio.audio_id or next((t.audio_id for t in song.tracks if t.position == take), None),
                "credits": more,
            }
        )
    release_of(keys, manifests, known, credits, defaults)
    return plan, covers[0]


def is_chosen(bucket: Bucket, keys: ReleaseKeys, song: str) -> bool:
    """Return whether somebody has chosen both a take and a cover of a song.

    :param keys: of any release of the archive.
    :param song: its music task id.
    """
    choice = Choice.read(bucket, SongKeys(keys.prefix, song))[0]
    return choice is not None and choice.track is not None and choice.cover is not None


def _chosen(bucket: Bucket, keys: SongKeys, song: Manifest, track: Mapping[str, Any]) -> tuple[int, int]:
    """Return which take and cover are delivered: those asked for, else those chosen, else the first."""
    choice = None
    if not (track.get("take") and track.get("cover")):
        choice = Choice.read(bucket, keys)[0]
    if choice and choice.rejected:
        raise KieInvalidRequest(f"{choice.by} has rejected song {keys.task_id}; name its take and cover to deliver it")
    take = track.get("take") or (choice and choice.position_in(song.files, "track")) or 1
    return take, track.get("cover") or (choice and choice.position_in(song.files, "cover")) or 1


def _is_position(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)
