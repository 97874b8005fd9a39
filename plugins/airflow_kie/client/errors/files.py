"""Errors of a result file."""

from __future__ import annotations

from airflow_kie.client.errors.base import KieError, Remedy, Scope


class DownloadRefused(KieError, reason="download_refused"):
    """The file's address is not allowed: not https, not public, or too many redirects."""

    what = "A file's address is not allowed"
    todo = (
        "Report the host: KIE's files come from public https addresses. "
        "For a simulator on this machine, set allow_loopback_files in the [kie] configuration."
    )


class FileUnreachable(KieError, reason="file_unreachable", scope=Scope.SERVICE, remedy=Remedy.READ_AGAIN):
    """The file's host did not answer, or answered with an error."""

    what = "A file could not be downloaded"
    todo = "Nothing, unless it persists: KIE keeps files for 14 days."


class FileDamaged(KieError, reason="file_damaged", remedy=Remedy.READ_AGAIN):
    """The file arrived truncated or empty, or its content is wrong."""

    what = "A file arrived damaged and was not archived"
    todo = "Open the file at kie.ai/logs: if it is damaged there too, ask support@kie.ai."


class FileTooLarge(KieError, reason="file_too_large"):
    """The file is larger than the limit."""

    what = "A file is larger than allowed and was not archived"
    todo = "If this size is right, raise max_file_mb in the [kie] configuration (max_file_bytes of the operator)."


class FileGone(KieError, reason="file_gone"):
    """KIE has deleted the file: it keeps media for 14 days."""

    what = "KIE no longer has this file (it keeps files for 14 days)"
    todo = "Generate the song again if you need it; archived files are not affected."
    by_when = "It is too late to save it: the 14 days are over."


class KieResultsExpired(KieError, reason="results_expired"):
    """A result that is made once per account (a song's cover, its WAV) was made before, and KIE has deleted it."""

    what = "This was made and paid for before, and its files have expired at KIE"
    todo = "Check the archive. If the files are not there, set force_new to any new text to pay for another one."
    by_when = "It is too late to save it: the 14 days are over."


class NotArchived(KieError, reason="not_archived"):
    """The file was not archived, or differs from its manifest."""

    what = "A file of the release is not in the archive"
    todo = "Archive the song with its audio (DAG music_cover, or airflow kie redrive), then deliver it again."


class FileEmpty(FileDamaged, reason="file_empty"):
    """The file arrived with 0 bytes (musicfile.kie.ai answered so with HTTP 200)."""

    what = "A file arrived with 0 bytes and was not archived"


class FileTruncated(FileDamaged, reason="file_truncated"):
    """The file ends before its announced length, or before its own structure does."""

    what = "A file arrived incomplete and was not archived"


class FileWrongType(FileDamaged, reason="file_wrong_type"):
    """The content is not of the expected type: a web page, JSON, SVG, or audio instead of an image."""

    what = "A file has the wrong type and was not archived"


class FileLinkDead(KieError, reason="file_link_dead", remedy=Remedy.READ_AGAIN):
    """The file's link answered 403, 404 or 410; a fresh link may still work."""

    what = "A file's link no longer works"
    todo = "Check kie.ai/logs: if the file opens there, clear the task."
