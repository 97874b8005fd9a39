"""The ledger of paid requests of this Airflow: in S3, else in the limiter's store, else in the task's own state.

An account has one ledger, wherever its results are archived to: `[kie] ledger`, by default below the archive.
"""

from __future__ import annotations

import functools
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_kie import settings
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.client.answers.inline import kept_under
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations.registry import OPERATIONS, task_kind
from airflow_kie.hooks.once_a_day import HONOURED, IGNORED, conditional_writes, once_a_day
from airflow_kie.lifecycle.claims import RequestId
from airflow_kie.lifecycle.kept_answers import KeptAnswers
from airflow_kie.lifecycle.ledger import Ledger, LedgerStore

if TYPE_CHECKING:
    from airflow_kie.archive.ledger_store import BucketLedgerStore
    from airflow_kie.hooks.connected import Connected

log = logging.getLogger(__name__)

_REQUEST = re.compile(r"([a-z0-9_.]+)/([0-9a-f]{32}(?:-[0-9]+)?)")


@dataclass(frozen=True)
class OpenedLedger:
    """A ledger and what it covers.

    :param ledger: ready for use.
    :param where: its address, or where else it is kept.
    :param not_covered: what can still be paid for twice; empty: nothing.
    :param in_task_states: tasks record what they pay for in their own states: neither S3 nor a shared database can
        keep it.
    """

    ledger: Ledger
    where: str
    not_covered: str = ""
    in_task_states: bool = False


class RequestNameInvalid(ValueError):
    """A text that names no request."""


def request_named(text: str, hook: Connected) -> RequestId:
    """Return the request of an account that a person names.

    :param text: ``<operation>/<digest>``, as lists of requests in doubt name it.
    :param hook: the account.
    :raises RequestNameInvalid: when it is not such a name.
    """
    found = _REQUEST.fullmatch(text)
    if not found:
        example = "suno.music/0123456789abcdef0123456789abcdef"
        raise RequestNameInvalid(f"{text[:80]!r} is not a request, such as {example}.")
    operation = found[1] if found[1] in OPERATIONS else task_kind(found[1]).name  # or the error that names all
    return RequestId(hook.account.spending_name, operation, found[2])


def ledger_address() -> tuple[str, str]:
    """Return bucket and prefix of the ledger; an empty bucket where none is configured.

    :raises KieInvalidRequest: when `[kie] ledger` is not an ``s3://`` address.
    """
    address = settings.text("ledger")
    if not address:
        return settings.text("bucket"), ArchiveKeys(settings.text("prefix", "songs")).paid_requests
    try:
        parts = urlsplit(address)
    except ValueError:  # brackets that hold no address
        parts = urlsplit("")
    if parts.scheme != "s3" or not parts.netloc:
        raise KieInvalidRequest("[kie] ledger is not an address such as s3://bucket/prefix; nothing was sent to KIE")
    path = parts.path.strip("/")
    return parts.netloc, f"{path}/" if path else ""


def open_ledger(hook: Connected, otherwise: LedgerStore | None = None) -> OpenedLedger:
    """Return the ledger of an account.

    :param hook: the account.
    :param otherwise: the store that is used where neither S3 nor a shared database can; None: this machine's own.
    :raises S3Error: when the bucket cannot be reached: nothing is sent then.
    :raises KieLimiterUnavailable: when the database cannot be used.
    """
    database, shared = hook.ledger_database()
    bucket, prefix = ledger_address()
    in_bucket = _bucket_store(bucket, prefix) if bucket else None

    def opened(store: LedgerStore, where: str, not_covered: str = "", *, own: bool = False) -> OpenedLedger:
        answers = (in_bucket, database) if in_bucket else (database,)  # any task reads them: never one's own state
        ledger = Ledger(store, settle_seconds=settings.rules().agree_after, answers=answers)
        return OpenedLedger(ledger, where, not_covered, own)

    if in_bucket:
        if _honours_conditions(in_bucket, hook):
            return opened(in_bucket, f"s3://{bucket}/{prefix}")
        why = f"the S3 service of bucket {bucket} does not honour conditional writes"
    else:
        why = "[kie] bucket and [kie] ledger are not set"
    if shared:
        where = database.store.shown
        return opened(database, where, f"requests of Airflows that use another database: {why}" if bucket else "")
    if otherwise is None:
        return opened(database, database.store.shown, f"requests of other machines: {why}")
    covered = "requests of other runs, and of this one once its task state is emptied"
    not_covered = f"{covered}: {why}, and the limiter's store is a local file"
    return opened(otherwise, "the task state store", not_covered, own=True)


def ledger_of_code(hook: Connected) -> Ledger:
    """Return the ledger of an account for your own code; what it does not cover is a warning.

    :param hook: the account.
    :raises KieError: as :func:`open_ledger`.
    """
    opened = open_ledger(hook)
    if opened.not_covered:
        _warn_not_covered(hook.kie_conn_id, opened.where, opened.not_covered)
    return opened.ledger


@functools.cache
def _warn_not_covered(conn_id: str, where: str, not_covered: str) -> None:
    """Log once in a process what can still be paid for twice."""
    log.warning("Paid requests of connection %s are recorded in %s. Not covered: %s.", conn_id, where, not_covered)


def ledger_stores(hook: Connected) -> Mapping[str, LedgerStore]:
    """Return the places where an account's ledger can be, by kind, for reading and for callbacks; nothing is asked."""
    database, _ = hook.ledger_database()
    bucket, prefix = ledger_address()
    return {database.kind: database} | ({"s3": _bucket_store(bucket, prefix)} if bucket else {})


def kept_answers(hook: Connected) -> Callable[[str, str], bytes | None]:
    """Return what finds the answers of KIE that were results themselves, by their operation and id."""
    stores = functools.cache(lambda: tuple(ledger_stores(hook).values())[::-1])

    def read(operation: str, task_id: str) -> bytes | None:
        digest, number = kept_under(task_id) or ("", 0)
        return KeptAnswers(stores()).read(RequestId(hook.account.spending_name, operation, digest), number)

    return read


def _bucket_store(bucket: str, prefix: str) -> BucketLedgerStore:
    from airflow_kie.archive.ledger_store import BucketLedgerStore
    from airflow_kie.hooks.archive import open_bucket

    return BucketLedgerStore(open_bucket(settings.text("aws_conn_id", "aws_default"), bucket), prefix)


def _honours_conditions(store: BucketLedgerStore, hook: Connected) -> bool:
    """Return whether two writers cannot both create one object in a bucket; asked once a day."""

    def ask() -> str:
        probe = f"_probe/{secrets.token_hex(8)}"  # of its own: another process may ask in the same moment
        return HONOURED if store.honours_conditions(probe) else IGNORED

    return once_a_day(hook, conditional_writes(store.bucket), ask) == HONOURED
