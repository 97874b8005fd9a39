"""Archive what any task has made: every result is downloaded, checked, uploaded; the manifest comes last."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from airflow_kie import __version__
from airflow_kie.archive.archiver import available, is_stored, kept_and_missing
from airflow_kie.archive.file_transfer import Download, Fetcher, Refresh, Source
from airflow_kie.archive.layout import TaskKeys
from airflow_kie.archive.manifest import AirflowRecord, CreditsRecord, FileRecord, GeneratorRecord, TaskManifest
from airflow_kie.archive.record_base import label_list, utc_text
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.client.answers.details import ANSWER, TaskDetails
from airflow_kie.client.errors import KieError, KieNoFiles
from airflow_kie.client.operations.operation import Medium

Stored = TypeVar("Stored", bound=TaskManifest)
log = logging.getLogger(__name__)
_SECONDS = re.compile(r"(\d{1,4}(?:\.\d+)?)s?")


def is_archived(bucket: Bucket, manifest: TaskManifest | None, roles: Collection[str] | None) -> bool:
    """Return whether everything that is requested is in the bucket, without asking KIE.

    :param manifest: the task's manifest; it says what KIE has.
    :param roles: the roles that are requested; None: all.
    """
    if manifest is None:
        return False
    at_kie = {known.kind: known.positions for known in manifest.available}
    asked = at_kie if roles is None or ANSWER in at_kie else roles
    named = all(manifest.file(role, n) for role in asked for n in at_kie.get(role) or (0,))
    return bool(at_kie) and named and all(is_stored(bucket, file) for file in manifest.files if file.kind in asked)


def archive_task(
    bucket: Bucket,
    keys: TaskKeys,
    details: TaskDetails,
    airflow: AirflowRecord,
    *,
    download: Download,
    roles: Collection[str] | None = None,
    labels: dict[str, str] | None = None,
    kie_conn_id: str | None = None,
    account: str | None = None,
    refresh: Refresh | None = None,
    max_file_bytes: int = 512 * 1024 * 1024,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] | None = None,
) -> tuple[TaskManifest, tuple[FileRecord, ...]]:
    """Bring every result that is requested into the bucket, unless it is there whole, then write the manifest.

    :param bucket: where.
    :param keys: the task's keys.
    :param details: of the task, which has ended.
    :param airflow: the Airflow task that archives it.
    :param roles: the roles that are requested; None: all that KIE names.
    :param labels: user-defined labels for it.
    :param kie_conn_id: the connection whose account made it.
    :param account: that account's name.
    :return: the manifest, and the files that were archived now.
    :raises KieNoFiles: when KIE names no result of a role that is requested; what it names is archived.
    :raises KieError: as :func:`~airflow_kie.archive.archiver.archive_song`, which explains the other parameters.
    """
    named = {result.role for result in details.results}
    lacking = [] if roles is None or ANSWER in named else [role for role in roles if role not in named]
    asked = named if roles is None or ANSWER in named else named & set(roles)
    sources = [source for source in sources_of(details) if source.kind in asked]
    news = _described(details, labels, airflow, now()).changed(kie_conn_id=kie_conn_id, account=account)
    fetcher = Fetcher(bucket, keys, download, refresh, max_file_bytes, now, sleep)
    try:
        if lacking and not sources:  # a manifest without files would say that the task is archived
            raise KieNoFiles(f"KIE names no {' and no '.join(lacking)} of this task; nothing was archived")
        manifest, added = store_files(fetcher, TaskManifest, sources, news)
        if lacking:
            raise KieNoFiles(f"KIE names no {' and no '.join(lacking)} of this task; everything else is archived")
    except KieError as e:
        raise e.with_facts(task_id=keys.task_id, paid=paid_for(details)) from e
    log.info("%s: archived %d files; it now has %d files.", keys.name, len(added), len(manifest.files))
    return manifest, added


def paid_for(details: TaskDetails) -> str:
    """Return what is safe of a task for how long, as a sentence for the errors."""
    until = f" until {utc_text(details.expires_at)}" if details.expires_at else ""
    return f"The task is paid for, and KIE keeps its files{until}"


def store_files(
    fetcher: Fetcher, record: type[Stored], sources: Sequence[Source], news: Stored
) -> tuple[Stored, tuple[FileRecord, ...]]:
    """Bring those files into the bucket that are not there whole, then write the manifest, merged with what is there.

    :param fetcher: of the folder.
    :param record: the manifest's type.
    :param sources: the files that are requested.
    :param news: the manifest without files.
    :return: the manifest as it is in the bucket now, and the files that were archived now.
    """
    bucket, keys = fetcher.bucket, fetcher.keys
    old = record.read(bucket, keys)[0]
    kept, missing = kept_and_missing(bucket, old, sources)
    replaced = [file for file in old.files if file not in kept] if old else []
    if replaced:  # a manifest never names what it does not describe
        log.warning("%s: these files differ from the manifest: %s.", keys.name, [f.key for f in replaced])
        record.update(bucket, keys, lambda stored: (stored or news).without(replaced))
    added = tuple(fetcher.archive(source) for source in missing)
    whole = news.changed(files=added, updated_at=fetcher.now())
    manifest = record.update(bucket, keys, lambda stored: (stored or whole).merged_with(whole), is_new=old is None)
    for key in {file.key for file in replaced} - {file.key for file in manifest.files}:
        bucket.delete(key)
    return manifest, added


def sources_of(details: TaskDetails) -> Sequence[Source]:
    """Return every result of a task as a file to be archived."""
    return [
        Source(
            result.role,
            result.position,
            url=result.url,
            text=None if result.url else _text(result.value),
            task_id=details.task_id,
            expires_at=details.expires_at,
            medium=result.medium,
            asked_seconds=_asked_seconds(details) if result.medium in (Medium.VIDEO, Medium.ANY) else None,
        )
        for result in details.results
    ]


def _asked_seconds(details: TaskDetails) -> float | None:
    """Return how long a video was asked for (``5``, ``"5"``, ``"5s"``), as far as KIE's details repeat the request."""
    for request in (details.param.get("input"), details.param, details.raw.get("generateParam")):
        asked = request.get("duration") if isinstance(request, Mapping) else None
        if found := _SECONDS.fullmatch(str(asked)):
            return float(found[1]) or None
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def _described(
    details: TaskDetails, labels: dict[str, str] | None, airflow: AirflowRecord, now: datetime
) -> TaskManifest:
    """Return the manifest of a task without its files."""
    kinds = dict.fromkeys(result.role for result in details.results)
    cost = CreditsRecord(task_id=details.task_id, kind=details.kind, credits=details.credits_consumed)
    model = details.param.get("model")
    return TaskManifest(
        operation=details.kind,
        task_id=details.task_id,
        available=available(kinds, sources_of(details)),
        labels=label_list(dict(labels or {})),
        airflow=airflow,
        generator=GeneratorRecord(model=model if isinstance(model, str) else None, archived_by_version=__version__),
        created_at=now,
        updated_at=now,
        credits_used=(cost,),
    )
