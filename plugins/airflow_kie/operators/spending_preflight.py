"""What a run would make, checked before its first create: its cap, and the accounts' balances."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from airflow_kie.archive.inbox.song_request import SongRequest, counted
from airflow_kie.client.answers.decode import Read, Unreadable
from airflow_kie.client.catalogue.prices import quote
from airflow_kie.client.errors import KieOutOfCredits, Scope, naming
from airflow_kie.client.operations.operation import State
from airflow_kie.client.operations.suno import COVER
from airflow_kie.durable.requests import ledger_of
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.claims import RequestId
from airflow_kie.lifecycle.identity import request_digest

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.layout import ArchiveKeys
    from airflow_kie.archive.manifest import Manifest
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.archive.song_folder import SongArchive

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownSong:
    """What bucket and KIE know of a song before its run begins.

    :param request: what is requested.
    :param archive: the song's place in the bucket.
    :param manifest: its manifest; None: nothing of it is archived.
    :param adopted: a cover task that the request names, and that KIE says is this song's.
    """

    request: SongRequest
    archive: SongArchive
    manifest: Manifest | None
    adopted: str | None = None

    @property
    def is_archived(self) -> bool:
        """Return whether the bucket has everything that was requested."""
        from airflow_kie.archive.manifest import Wanted

        wanted = Wanted(audio=self.request.archive_audio, lyrics=self.request.archive_lyrics)
        return not wanted.missing_in(self.manifest)

    @property
    def needs_cover(self) -> bool:
        """Say whether a cover is to be made: none is archived, and none was named."""
        return not (self.is_archived or self.adopted or (self.manifest and self.manifest.cover_task_ids))


def known_song(bucket: Bucket, keys: ArchiveKeys, request: SongRequest) -> KnownSong:
    """Read what is known of a song; KIE is asked, which is free, only about a cover task that the request names.

    :raises KieError: when the bucket, or KIE, cannot be asked now.
    """
    from airflow_kie.archive.song_folder import SongArchive

    archive = SongArchive(bucket, keys.song(request.music_task_id))
    song = KnownSong(request, archive, archive.manifest())
    if not (request.cover_task_id and song.needs_cover):
        return song
    with of_account(request.kie_conn_id):
        return replace(song, adopted=_checked_cover(request))


def _checked_cover(request: SongRequest) -> str | None:
    """Return the cover task that a request names, if KIE says that it is this song's and has not failed.

    An id that KIE does not know is not used: it can be younger than a minute, or of another account.
    """
    answer = KieHook(request.kie_conn_id).details(COVER.name, str(request.cover_task_id))
    if isinstance(answer, Unreadable) and answer.error.scope is not Scope.TASK:
        raise answer.error
    named = (request.cover_task_id, request.music_task_id)
    if not isinstance(answer, Read):
        log.warning("Cover task %s, given for song %s, is unknown to KIE and is not used.", *named)
    elif answer.details.parent_id not in (None, request.music_task_id):
        log.warning("Cover task %s, given for song %s, belongs to another song and is not used.", *named)
    elif answer.details.state is not State.FAILED:
        return request.cover_task_id
    return None


def adopt_cover(context: Context, kie_conn_id: str, music_task_id: str, cover_task_id: str) -> None:
    """Record in the account's ledger that a song's cover task exists: no run makes another one.

    :param context: the task's.
    :param kie_conn_id: the account.
    :param music_task_id: the song.
    :param cover_task_id: its cover task.
    """
    hook = KieHook(kie_conn_id)
    digest = request_digest(COVER, {"taskId": music_task_id}, {})
    ledger_of(context, hook).adopt(RequestId(hook.account.spending_name, COVER.name, digest), cover_task_id)


def record_song(context: Context, song: KnownSong) -> dict[str, Any] | Literal[True]:
    """Write a song's pending record; where nothing is missing in the bucket, return what is there instead.

    :param context: of the task that lists the songs.
    :param song: what is known of it.
    """
    from airflow_kie.archive.pending import Working
    from airflow_kie.durable.xcom import result_of

    archive, ti = song.archive, context["ti"]
    if song.manifest and song.is_archived:
        archive.settle_pending(song.manifest)
        log.info("Song %s already has all requested files.", song.request.music_task_id)
        return result_of(archive.bucket.name, archive.keys.manifest, song.manifest, changed=False)
    pending = archive.update_pending(
        **song.request.facts(),
        working=Working(dag_id=ti.dag_id, run_id=ti.run_id),
    )
    archive.take(pending)
    if song.adopted:
        adopt_cover(context, song.request.kie_conn_id, song.request.music_task_id, song.adopted)
    log.info("Song %s is recorded as pending; it came from: %s.", song.request.music_task_id, pending.received_from)
    return True


def cover_price() -> float:
    """Return what a cover costs in credits, by KIE's price list."""
    return quote(COVER, {}).high or 0.0


def over_cap(cap: float | str | None, songs: Iterable[KnownSong]) -> str:
    """Return in a sentence that a run would spend more credits than it may; empty if it would not.

    :param cap: how many it may spend; None or empty: any number.
    :param songs: the songs of the run.
    """
    most = str(cap if cap is not None else "").strip()
    try:
        allowed = float(most or math.inf)
    except ValueError:
        allowed = math.nan
    if math.isnan(allowed):
        return f"The run's cap max_credits is {most!r:.60}, which is not a number of credits."
    covers = sum(song.needs_cover for song in songs)
    cost = covers * cover_price()
    if cost <= allowed:
        return ""
    return f"The run would make {counted(covers, 'cover')} for {cost:g} credits, but its cap max_credits is {most}."


def check_balances(songs: Iterable[KnownSong]) -> None:
    """Check that each account can pay for its covers.

    :param songs: the songs of the run.
    :raises KieOutOfCredits: when a balance is empty, or less than what the covers cost.
    """
    price = cover_price()
    for kie_conn_id, covers in Counter(song.request.kie_conn_id for song in songs if song.needs_cover).items():
        with of_account(kie_conn_id):
            balance = KieHook(kie_conn_id).credits()
        if balance <= 0 or balance < covers * price:
            needed = f"{counted(covers, 'cover')} need about {covers * price:g}" if price else "covers cost credits"
            message = f"connection {kie_conn_id} has {balance:g} credits left, {needed}"
            raise KieOutOfCredits(message, connection=kie_conn_id)


def of_account(kie_conn_id: str) -> AbstractContextManager[None]:
    """Name the account that a failure is about: the other accounts of the run are not affected."""
    return naming(connection=kie_conn_id)
