"""Archive one song: every file is downloaded, checked, uploaded; then the manifest; then the pending record goes.

A crash at any point leaves either no manifest and the pending record, or a manifest whose files are all there. The
pending record stays while anything that it asks for is missing: another run may have asked for more than this one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_kie import __version__
from airflow_kie.archive.file_transfer import Download, Fetcher, Refresh, Source
from airflow_kie.archive.layout import SongKeys
from airflow_kie.archive.manifest import (
    AirflowRecord,
    AvailableRecord,
    CreditsRecord,
    FileRecord,
    GeneratorRecord,
    Manifest,
    SongRecord,
    TrackRecord,
    read_manifest,
    update_manifest,
)
from airflow_kie.archive.pending import Options, new_pending, settle_pending, upsert_pending
from airflow_kie.archive.record_base import label_list, label_map
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.wanted import FileKind, Wanted
from airflow_kie.client.errors import KieError, KieNoFiles

__all__ = ["Archived", "Download", "FileKind", "Refresh", "Song", "Source", "archive_song"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Song:
    """What is known of a song when it is archived; what is None or empty does not erase what a manifest holds.

    :param music_task_id: its id at KIE.
    :param cover_task_ids: the cover tasks whose images are archived.
    :param kie_conn_id: Airflow connection under which KIE knows the song.
    :param account: name of the KIE account, where the connection gives one.
    :param duration_seconds: length of the first track.
    :param completed_at: when KIE finished it; its files live 14 days from then.
    :param labels: people's own names for the song.
    :param tracks: every track of KIE's answer, archived or not.
    :param first_seen_at: when the song was noted as owed.
    :param credits_used: what KIE reports of the cost of the song's tasks.
    """

    music_task_id: str
    cover_task_ids: Sequence[str] = ()
    kie_conn_id: str | None = None
    account: str | None = None
    title: str | None = None
    tags: str | None = None
    model: str | None = None
    prompt: str | None = None
    duration_seconds: float | None = None
    instrumental: bool | None = None
    created_at: datetime | None = None
    completed_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    tracks: Sequence[TrackRecord] = ()
    first_seen_at: datetime | None = None
    credits_used: Sequence[CreditsRecord] = ()


@dataclass(frozen=True)
class Archived:
    """What archiving a song came to.

    :param manifest: the manifest as it stands in the bucket now.
    :param manifest_key: its key.
    :param changed: False if everything that was asked for was there already and nothing was written.
    :param added: the files that were archived now.
    """

    manifest: Manifest
    manifest_key: str
    changed: bool
    added: tuple[FileRecord, ...]

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """Return every archived file of the song."""
        return self.manifest.files

    @property
    def sentence(self) -> str:
        """Return what happened, for the log and the run's table."""
        song, stored = f"Song {self.manifest.music_task_id}", _counted(len(self.files))
        if not self.changed:
            return f"{song} is archived already with {stored}; nothing was done."
        if not self.added:
            return f"{song} is archived already with {stored}; its manifest was brought up to date."
        size = sum(file.size for file in self.added)
        return f"{song}: archived {_counted(len(self.added))} of {size:,} bytes; it has {stored} now."


def _counted(files: int) -> str:
    return f"{files} file" + ("" if files == 1 else "s")


