"""Errors of a result file."""

from __future__ import annotations

from airflow_kie.client.errors.base import KieError, Remedy, Scope


class DownloadRefused(KieError, reason="download_refused"):
    """The address of a file is not one that we fetch from: not https, not public, too many redirects."""

    what = "A file's address was refused"
    todo = (
        "Report the host: KIE's files come from public https addresses. "
        "Only a simulator's do not; for one on this machine there is allow_loopback_files in the [kie] configuration."
    )


class FileUnreachable(KieError, reason="file_unreachable", scope=Scope.SERVICE, remedy=Remedy.READ_AGAIN):
    """The file's host gave no or a failing answer."""

    what = "A file could not be downloaded"
    todo = "Nothing, unless it goes on: KIE keeps files for 14 days."


class FileDamaged(KieError, reason="file_damaged", remedy=Remedy.READ_AGAIN):
    """The file came truncated, empty, or is not what it should be."""

    what = "A file came damaged and was not archived"
    todo = "Open the file at kie.ai/logs: if it is damaged there too, ask support@kie.ai."


class FileTooLarge(KieError, reason="file_too_large"):
    """The file is larger than the cap."""

    what = "A file is larger than allowed and was not archived"
    todo = "If this size is right, raise max_file_mb in the [kie] configuration (max_file_bytes of the operator)."


class FileGone(KieError, reason="file_gone"):
    """KIE has deleted the file: media live 14 days."""

    what = "KIE no longer has this file (files live 14 days)"
    todo = "Generate the song again if it is needed; what was archived before is untouched."
    by_when = "It is too late to save it: the 14 days are over."


class KieResultsExpired(KieError, reason="results_expired"):
    """What is made once for the account (a song's cover, its WAV) was made before, and KIE has deleted it since."""

    what = "This was made and paid for before, and its files have expired at KIE"
    todo = "Check the archive; where they are needed and not there, force_new with any new text buys another one."
    by_when = "It is too late to save it: the 14 days are over."


class NotArchived(KieError, reason="not_archived"):
    """It was not archived, or is not what its manifest says."""

    what = "A file of the release is not in the archive"
    todo = "Archive the song with its audio (DAG music_cover, or airflow kie redrive), then deliver it again."


class FileEmpty(FileDamaged, reason="file_empty"):
    """The file came with 0 bytes (musicfile.kie.ai answered so with HTTP 200)."""

    what = "A file came with 0 bytes and was not archived"


class FileTruncated(FileDamaged, reason="file_truncated"):
    """The file ends before its announced length, or before its own structure does."""

    what = "A file came incomplete and was not archived"


class FileWrongType(FileDamaged, reason="file_wrong_type"):
    """The content is something else than its place asks for: a web page, JSON, SVG, audio where an image belongs."""

    what = "A file is not of the kind that belongs here and was not archived"


class FileLinkDead(KieError, reason="file_link_dead", remedy=Remedy.READ_AGAIN):
    """The file's link answered 403, 404 or 410; a fresh link may still work."""

    what = "A file's link no longer works"
    todo = "Check kie.ai/logs: if the file opens there, clear the task."
