"""What a run would cost, weighed before its first create: against the cap that it was given, and the balances."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_kie import settings
from airflow_kie.archive.inbox.song_request import SongOrder, counted
from airflow_kie.client.errors import KieError, KieOutOfCredits
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.offered_covers import check_offered

if TYPE_CHECKING:
    from airflow_kie.archive.s3.bucket import Bucket

PARALLEL = 8
"""Requests to S3 at a time, while the songs of a run are read or noted."""


def over_cap(cap: int | str | None, bucket: Bucket, prefix: str, orders: Sequence[SongOrder]) -> str:
    """Return in a sentence that a run would pay for more covers than it may; empty if it would not.

    :param cap: how many it may pay for; None or empty: any number.
    :param bucket: the archive's bucket, which knows what is paid for.
    :param prefix: the archive's prefix.
    :param orders: the songs of the run.
    """
    most = str(cap if cap is not None else "").strip()
    if not most:
        return ""
    with ThreadPoolExecutor(PARALLEL) as pool:
        unpaid = sum(pool.map(functools.partial(_is_unpaid, bucket, prefix), orders))
    if unpaid <= int(most):
        return ""
    return f"The run would pay for {counted(unpaid, 'cover')}, and its cap max_covers is {most}."


def check_balances(unpaid: Iterable[SongOrder]) -> None:
    """Look whether each account can pay for its covers.

    :param unpaid: the songs whose covers are to be made.
    :raises KieOutOfCredits: when a balance is empty, or less than `[kie] credits_per_cover` for each cover.
    """
    price = settings.number("credits_per_cover", 0.0)
    for kie_conn_id, covers in Counter(order.kie_conn_id for order in unpaid).items():
        with of_account(kie_conn_id):
            balance = KieHook(kie_conn_id).credits()
        if balance <= 0 or balance < covers * price:
            needed = f"{counted(covers, 'cover')} need about {covers * price:g}" if price else "covers cost credits"
            said = f"connection {kie_conn_id} has {balance:g} credits left, {needed}"
            raise KieOutOfCredits(said, connection=kie_conn_id)


@contextmanager
def of_account(kie_conn_id: str) -> Iterator[None]:
    """Say of a failure whose account it is about: the other accounts of the run are not touched."""
    try:
        yield
    except KieError as error:
        raise error.with_facts(connection=kie_conn_id) from error


def _is_unpaid(bucket: Bucket, prefix: str, order: SongOrder) -> bool:
    """Return whether no cover of a song is known yet."""
    from airflow_kie.archive.layout import ArchiveKeys
    from airflow_kie.archive.song_folder import SongArchive

    archive = SongArchive(bucket, ArchiveKeys(prefix).song(order.music_task_id))
    if archive.manifest():
        return False
    pending = archive.pending()
    if pending and pending.cover_task_ids:
        return False
    if not order.cover_task_id:
        return True
    with of_account(order.kie_conn_id):
        return check_offered(order.kie_conn_id, order.music_task_id, (order.cover_task_id,)).cover_task_id is None
