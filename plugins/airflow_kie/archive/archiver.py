"""Archives one song: downloads, checks and uploads every file, writes the manifest, then deletes the pending record.

A crash at any point leaves either no manifest and the pending record, or a manifest whose files are all there. The
pending record stays while anything that it asks for is missing: another run may have asked for more than this one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from airflow_kie import __version__
from airflow_kie.archive.file_transfer import Download, Fetcher, Refresh, Source
from airflow_kie.archive.manifest import (
    AvailableRecord,
    CreditsRecord,
    FileKind,
    FileRecord,
    GeneratorRecord,
    Manifest,
    SongRecord,
    TaskManifest,
    TrackRecord,
    Wanted,
)
from airflow_kie.archive.pending import Options, Pending, new_pending
from airflow_kie.archive.record_base import label_list, utc_text
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.errors import KieError, KieNoFiles
from airflow_kie.client.operations.operation import MEDIA_LIFETIME

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archived:
    """The result of archiving a song.

    :param manifest: the manifest as it is in the bucket now; it names every archived file of the song.
    :param changed: False if everything that was requested was there already and nothing was written.
    :param added: the files that were archived now.
    """

    manifest: Manifest
    changed: bool
    added: tuple[FileRecord, ...]


def archive_song(
    archive: SongArchive,
    song: Manifest,
    sources: Sequence[Source],
    *,
    old: Manifest | None,
    download: Download,
    wanted: Wanted | None = None,
    refresh: Refresh | None = None,
    max_file_bytes: int = 512 * 1024 * 1024,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] | None = None,
    one_of_many: bool = False,
) -> Archived:
    """Bring every source into the bucket that is not there yet, then write the manifest.

    The pending record is deleted afterwards if everything that it asks for is in the manifest.

    :param archive: the song's place in the bucket.
    :param song: what is known of the song, and the Airflow task that archives it: a manifest without files.
    :param sources: the files that are requested; files that were archived before and are not named stay.
    :param old: the song's manifest as it was read before; None: it had none.
    :param download: fetches a URL into a file (:func:`airflow_kie.client.http.download.download`).
    :param wanted: the kinds of files that the sources are all of; a kind without a source is one that KIE does not
        have. None: the kinds that the sources are of.
    :param refresh: returns a fresh link for a URL of KIE whose link is dead (``/common/download-url``).
    :param max_file_bytes: no file may be larger.
    :param now: the clock, UTC.
    :param sleep: waits for seconds between the attempts for one file; ``time.sleep`` if None.
    :param one_of_many: its caller lists many songs in the index together and deletes their pending records after
        that; the log has one line of this song.
    :return: the manifest, and whether anything was done.
    :raises KieNoFiles: when covers or tracks are requested and KIE names none.
    :raises KieError: FileGone, FileLinkDead, FileDamaged, FileTooLarge, DownloadRefused, FileUnreachable for KIE's
        side, S3Error and ArchiveUnreadable for the bucket's. The files that were stored before stay; there is no
        manifest then, or it names only files that are whole.
    """
    level = logging.DEBUG if one_of_many else logging.INFO
    fetcher = Fetcher(archive.bucket, archive.keys, download, refresh, max_file_bytes, now, sleep, level)
    wanted = wanted or Wanted(*(any(source.kind is kind for source in sources) for kind in FileKind))
    try:
        kept, missing = kept_and_missing(archive.bucket, old, sources)
        replaced = _withdraw(archive, old, kept, now()) if old and len(kept) < len(old.files) else []
        added = tuple(fetcher.archive(source) for source in missing)
        if not kept and not added:
            raise KieNoFiles("there is nothing to archive")
        known = Pending.read(archive.bucket, archive.keys)
        news = song.changed(
            first_seen_at=known[0].first_seen_at if known[0] else None,
            files=added,
            available=available(wanted.kinds, sources),
            generator=song.generator.changed(archived_by_version=__version__),
            created_at=now(),
            updated_at=now(),
        )
        manifest = Manifest.update(
            archive.bucket, archive.keys, lambda stored: (stored or news).merged_with(news), is_new=old is None
        )
        for key in {file.key for file in replaced} - {file.key for file in manifest.files}:
            archive.bucket.delete(key)
        lacking, left = wanted.missing_in(manifest), None
        if lacking or not one_of_many:
            left = archive.settle_pending(manifest, is_new=manifest != old, known=known)
        if lacking:
            raise KieNoFiles(f"KIE names no {' and no '.join(lacking)} of this song; everything else is archived")
    except KieError as e:
        raise e.with_facts(source_id=song.music_task_id, paid=_paid(song)) from e
    archived = Archived(manifest, manifest != old, added)
    _log(archived, left)
    return archived


def _log(archived: Archived, pending: Pending | None) -> None:
    manifest = archived.manifest
    log.info(
        "Song %s: archived %d files of %s bytes; it now has %d files.",
        manifest.music_task_id, len(archived.added), f"{sum(file.size for file in archived.added):,}",
        len(manifest.files),
    )  # fmt: skip
    for warning in manifest.warnings if archived.changed else ():
        log.warning("Song %s: %s", manifest.music_task_id, warning)
    if pending:
        still = ", ".join(pending.wanted.missing_in(manifest))
        log.info("Song %s stays pending: another run has requested its %s too.", manifest.music_task_id, still)


def _paid(song: Manifest) -> str:
    """Return what is safe for how long, as a sentence for the errors."""
    made = song.song.completed_at
    until = f"until {utc_text(made + MEDIA_LIFETIME)}" if made else "for 14 days after they were made"
    return f"Song and cover are paid for, and KIE keeps them {until}"


def available(kinds: Iterable[str], sources: Sequence[Source]) -> tuple[AvailableRecord, ...]:
    """Return which files of some kinds KIE has."""
    return tuple(
        AvailableRecord(kind=str(kind), positions=tuple(sorted(s.position for s in sources if s.kind == kind)))
        for kind in kinds
    )


def kept_and_missing(
    bucket: Bucket, old: TaskManifest | None, sources: Sequence[Source]
) -> tuple[list[FileRecord], list[Source]]:
    """Return the records that stay, and the sources that have to be fetched."""
    asked = {(str(source.kind), source.position): source for source in sources}
    kept = []
    for record in old.files if old else ():
        source = asked.get((record.kind, record.position))
        if source is None:  # archived by an earlier run that asked for more
            kept.append(record)
        elif source.is_what(record) and is_stored(bucket, record):
            kept.append(record)
            del asked[record.kind, record.position]
    return kept, list(asked.values())


def is_stored(bucket: Bucket, record: FileRecord) -> bool:
    """Return whether the bucket still holds this file; not every service keeps the SHA-256 in the metadata."""
    stored = bucket.head(record.key)
    return stored is not None and stored.size == record.size and stored.sha256 in (None, record.sha256)


def _withdraw(archive: SongArchive, old: Manifest, kept: Sequence[FileRecord], now: datetime) -> list[FileRecord]:
    """Take files that are about to be replaced out of the manifest first: it never names what it does not describe.

    The pending record asks for them before, so that they are fetched by another run if this one fails.
    """
    replaced = [file for file in old.files if file not in kept]
    log.warning(
        "Song %s: these files differ from the manifest, or now come from another source; they are fetched again: %s.",
        old.music_task_id,
        ", ".join(file.key for file in replaced),
    )
    kinds = {file.kind for file in replaced}
    options = Options(audio=FileKind.TRACK in kinds, lyrics=FileKind.LYRICS in kinds)
    pending = new_pending(old.music_task_id, received_from="form", now=now)
    archive.merge_pending(pending.changed(options=options, kie_conn_id=old.kie_conn_id))
    Manifest.update(archive.bucket, archive.keys, lambda stored: (stored or old).without(replaced))
    return replaced


def song_of(
    music: TaskDetails,
    cover: TaskDetails | None,
    kie_conn_id: str,
    labels: Mapping[str, str] | None,
) -> Manifest:
    """Return what the manifest says of a song.

    :param music: details of the music task.
    :param cover: details of the cover task, None where no covers are requested.
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
    """Return every file that is requested, with its position in KIE's answer."""
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