def archive_song(
    bucket: Bucket,
    keys: SongKeys,
    song: Song,
    sources: Sequence[Source],
    *,
    download: Download,
    wanted: Wanted | None = None,
    refresh: Refresh | None = None,
    provenance: AirflowRecord | None = None,
    max_file_bytes: int = 512 * 1024 * 1024,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] | None = None,
) -> Archived:
    """Bring every source into the bucket that is not there yet, then write the manifest.

    The pending record is deleted afterwards if everything that it asks for is in the manifest.

    :param bucket: where to.
    :param keys: the song's keys.
    :param song: what the manifest says of the song.
    :param sources: the files that are asked for; files that were archived before and are not named stay.
    :param download: fetches a URL into a file (:func:`airflow_kie.client.http.download.download`).
    :param wanted: the kinds of files that the sources are all of; a kind without a source is one that KIE does not
        have. None: the kinds that the sources are of.
    :param refresh: returns a fresh link for a URL of KIE whose link is dead (``/common/download-url``).
    :param provenance: the Airflow task that archives.
    :param max_file_bytes: no file may be larger.
    :param now: the clock, UTC.
    :param sleep: waits for seconds between the attempts for one file; ``time.sleep`` if None.
    :return: the manifest, and whether anything was done.
    :raises KieNoFiles: when KIE names no cover or no track of a song of which they are asked for.
    :raises KieError: FileGone, FileLinkDead, FileDamaged, FileTooLarge, DownloadRefused, FileUnreachable for KIE's
        side, S3Error and ArchiveUnreadable for the bucket's. The files that were stored before stay; there is no
        manifest then, or it names only files that are whole.
    """
    fetcher = Fetcher(bucket, keys, download, refresh, max_file_bytes, now, sleep, completed_at=song.completed_at)
    try:
        old = read_manifest(bucket, keys)
        kept, missing = _sorted_out(bucket, old, sources)
        replaced = _withdraw(bucket, keys, old, kept, now())
        added = tuple(fetcher.archive(source) for source in missing)
        if not kept and not added:
            raise KieNoFiles("there is nothing to archive")
        wanted = wanted or _kinds_of(sources)
        news = _News(song, added, _available(wanted, sources), provenance, now())
        manifest = update_manifest(bucket, keys, news.added_to)
        for key in {file.key for file in replaced} - {file.key for file in manifest.files}:
            bucket.delete(key)
        pending = settle_pending(bucket, keys)
        if lacking := wanted.missing_in(manifest):
            raise KieNoFiles(f"KIE names no {' and no '.join(lacking)} of this song; what it names is archived")
    except KieError as e:
        raise e.with_facts(source_id=song.music_task_id, paid=fetcher.paid()) from e
    archived = Archived(manifest, keys.manifest, manifest != old, added)
    log.info("%s", archived.sentence)
    for warning in manifest.warnings if archived.changed else ():
        log.warning("Song %s: %s", song.music_task_id, warning)
    if pending:
        still = ", ".join(pending.wanted.missing_in(manifest))
        log.info("Song %s stays pending: another run has asked for its %s too.", song.music_task_id, still)
    return archived


def _kinds_of(sources: Sequence[Source]) -> Wanted:
    kinds = {source.kind for source in sources}
    return Wanted(FileKind.COVER in kinds, FileKind.TRACK in kinds, FileKind.LYRICS in kinds)


def _available(wanted: Wanted, sources: Sequence[Source]) -> tuple[AvailableRecord, ...]:
    return tuple(
        AvailableRecord(kind=kind.value, positions=tuple(sorted(s.position for s in sources if s.kind is kind)))
        for kind in wanted.kinds
    )


def _sorted_out(
    bucket: Bucket, old: Manifest | None, sources: Sequence[Source]
) -> tuple[list[FileRecord], list[Source]]:
    """Return the records that stay, and the sources that have to be fetched."""
    asked = {(source.kind.value, source.position): source for source in sources}
    kept = []
    for record in old.files if old else ():
        source = asked.get((record.kind, record.position))
        if source is None:  # archived by an earlier run that asked for more
            kept.append(record)
        elif source.is_what(record) and _stands(bucket, record):
            kept.append(record)
            del asked[record.kind, record.position]
    return kept, list(asked.values())


def _stands(bucket: Bucket, record: FileRecord) -> bool:
    """Say whether the bucket still holds this file; not every service keeps the SHA-256 in the metadata."""
    stored = bucket.head(record.key)
    return stored is not None and stored.size == record.size and stored.sha256 in (None, record.sha256)


def _withdraw(
    bucket: Bucket, keys: SongKeys, old: Manifest | None, kept: Sequence[FileRecord], now: datetime
) -> list[FileRecord]:
    """Take files that are about to be replaced out of the manifest first: it never names what it does not describe.

    The pending record asks for them before, so that they are fetched by another run if this one fails.
    """
    if old is None or len(kept) == len(old.files):
        return []
    replaced = [file for file in old.files if file not in kept]
    log.warning(
        "Song %s: %s in the bucket not what the manifest says or is asked for from another source; fetched again.",
        keys.music_task_id,
        ", ".join(file.key for file in replaced) + (" is" if len(replaced) == 1 else " are"),
    )
    kinds = {file.kind for file in replaced}
    options = Options(audio=FileKind.TRACK in kinds, lyrics=FileKind.LYRICS in kinds)
    pending = new_pending(keys.music_task_id, received_from="form", now=now)
    upsert_pending(bucket, keys, pending.changed(options=options, kie_conn_id=old.kie_conn_id))
    update_manifest(bucket, keys, lambda stored: _without(stored or old, replaced))
    return replaced


