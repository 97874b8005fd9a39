"""One file from KIE into the bucket: download to a spooled file, check, upload to its final key."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, cast

import tenacity

from airflow_kie.archive.content.checks import JSON_FACTS, TEXT_FACTS, ContentFacts, text_file
from airflow_kie.archive.content.media import check
from airflow_kie.archive.layout import SongKeys, TaskKeys
from airflow_kie.archive.manifest import FileRecord
from airflow_kie.archive.record_base import utc_text
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.client.errors import (
    FileDamaged,
    FileGone,
    FileLinkDead,
    FileTruncated,
    FileUnreachable,
    KieInvalidRequest,
)
from airflow_kie.client.operations.operation import Medium

if TYPE_CHECKING:
    from airflow_kie.client.http.download import DownloadFacts

log = logging.getLogger(__name__)

# Up to this size a file never touches the disk of the worker.
SPOOL_BYTES = 8 * 1024 * 1024
# An image or a document is decoded as a whole, so its cap is lower than that of audio.
_DECODED = frozenset({Medium.IMAGE, Medium.JSON, Medium.TEXT})
MAX_IMAGE_BYTES = 64 * 1024 * 1024
_SONG_MEDIA: dict[str, Medium] = {"cover": Medium.IMAGE, "track": Medium.AUDIO, "lyrics": Medium.TEXT}
_WITH_AN_END = frozenset({"jpg", "json", "m4a", "mp4", "png", "wav", "webp"})
"""Endings of the files whose own structure says where they end: MP3, FLAC, Ogg and texts just stop."""
_UNKNOWN_END = "neither its host nor the file itself says where it ends"
# Empty and truncated files were seen to come whole a moment later; longer troubles are the task's retries' business.
_ATTEMPTS = 3
_PAUSES = tenacity.wait_exponential(multiplier=1) + tenacity.wait_random(0, 0.4)


@dataclass(frozen=True)
class Source:
    """Where one file of a song or task comes from: a URL of KIE, or the text itself.

    :param kind: cover, track or lyrics of a song; of another task the result's role.
    :param position: position in KIE's answer, from 1.
    :param url: link from KIE's details.
    :param text: the lyrics themselves, or another result that KIE's answer holds.
    :param task_id: the KIE task that made the file: the cover task for covers, the music task otherwise.
    :param audio_id: KIE's id of the track.
    :param duration_seconds: length that KIE's details name.
    :param asked_seconds: length of a video that was requested.
    :param expires_at: when KIE deletes its copy, None where that is unknown.
    :param medium: what it is; None: what a song's file of this kind is.
    :param origin: see :class:`~airflow_kie.archive.manifest.FileRecord`.
    :raises ValueError: unless exactly one of url and text is given.
    """

    kind: str
    position: int
    url: str | None = field(default=None, repr=False)
    text: str | None = None
    task_id: str | None = None
    audio_id: str | None = None
    duration_seconds: float | None = None
    asked_seconds: float | None = None
    expires_at: datetime | None = None
    medium: Medium | None = None
    origin: str | None = None

    def __post_init__(self) -> None:
        if (self.url is None) == (self.text is None):
            raise ValueError(f"{self.kind} {self.position} needs either a URL or a text.")
        if self.medium is None:
            object.__setattr__(self, "medium", _SONG_MEDIA[self.kind])

    def is_what(self, record: FileRecord) -> bool:
        """Return whether an archived file came from here; links change, ids do not."""
        pairs = ((self.task_id, record.task_id), (self.audio_id, record.audio_id))
        if self.text is not None and record.sha256 != hashlib.sha256(text_file(self.text).getvalue()).hexdigest():
            return False
        return all(mine is None or theirs is None or mine == theirs for mine, theirs in pairs)


Download = Callable[..., "DownloadFacts"]
"""Fetches a URL into a file: :func:`airflow_kie.client.http.download.download` with its settings filled in."""
Refresh = Callable[[str], str]


@dataclass
class Fetcher:
    """Archives files of a folder; the parameters are those of :func:`airflow_kie.archive.archiver.archive_song`."""

    bucket: Bucket
    keys: SongKeys | TaskKeys
    download: Download
    refresh: Refresh | None
    max_file_bytes: int
    now: Callable[[], datetime]
    sleep: Callable[[float], None] | None = None
    level: int = logging.INFO

    def archive(self, source: Source) -> FileRecord:
        """Bring one file into the bucket.

        :raises KieError: see :func:`airflow_kie.archive.archiver.archive_song`.
        """
        if source.text is not None:
            body = text_file(source.text)
            facts = JSON_FACTS if source.medium is Medium.JSON else TEXT_FACTS
            digest = hashlib.sha256(body.getvalue()).hexdigest()
            return self._upload(source, body, facts, len(body.getvalue()), digest)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            wait=_PAUSES,
            retry=tenacity.retry_if_exception_type((FileDamaged, FileUnreachable)),
            before_sleep=lambda state: self._log_retry(source, state),
            sleep=self.sleep or time.sleep,
            reraise=True,
        )
        url = cast(str, source.url)
        for attempt in retrying:
            with attempt:
                last = attempt.retry_state.attempt_number == _ATTEMPTS
                try:
                    return self._fetched(source, url, last=last)
                except FileLinkDead as e:
                    url = self._fresh_link(source, url, e)
                    return self._fetched(source, url, last=last)
        raise AssertionError("The last attempt returns or raises.")

    def _fetched(self, source: Source, url: str, *, last: bool) -> FileRecord:
        """Download, check and upload a file.

        A track or a video that came whole and yet is too short is fetched again. If it stays so, it was cut where KIE
        keeps it, or KIE's length is wrong: it is all there is, so it is stored, with a warning. So is a file of which
        neither its transfer nor anything else says where it ends.
        """
        medium = cast(Medium, source.medium)
        cap = min(self.max_file_bytes, MAX_IMAGE_BYTES) if medium in _DECODED else self.max_file_bytes
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spooled:
            file = cast(BinaryIO, spooled)
            got = self.download(url, file, max_bytes=cap)
            lengths = {"expected_seconds": source.duration_seconds, "asked_seconds": source.asked_seconds}
            content = check(medium, file, url=url, **lengths)
            proven = got.length_proven
            if not (content.shortfall or proven or source.duration_seconds or _ends_by_itself(medium, content)):
                content, proven = replace(content, shortfall=_UNKNOWN_END), True  # as it will be the next time
            if content.shortfall and not (proven and last):
                raise FileTruncated(content.shortfall)
            return self._upload(source, file, content, got.size, got.sha256)

    def _upload(self, source: Source, file: BinaryIO, content: ContentFacts, size: int, digest: str) -> FileRecord:
        key = self.keys.file(source.kind, source.position, content.extension)
        self.bucket.put_file(file, key, size=size, content_type=content.content_type, sha256=digest)
        log.log(self.level, "%s: archived %s, %s bytes.", self.keys.name, self.bucket.url(key), f"{size:,}")
        return FileRecord(
            key=key,
            kind=str(source.kind),
            position=source.position,
            size=size,
            sha256=digest,
            content_type=content.content_type,
            width=content.width,
            height=content.height,
            duration_seconds=content.duration_seconds,
            task_id=source.task_id,
            audio_id=source.audio_id,
            expires_at=source.expires_at if source.url else None,
            origin=source.origin,
            archived_at=self.now(),
            warning=_warning(content),
        )

    def _fresh_link(self, source: Source, url: str, error: FileLinkDead) -> str:
        """Return a fresh link for a dead one, once for each file.

        :raises FileGone: when KIE has deleted the file by now.
        :raises FileLinkDead: when KIE gives no fresh link.
        """
        if source.expires_at is not None and self.now() >= source.expires_at:
            gone = f"{source.kind} {source.position} was kept until {utc_text(source.expires_at)}"
            raise FileGone(gone, code=error.facts.code) from error
        if self.refresh is None or url != source.url:
            raise error
        log.info(
            "%s: the link of %s %d no longer works (HTTP %s); asking KIE for a new one.",
            self.keys.name, source.kind, source.position, error.facts.code,
        )  # fmt: skip
        try:
            return self.refresh(url)
        except KieInvalidRequest as e:  # "url is wrong": KIE makes fresh links of its own files only
            raise error from e

    def _log_retry(self, source: Source, state: tenacity.RetryCallState) -> None:
        log.warning(
            "%s: %s %d could not be downloaded, attempt %d of %d, the next one in %.1f s: %s",
            self.keys.name, source.kind, source.position, state.attempt_number, _ATTEMPTS,
            state.upcoming_sleep, state.outcome and state.outcome.exception(),
        )  # fmt: skip


def _ends_by_itself(medium: Medium, content: ContentFacts) -> bool:
    """Return whether a file that was checked says itself where it ends; one of any medium is not checked."""
    return content.extension in _WITH_AN_END and (medium is not Medium.ANY or content.extension == "mp4")


def _warning(content: ContentFacts) -> str | None:
    if content.shortfall is None:
        return None
    if content.shortfall == _UNKNOWN_END:
        return f"{_UNKNOWN_END}, so it may be truncated. Check it before KIE deletes its copy."
    return (
        f"{content.shortfall}, although it was downloaded completely, twice. It may be truncated at KIE: play its "
        "end, and ask KIE's support before KIE deletes its copy."
    )
