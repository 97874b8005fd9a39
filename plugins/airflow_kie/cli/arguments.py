"""What a person names on the command line: an archive, a date."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from airflow_kie import settings
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.cli.terminal import InvalidArgument, complain
from airflow_kie.hooks.archive import open_bucket
from airflow_kie.hooks.kie import KieHook
from airflow_kie.monitoring.checks.findings import error_text


def open_archive(url: str | None = None) -> tuple[Bucket, ArchiveKeys]:
    """Return bucket and prefix of an archive.

    :param url: ``s3://<bucket>/<prefix>``; without a prefix, the archive is the bucket's root. None: that of ``[kie]``.
    :raises InvalidArgument: when it is not such a name, or none is given and ``[kie]`` has no bucket.
    """
    bucket, prefix = settings.text("bucket"), settings.text("prefix", "songs")
    if url:
        scheme, _, place = url.partition("://")
        bucket, _, prefix = place.partition("/")  # no urlsplit: a prefix may hold # and ?
        if scheme.lower() != "s3" or not bucket:
            raise InvalidArgument(f"{url!r} is not an archive's address, such as s3://my-covers/songs.")
    if not bucket:
        raise InvalidArgument("No bucket is set in [kie], and no archive was given, such as s3://my-covers/songs.")
    keys = ArchiveKeys(prefix)
    return open_bucket(settings.text("aws_conn_id", "aws_default"), bucket), keys


def with_each_account(kie_conn_id: str | None, act: Callable[[KieHook], None]) -> int:
    """Do something with a connection of each account: several may be of one. One that fails stops no other.

    :param kie_conn_id: this one alone; None: all that `[kie] kie_conn_ids` allows.
    :return: 0; 1 where one of several has failed, with a sentence.
    """
    names, known, ended = [kie_conn_id] if kie_conn_id else settings.allowed_connections(), set(), 0
    for name in names:
        try:
            hook = KieHook(name)
            if hook.account.spending_name not in known:
                act(hook)
                known.add(hook.account.spending_name)
        except Exception as error:
            if len(names) == 1:
                raise
            complain(f"Connection {name}: {error_text(error)}")
            ended = 1
    return ended


def moment_of(text: str | None) -> datetime | None:
    """Return a date or time that a person wrote; without a zone it is UTC.

    :raises InvalidArgument: when it is neither.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(f"{text!r} is not a date, such as 2026-11-01 or 2026-11-01T12:30.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