def _without(manifest: Manifest, files: Sequence[FileRecord]) -> Manifest:
    return manifest.changed(files=tuple(file for file in manifest.files if file not in files))


@dataclass(frozen=True)
class _News:
    """What a run adds to the manifest; the parameters are those of :func:`archive_song`.

    :param added: the files that it has archived.
    :param available: what KIE has of the kinds that it asked for.
    """

    song: Song
    added: tuple[FileRecord, ...]
    available: tuple[AvailableRecord, ...]
    provenance: AirflowRecord | None
    now: datetime

    def added_to(self, stored: Manifest | None) -> Manifest:
        """Return the stored manifest with the news, and the stored one itself where they change nothing."""
        new = self._added_to(stored)
        return stored if stored is not None and not _differs(new, stored) else new

    def _added_to(self, stored: Manifest | None) -> Manifest:
        song = self.song
        base = stored or Manifest(music_task_id=song.music_task_id, created_at=self.now, updated_at=self.now)
        known: dict[str, Any] = {
            name: getattr(song, name) for name in SongRecord.model_fields if getattr(song, name) is not None
        }
        heard = [moment for moment in (base.first_seen_at, song.first_seen_at) if moment is not None]
        files = _newest(base.files, self.added)
        return base.changed(
            cover_task_ids=tuple(dict.fromkeys((*base.cover_task_ids, *song.cover_task_ids))),
            kie_conn_id=song.kie_conn_id or base.kie_conn_id,
            account=song.account or base.account,
            song=base.song.changed(**known),
            tracks=tuple(song.tracks) or base.tracks,
            files=files,
            available=tuple({known.kind: known for known in (*base.available, *self.available)}.values()),
            labels=label_list(label_map(base.labels) | dict(song.labels)),
            airflow=self.provenance or base.airflow,
            generator=base.generator.changed(**({"model": song.model} if song.model else {}))
            if stored
            else GeneratorRecord(model=song.model, archived_by_version=__version__),
            warnings=_warnings(files),
            first_seen_at=min(heard, default=None),
            updated_at=self.now,
            credits_used=_credits_used(base.credits_used, song.credits_used),
        )


def _newest(stored: Sequence[FileRecord], added: Sequence[FileRecord]) -> tuple[FileRecord, ...]:
    """Return one file for each position: the one that was archived last, which is the one that stands at the key."""
    files = {(file.kind, file.position): file for file in stored}
    for file in added:
        other = files.get((file.kind, file.position))
        if other is None or other.archived_at <= file.archived_at:
            files[file.kind, file.position] = file
    return tuple(sorted(files.values(), key=lambda file: (file.kind, file.position)))


def _credits_used(old: Sequence[CreditsRecord], new: Sequence[CreditsRecord]) -> tuple[CreditsRecord, ...]:
    """Return one record for each task; an amount that KIE once reported stays when it reports none later."""
    known = {record.task_id: record for record in old}
    for record in new:
        if record.credits is not None or record.task_id not in known:
            known[record.task_id] = record
    return tuple(known.values())


def _differs(new: Manifest, old: Manifest) -> bool:
    """Say whether the manifests differ in more than who wrote them when."""
    return new.changed(updated_at=old.updated_at, airflow=old.airflow) != old


def _warnings(files: Sequence[FileRecord]) -> tuple[str, ...]:
    """Return what is worth a look and no failure: a file that may be cut short, one track's content under both names.

    KIE's CDN was seen to serve the same content for two tracks.
    """
    seen: dict[str, FileRecord] = {}
    found = [f"{file.key}: {file.warning}" for file in files if file.warning]
    for file in files:
        if file.kind == FileKind.LYRICS:  # two tracks of one song are sung to the same text
            continue
        first = seen.setdefault(file.sha256, file)
        if first is not file:
            found.append(f"{file.key} has the same content as {first.key}. Listen to or look at both.")
    return tuple(found)
