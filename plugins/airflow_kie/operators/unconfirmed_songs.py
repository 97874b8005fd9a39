"""Songs that a callback alone has named, and that KIE could not confirm at that moment: the sweep asks again."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_kie.client.errors.base import KieError
from airflow_kie.client.task_lookup import Claim, ask_kie
from airflow_kie.hooks.kie import KieHook

if TYPE_CHECKING:
    from airflow_kie.archive.layout import ArchiveKeys
    from airflow_kie.archive.pending import Pending
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.archive.song_folder import SongArchive

log = logging.getLogger(__name__)


@dataclass
class UnconfirmedSongs:
    """Decides what becomes of records that a callback alone has led to.

    KIE is asked with the key of the connection that was called. What KIE does not know is deleted once two reads agree,
    at least one sweep apart; until KIE can be asked, the record stays.

    :param bucket: where the archive is.
    :param keys: its prefix.
    """

    bucket: Bucket
    keys: ArchiveKeys
    _silent: set[str] = field(default_factory=set)

    def is_song(self, pending: Pending) -> bool:
        """Return whether KIE confirms a song; its record is changed, or deleted, accordingly.

        :param pending: an unconfirmed record.
        """
        claim = self._ask(pending.kie_conn_id or KieHook.default_conn_name, pending.music_task_id)
        if claim is Claim.SONG:
            return True
        if claim is Claim.OTHER or claim.value == pending.unconfirmed == Claim.NOT_FOUND:
            self._delete(pending)
        elif claim is Claim.NOT_FOUND:
            self._archive(pending).update_pending(received_from=pending.received_from, unconfirmed=claim.value)
        return False

    def _ask(self, kie_conn_id: str, music_task_id: str) -> Claim:
        """Ask KIE; an account that once did not answer is not asked again in this sweep."""
        if kie_conn_id in self._silent:
            return Claim.NOT_ASKED
        try:
            claim = ask_kie(KieHook(kie_conn_id).get_conn(), music_task_id)
        except KieError as error:
            log.warning("KIE cannot be asked about %s. %s: %s.", music_task_id, error.what, error.facts.message)
            claim = Claim.NOT_ASKED
        if claim is Claim.NOT_ASKED:
            self._silent.add(kie_conn_id)
        return claim

    def _delete(self, pending: Pending) -> None:
        archive = self._archive(pending)
        if archive.pending() != pending:  # a run or another callback has written it since
            return
        archive.drop_pending()
        log.warning(
            "A callback named %s as a finished song, and KIE knows no such song: its pending record is deleted. "
            "Nothing was paid for.",
            pending.music_task_id,
        )

    def _archive(self, pending: Pending) -> SongArchive:
        from airflow_kie.archive.song_folder import SongArchive

        return SongArchive(self.bucket, self.keys.song(pending.music_task_id))
