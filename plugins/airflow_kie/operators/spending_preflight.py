"""What a run would cost, checked before its first create: what is paid already, its cap, and the balances."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_kie import settings
from airflow_kie.archive.inbox.song_request import SongRequest, counted
from airflow_kie.client.answers.decode import Read, Unreadable
from airflow_kie.client.errors import KieError, KieOutOfCredits, Scope
from airflow_kie.client.operations.operation import State
from airflow_kie.client.operations.suno import COVER
from airflow_kie.hooks.kie import KieHook

if TYPE_CHECKING:
    from airflow_kie.archive.layout import ArchiveKeys
    from airflow_kie.archive.manifest import Manifest
    from airflow_kie.archive.pending import Pending
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.archive.song_folder import SongArchive

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownSong:
    """What bucket and KIE know of a song before its run begins.

    :param request: what is asked for.
    :param archive: the song's place in the bucket.
    :param manifest: its manifest; None: nothing of it is archived.
    :param pending: its pending record, if there is one.
    :param adopted: a cover task that somebody has named, and that KIE says is this song's.
    :param refused: those of them that are another song's.
    """

    request: SongRequest
    archive: SongArchive
    manifest: Manifest | None
    pending: Pending | None
    adopted: str | None = None
    refused: tuple[str, ...] = ()

    @property
    def is_archived(self) -> bool:
        """Say whether nothing that is asked for is missing in the bucket."""
        from airflow_kie.archive.manifest import Wanted

        wanted = Wanted(audio=self.request.archive_audio, lyrics=self.request.archive_lyrics)
        return not wanted.missing_in(self.manifest)

    @property
    def is_unpaid(self) -> bool:
        """Say whether its cover has still to be paid for: no cover task of it is known."""
        known = [record.cover_task_ids for record in (self.manifest, self.pending) if record]
        return not (self.is_archived or self.adopted or any(known))


def known_song(bucket: Bucket, keys: ArchiveKeys, request: SongRequest) -> KnownSong:
    """Read what is known of a song; KIE is asked, which is free, only about cover tasks that others have named.

    :raises KieError: when the bucket, or KIE, cannot be asked now.
    """
    from airflow_kie.archive.song_folder import SongArchive

    archive = SongArchive(bucket, keys.song(request.music_task_id))
    song = KnownSong(request, archive, archive.manifest(), pending := archive.pending())
    recorded = pending.offered_cover_task_ids if pending else ()
    ruled_out = pending.refused_cover_task_ids if pending else ()
    offers = [one for one in dict.fromkeys((*recorded, request.cover_task_id)) if one and one not in ruled_out]
    if not (offers and song.is_unpaid):
        return song
    with of_account(request.kie_conn_id):
        adopted, refused = _check_offers(request, offers)
    return replace(song, adopted=adopted, refused=refused)


def _check_offers(request: SongRequest, offers: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Return the newest cover task that is this song's and has not failed, and those that are another song's.

    An id that KIE does not know is neither used nor refused: it can be younger than a minute, or of another account.
    """
    refused: list[str] = []
    for task_id in reversed(offers):
        answer = KieHook(request.kie_conn_id).details(COVER.name, task_id)
        if isinstance(answer, Unreadable) and answer.error.scope is not Scope.TASK:
            raise answer.error
        named = (task_id, request.music_task_id)
        if not isinstance(answer, Read):
            log.warning("Cover task %s, named for song %s, is not known to KIE and is not used.", *named)
        elif answer.details.parent_id not in (None, request.music_task_id):
            log.warning("Cover task %s, named for song %s, belongs to another song.", *named)
            refused.append(task_id)
        elif answer.details.state is not State.FAILED:
            return task_id, tuple(refused)
    return None, tuple(refused)


def over_cap(cap: int | str | None, songs: Iterable[KnownSong]) -> str:
    """Return in a sentence that a run would pay for more covers than it may; empty if it would not.

    :param cap: how many it may pay for; None or empty: any number.
    :param songs: the songs of the run.
    """
    most = str(cap if cap is not None else "").strip()
    unpaid = sum(song.is_unpaid for song in songs)
    if not most or unpaid <= int(most):
        return ""
    return f"The run would pay for {counted(unpaid, 'cover')}, and its cap max_covers is {most}."


def check_balances(songs: Iterable[KnownSong]) -> None:
    """Check that each account can pay for its covers.

    :param songs: the songs of the run.
    :raises KieOutOfCredits: when a balance is empty, or less than `[kie] credits_per_cover` for each cover.
    """
    price = settings.number("credits_per_cover", 0.0)
    for kie_conn_id, covers in Counter(song.request.kie_conn_id for song in songs if song.is_unpaid).items():
        with of_account(kie_conn_id):
            balance = KieHook(kie_conn_id).credits()
        if balance <= 0 or balance < covers * price:
            needed = f"{counted(covers, 'cover')} need about {covers * price:g}" if price else "covers cost credits"
            message = f"connection {kie_conn_id} has {balance:g} credits left, {needed}"
            raise KieOutOfCredits(message, connection=kie_conn_id)


@contextmanager
def of_account(kie_conn_id: str) -> Iterator[None]:
    """Name the account that a failure is about: the other accounts of the run are not affected."""
    try:
        yield
    except KieError as error:
        raise error.with_facts(connection=kie_conn_id) from error
