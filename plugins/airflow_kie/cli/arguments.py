"""What a person names on the command line: an archive, a moment."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_kie import settings
from airflow_kie.archive.layout import ArchiveKeys


def configured_archive() -> str:
    """Return the archive of ``[kie]`` by its name; empty if no bucket is set there."""
    bucket = settings.text("bucket")
    return f"s3://{bucket}/{settings.text('prefix', 'songs')}" if bucket else ""


def archive_of(url: str) -> tuple[str, ArchiveKeys]:
    """Return bucket and prefix of an archive.

    :param url: ``s3://<bucket>/<prefix>``; without a prefix, the archive is the bucket's root.
    :raises ValueError: when it is no such name, or the prefix cannot be one.
    """
    if not url:
        raise ValueError("No bucket is set in [kie]: name the archive, such as s3://my-covers/songs.")
    scheme, _, place = url.partition("://")
    bucket, _, prefix = place.partition("/")  # no urlsplit: a prefix may hold # and ?
    if scheme.lower() != "s3" or not bucket:
        raise ValueError(f"{url!r} is not the name of an archive, such as s3://my-covers/songs.")
    return bucket, ArchiveKeys(prefix)


def moment_of(text: str | None) -> datetime | None:
    """Return a date or time that a person wrote; without a zone it is UTC.

    :raises ValueError: when it is none.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date, such as 2026-11-01 or 2026-11-01T12:30.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
