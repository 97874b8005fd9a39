"""Make a release's folder: every file is made, checked and stored, and ``manifest.json`` comes last.

It may be done again at any time, and after a crash it must be: what has not changed is not stored again, and while
something changes the manifest is gone, so half a release never counts as delivered. Of two deliveries of one release at
a time, the one that ends last stores all of its files again. Nothing here pays.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO, cast

from airflow_kie.archive.delivery.audio import tagged_mp3, untagged_wav
from airflow_kie.archive.delivery.cover_image import ENHANCED_BY_MODEL, MADE_BY_MODEL, delivered_cover
from airflow_kie.archive.delivery.keys import ReleaseKeys
from airflow_kie.archive.delivery.metadata import (
    MAX_TRACKS,
    TrackSource,
    is_own_picture,
    release_of,
    track_of,
    wanted,
)
from airflow_kie.archive.delivery.records import DeliveredFile, Release, ReleaseManifest, Track
from airflow_kie.archive.delivery.upscale import MODEL, RESULT
from airflow_kie.archive.layout import SongKeys, TaskKeys
from airflow_kie.archive.manifest import AirflowRecord, FileKind, FileRecord, Manifest, TaskManifest
from airflow_kie.archive.record_base import WRITES
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3Error
from airflow_kie.client.errors import FileWrongType, KieInvalidRequest, NotArchived

log = logging.getLogger(__name__)
_SPOOL = 8 * 1024 * 1024
LANCZOS = "Lanczos"
NO_MUTAGEN = "writing its tags needs mutagen: pip install 'airflow-provider-kie-ai[delivery]', then deliver it again."


def deliver(
    bucket: Bucket,
    keys: ReleaseKeys,
    tracks: Sequence[TrackSource],
    *,
    enlarged: TaskKeys | None = None,
    credits: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    airflow: AirflowRecord | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[ReleaseManifest, Release, bool]:
    """Make the folder of a release from what is archived.

    :param bucket: where the archive is.
    :param keys: the release's keys.
    :param tracks: in their order.
    :param enlarged: the KIE task that has enlarged the cover; None: it is enlarged here, where it has to be.
    :param credits: its metadata, as :class:`~airflow_kie.archive.delivery.records.Release` names it.
    :param defaults: what `[kie] release_defaults` says of every release; labels of a song go before it.
    :param airflow: the Airflow task that makes it.
    :return: its manifest, its metadata, and whether anything was stored now.
    :raises KieInvalidRequest: for metadata that cannot be used, naming the field.
    :raises NotArchived: when a take or cover is not archived.
    """
    if not 1 <= len(tracks) <= MAX_TRACKS:
        raise KieInvalidRequest(f"A release has 1 to {MAX_TRACKS} tracks, not {len(tracks)}; nothing was made")
    with ExitStack() as files:
        folder = _Folder(bucket, keys, files)
        return _deliver(folder, tracks, enlarged, credits or {}, defaults or {}, airflow, now)


def _deliver(
    folder: _Folder,
    tracks: Sequence[TrackSource],
    enlarged: TaskKeys | None,
    credits: Mapping[str, Any],
    defaults: Mapping[str, Any],
    airflow: AirflowRecord | None,
    now: Callable[[], datetime],
) -> tuple[ReleaseManifest, Release, bool]:
    keys = folder.keys
    songs = [folder.song(chosen) for chosen in tracks]
    source = wanted(songs[0], FileKind.COVER, tracks[0].cover)
    pairs = zip(songs, tracks, strict=True)
    known = [track_of(song, chosen, n, source, defaults) for n, (song, chosen) in enumerate(pairs, 1)]
    release = release_of(keys, songs, known, credits, defaults)
    cover, by = folder.cover(source, enlarged)
    release = release.changed(cover="cover.jpg", cover_upscaled=bool(by), cover_upscaled_with=by or None)
    finished = [
        folder.track(track, release, song, chosen, cover)
        for track, song, chosen in zip(known, songs, tracks, strict=True)
    ]
    release = release.changed(tracks=tuple(finished)).with_missing()
    text = json.dumps(release.to_json(), ensure_ascii=False, indent=2) + "\n"
    folder.add("metadata.json", folder.file(text.encode()), "application/json", None, "written")
    manifest = ReleaseManifest(
        name=keys.name,
        songs=tuple(chosen.song for chosen in tracks),
        files=tuple(folder.made),
        missing=release.missing,
        airflow=airflow or AirflowRecord(),
        delivered_at=now(),
    )
    return folder.store(manifest), release, folder.changed


class _Folder:
    """The files of a release; each lies in a temporary file until all of them are made."""

    def __init__(self, bucket: Bucket, keys: ReleaseKeys, files: ExitStack) -> None:
        self._bucket, self.keys, self._files = bucket, keys, files
        self.made: list[DeliveredFile] = []
        self._bodies: list[BinaryIO] = []
        self.changed = False

    def cover(self, source: FileRecord, enlarged: TaskKeys | None) -> tuple[bytes, str]:
        """Make the cover; return its content and what has enlarged it, which is empty where nothing has.

        :param source: the song's cover.
        :param enlarged: the KIE task that has enlarged it.
        """
        own = is_own_picture(source)
        if enlarged is None:
            body, picture = delivered_cover(self._content(source), source_type="" if own else MADE_BY_MODEL)
            by = [LANCZOS] if picture.upscaled else []
            self._add_cover(body, source, by)
        else:
            made = self._of_task(enlarged, RESULT)
            term = ENHANCED_BY_MODEL if own else MADE_BY_MODEL
            body, picture = delivered_cover(self._content(made), source_type=term)
            by = [MODEL, *([LANCZOS] if picture.upscaled else [])]  # what it has made may be too small still
            self._add_cover(body, made, by, source)
        return body, " and ".join(by)

    def _add_cover(self, body: bytes, source: FileRecord, by: Sequence[str], first: FileRecord | None = None) -> None:
        how = f"enlarged with {' and '.join(by)}" if by else "fitted"
        self.add("cover.jpg", self.file(body), "image/jpeg", source, how, first)

    def track(self, track: Track, release: Release, song: Manifest, chosen: TrackSource, cover: bytes) -> Track:
        """Make a track's files and return what is known of it now."""
        take = wanted(song, FileKind.TRACK, chosen.take)
        known: dict[str, Any] = {"duration_seconds": take.duration_seconds}
        if chosen.wav is not None:
            source = self._wav(song, chosen.take, chosen.wav)
            name, out = f"track-{track.position:02}.wav", self.file()
            with self._archived(source) as body:
                sound = untagged_wav(body, out)
            self.add(name, out, "audio/wav", source, "copied without tags")
            known |= {"wav": name, "sample_rate": sound.rate, "bit_depth": sound.depth}
        lyrics = song.file(FileKind.LYRICS, chosen.take)
        words = self._content(lyrics).decode("utf-8", "replace") if lyrics else ""
        name, out = f"track-{track.position:02}.mp3", self.file()
        try:
            with self._archived(take) as body:
                tagged_mp3(body, out, _tags(track, release, take), lyrics=words, cover=cover)
        except (FileWrongType, ImportError) as e:
            why = NO_MUTAGEN if isinstance(e, ImportError) else str(e)
            log.warning("Track %d of release %s has no copy for listening: %s", track.position, self.keys.name, why)
        else:
            self.add(name, out, "audio/mpeg", take, "tagged")
            known["mp3"] = name
        return track.changed(**known)

    def add(
        self,
        name: str,
        body: BinaryIO,
        content_type: str,
        source: FileRecord | None,
        how: str,
        first: FileRecord | None = None,
    ) -> None:
        """Take a file that was made into the release.

        :param first: what the source itself was made from, where that is archived.
        """
        body.seek(0)
        digest = hashlib.file_digest(body, "sha256").hexdigest()  # type: ignore[arg-type] # it has what is needed
        made_from, its_digest = (source.key, source.sha256) if source else (None, None)
        size = body.seek(0, 2)
        self._bodies.append(body)
        self.made.append(
            DeliveredFile(
                name=name,
                size=size,
                sha256=digest,
                content_type=content_type,
                made_from=made_from,
                made_from_sha256=its_digest,
                how=how,
                enlarged_from=first.key if first else None,
                enlarged_from_sha256=first.sha256 if first else None,
            )
        )

    def store(self, manifest: ReleaseManifest) -> ReleaseManifest:
        """Store what has changed, then the manifest; return the one that is there."""
        stored = ReleaseManifest.read(self._bucket, self.keys)[0]
        if stored and manifest.is_same(stored) and self._is_whole(stored):
            return stored
        self.changed, there = True, stored is not None
        for _ in range(WRITES):
            if there:
                self._bucket.delete(self.keys.manifest)
            self._store_files()
            if self._bucket.put_json_if_unchanged(manifest.to_json(), self.keys.manifest, None):
                return manifest
            there = True  # another delivery of this release has ended meanwhile: some of its files may be among these
        raise S3Error(f"{self._bucket.url(self.keys.folder)} is written by other deliveries all the time")

    def _store_files(self) -> None:
        for file, body in zip(self.made, self._bodies, strict=True):
            key = self.keys.file(file.name)
            self._bucket.put_file(body, key, size=file.size, content_type=file.content_type, sha256=file.sha256)
        kept = {self.keys.manifest, *(self.keys.file(file.name) for file in self.made)}
        for facts in self._bucket.list(self.keys.folder):  # a delivery that died has left no manifest that names them
            if facts.key not in kept and self.keys.is_file(facts.key):
                self._bucket.delete(facts.key)

    def song(self, chosen: TrackSource) -> Manifest:
        """Return the manifest of a track's song."""
        manifest = Manifest.read(self._bucket, SongKeys(self.keys.prefix, chosen.song))[0]
        if manifest is None:
            raise NotArchived(f"song {chosen.song} is not archived, so it cannot be delivered")
        return manifest

    def file(self, content: bytes = b"") -> BinaryIO:
        """Return a temporary file of the release: on disk, since a hundred tracks would fill the memory."""
        body = cast("BinaryIO", self._files.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115 - it is one
        body.write(content)
        return body

    def _wav(self, song: Manifest, take: int, task: TaskKeys) -> FileRecord:
        """Return the WAV of a take: the song's own, where it has one (DAG song_extras), else the task's."""
        own = song.file("wav", take)
        if own and own.task_id == task.task_id:
            return own
        return self._of_task(task, "wav")

    def _of_task(self, task: TaskKeys, role: str) -> FileRecord:
        """Return what a KIE task has made, which is archived.

        :raises NotArchived: when it is not.
        """
        manifest = TaskManifest.read(self._bucket, task)[0]
        file = manifest.file(role, 1) if manifest else None
        if file is None:
            raise NotArchived(f"{task.name} has no archived {role}; archive it first")
        return file

    @contextmanager
    def _archived(self, file: FileRecord) -> Iterator[BinaryIO]:
        """Give an archived file, compared with its manifest, for as long as something is made from it."""
        with tempfile.SpooledTemporaryFile(_SPOOL) as opened:
            body = cast("BinaryIO", opened)
            facts = self._bucket.read_facts(file.key, body)
            if facts is None or facts.sha256 != file.sha256:
                differs = "is missing" if facts is None else "differs from its manifest"
                raise NotArchived(f"{self._bucket.url(file.key)} {differs}")
            body.seek(0)
            yield body

    def _content(self, file: FileRecord) -> bytes:
        with self._archived(file) as body:
            return body.read()

    def _is_whole(self, stored: ReleaseManifest) -> bool:
        there = {facts.key: facts.size for facts in self._bucket.list(self.keys.folder)}
        return all(there.get(self.keys.file(file.name)) == file.size for file in stored.files)


def _tags(track: Track, release: Release, take: FileRecord) -> dict[str, str]:
    """Return the ID3 frames of the copy for listening."""
    title = f"{track.title} ({track.version})" if track.title and track.version else track.title
    return {
        "TIT2": title or "",
        "TPE1": track.artist or release.artist or "",
        "TALB": release.title or "",
        "TCON": track.genre or release.genre or "",
        "TDRC": release.release_date.isoformat() if release.release_date else "",
        "TRCK": str(track.position),
        "TSRC": track.isrc or "",
        "TCOP": track.p_line or release.p_line or "",
        "COMM": f"KIE task {track.music_task_id}, audio {take.audio_id or 'unknown'}; made with AI",
    }
