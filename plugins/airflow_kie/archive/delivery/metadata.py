"""The metadata of a release and its tracks: from KIE, songs' labels, settings, and what people fill in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from airflow_kie.archive.delivery.keys import ReleaseKeys
from airflow_kie.archive.delivery.records import Release, Track, credits_from
from airflow_kie.archive.layout import TaskKeys
from airflow_kie.archive.manifest import FileKind, FileRecord, Manifest
from airflow_kie.archive.record_base import label_map
from airflow_kie.client.errors import KieInvalidRequest, NotArchived

MAX_TRACKS = 100
_Described = TypeVar("_Described", Release, Track)


@dataclass(frozen=True)
class TrackSource:
    """One track of a release: which take of which song.

    :param song: music task id.
    :param take: position of the take, from 1.
    :param cover: position of the cover, from 1; the first track's is the release's.
    :param wav: the task that has made its WAV; None: there is none.
    :param credits: its metadata, as :class:`~airflow_kie.archive.delivery.records.Track` names it.
    """

    song: str
    take: int = 1
    cover: int = 1
    wav: TaskKeys | None = None
    credits: Mapping[str, Any] = field(default_factory=dict)


def wanted(song: Manifest, kind: FileKind, position: int) -> FileRecord:
    """Return an archived file of a song.

    :raises NotArchived: when there is none.
    """
    file = song.file(kind, position)
    if file is None:
        raise NotArchived(f"{kind} {position} of song {song.music_task_id} is not archived; archive it first")
    return file


def track_of(
    song: Manifest, chosen: TrackSource, position: int, cover: FileRecord, defaults: Mapping[str, Any]
) -> Track:
    """Return what is known of a track without its files: KIE's words, then the song's labels, then a person's.

    :param song: its song.
    :param chosen: which take of it.
    :param position: in the release, from 1.
    :param cover: the release's.
    :param defaults: what `[kie] release_defaults` says.
    :raises KieInvalidRequest: for metadata that cannot be used, naming the field.
    """
    own = next((track for track in song.tracks if track.position == chosen.take), None)
    sung = None if song.song.instrumental is None else "none" if song.song.instrumental else "generated"
    ai = {"music": "generated", "cover": None if is_own_picture(cover) else "generated", "vocals": sung}
    if song.song.instrumental:
        ai["lyrics"] = "none"
    labels, given = _labels_of(song), dict(chosen.credits)
    labels = {name: value for name, value in labels.items() if name in Track.model_fields}
    ai |= credits_from(defaults).get("ai", {}) | labels.pop("ai", {})
    own_ai = given.pop("ai", None) or {}
    disclosed = {**ai, **own_ai} if isinstance(own_ai, Mapping) else own_ai
    values = {"title": (own.title if own else None) or song.song.title, **labels, **given}
    if song.song.instrumental:
        values.setdefault("language", "zxx")
    values |= {"position": position, "music_task_id": chosen.song, "ai": disclosed}
    return _checked(Track, {name: value for name, value in values.items() if value not in (None, "")})


def release_of(
    keys: ReleaseKeys,
    songs: Sequence[Manifest],
    tracks: Sequence[Track],
    credits: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> Release:
    """Return what is known of a release without its files: the settings, then what all songs' labels say, then people.

    One of a single track has that track's title.

    :param keys: the release's.
    :param songs: the song of each track.
    :param tracks: of :func:`track_of`.
    :param credits: what people say of the release.
    :param defaults: what `[kie] release_defaults` says.
    :raises KieInvalidRequest: for metadata that cannot be used, naming the field.
    """
    first, *others = map(_labels_of, songs)
    alike = {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
    labels = {name: alike[name] for name in alike.keys() & Release.model_fields.keys() - {"title", "ai"}}
    given = {**credits_from(defaults), **labels, **credits}
    values = {"title": tracks[0].title if len(tracks) == 1 else None}
    values |= {name: value for name, value in given.items() if value not in (None, "")}
    return _checked(Release, values | {"name": keys.name})


def is_own_picture(cover: FileRecord) -> bool:
    """Return whether a cover was uploaded by a person, so that nobody here knows how it was made."""
    return cover.origin == "upload"


def _labels_of(song: Manifest) -> dict[str, Any]:
    return credits_from(label_map(song.labels))


def _checked(kind: type[_Described], values: Mapping[str, Any]) -> _Described:
    try:
        return kind.model_validate(dict(values))
    except ValidationError as e:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in error['loc'])}: {error['msg'].removeprefix('Value error, ')}"
            for error in e.errors(include_url=False, include_context=False, include_input=False)[:5]
        )
        raise KieInvalidRequest(f"The release's metadata is invalid, {wrong}; nothing was made") from None
