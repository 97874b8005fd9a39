"""KieTimedLyricsOperator: the timestamped lyrics of takes, which KIE answers at once, paid for once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_kie.archive.extras.table import EXTRAS, Take
from airflow_kie.client.errors import KieError, KieSomeFailed, Scope
from airflow_kie.client.operations.operation import Medium
from airflow_kie.client.operations.suno_tracks import TIMESTAMPED_LYRICS
from airflow_kie.client.redact import map_texts, without_urls
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.durable.requests import ledger_of
from airflow_kie.durable.retried import KieOperator
from airflow_kie.hooks.calls import PaidCall
from airflow_kie.hooks.kie import KieHook, fetching
from airflow_kie.lifecycle.identity import call_digest
from airflow_kie.lifecycle.ledger import Ledger
from airflow_kie.lineage.asset_events import NewFiles
from airflow_kie.lineage.facts import TaskLineage
from airflow_kie.lineage.songs import of_song_extras, to_song_extras
from airflow_kie.operators.song_extras import new_files, planned_takes

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.manifest import AirflowRecord, Manifest
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.hooks.archive import ExtraArgs

EXTRA = EXTRAS["timed_lyrics"]


class KieTimedLyricsOperator(KieOperator):
    """Requests the timestamped lyrics of each take of a plan, and archives them in the song's folder.

    KIE creates no task for them: its answer is the only copy. The ledger therefore records the request before it is
    sent, and stores the answer. A request whose answer was lost is in doubt, and is not sent again automatically.

    :param plan: what :class:`~airflow_kie.operators.song_extras.KieSongExtrasPlanOperator` returned.
    :param kie_conn_id: Airflow connection of type ``kie``.
    :param aws_conn_id: Airflow connection for S3.
    :param extra_args: for S3; None: `[kie] s3_extra_args`.
    """

    template_fields: Sequence[str] = ("plan", "kie_conn_id", "aws_conn_id", "extra_args")
    ui_color = "#fff4d6"

    def __init__(
        self,
        *,
        plan: Any,
        kie_conn_id: str = KieHook.default_conn_name,
        aws_conn_id: str | None = "aws_default",
        extra_args: ExtraArgs = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.kie_conn_id = kie_conn_id
        self.aws_conn_id = aws_conn_id
        self.extra_args = extra_args

    def execute(self, context: Context) -> dict[str, Any]:
        """Request what is not archived yet; return how many takes have their lyrics.

        :raises KieSomeFailed: when KIE rejected some, or some are in doubt; the others are archived.
        """
        return run_with_outage_backoff(context, lambda: self._all(context))

    def lineage_at_start(self) -> TaskLineage:
        """Return the songs whose lyrics are requested."""
        plan = self.plan if isinstance(self.plan, Mapping) else {}
        songs = [take["song"] for take in plan.get("takes", ())]
        return to_song_extras(EXTRA.operation.name, self.kie_conn_id, songs)

    def _all(self, context: Context) -> dict[str, Any]:
        from airflow_kie.archive.index.entry import IndexEntry, entry_of
        from airflow_kie.archive.index.segments import Index
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.archive.manifest import AirflowRecord
        from airflow_kie.hooks.archive import open_bucket

        takes, prefix = planned_takes(self.plan, EXTRA.name)
        bucket, hook = open_bucket(self.aws_conn_id, self.plan["bucket"], self.extra_args), KieHook(self.kie_conn_id)
        since, ledger = NewFiles(context, EXTRA.name).begin(), ledger_of(context, hook)
        airflow = AirflowRecord.model_validate(context["ti"], from_attributes=True)
        entries: list[IndexEntry] = []
        failed: list[str] = []
        try:
            for take in takes:
                try:
                    request = _Lyrics(hook, ledger, bucket, prefix, take, context["ti"])
                    entries.append(entry_of(request.archived(airflow)))
                except KieError as error:
                    if error.scope is not Scope.TASK:
                        raise
                    failed.append(f"song {take.song}, take {take.position}: {error}")
        finally:
            if entries:
                Index(bucket, ArchiveKeys(prefix)).add(entries)
        self.set_lineage(
            of_song_extras(self.lineage_at_start(), bucket.name, new_files(bucket, prefix, EXTRA, takes, since))
        )
        if failed:
            raise KieSomeFailed(f"{len(failed)} of {len(takes)} takes failed. {'; '.join(failed[:3])}")
        return {"takes": len(takes)}


class _Lyrics:
    """The lyrics of one take."""

    def __init__(self, hook: KieHook, ledger: Ledger, bucket: Bucket, prefix: str, take: Take, ti: Any) -> None:
        self._hook, self._bucket, self._prefix, self._take = hook, bucket, prefix, take
        body = EXTRA.body(take)
        digest = call_digest(TIMESTAMPED_LYRICS, body, {})
        self._call = PaidCall(hook, lambda: ledger, TIMESTAMPED_LYRICS, body, digest, ti)

    def archived(self, airflow: AirflowRecord) -> Manifest:
        """Return the song's manifest with them.

        :raises KieError: why they are not archived.
        """
        from airflow_kie.archive.extras.storing import files_of, is_there
        from airflow_kie.archive.layout import SongKeys
        from airflow_kie.archive.manifest import Manifest

        manifest = Manifest.read(self._bucket, SongKeys(self._prefix, self._take.song))[0]
        if manifest and is_there(self._bucket, files_of(manifest, EXTRA, self._take)):
            return manifest
        return self._stored(map_texts(without_urls, self._call.answer()), airflow)

    def _stored(self, answer: Any, airflow: AirflowRecord) -> Manifest:
        from airflow_kie.archive.extras.storing import keys_of, store_extra
        from airflow_kie.archive.file_transfer import Fetcher, Source
        from airflow_kie.archive.manifest import CreditsRecord

        text = json.dumps(answer, ensure_ascii=False, indent=1)
        source = Source(EXTRA.name, 1, text=text, medium=Medium.JSON)
        keys = keys_of(self._prefix, EXTRA, self._take)
        fetcher = Fetcher(self._bucket, keys, now=lambda: datetime.now(UTC), **fetching(self._hook))
        cost = CreditsRecord(task_id=f"lyrics of {self._take.audio_id}", kind=EXTRA.operation.name)
        return store_extra(fetcher, EXTRA, self._take, [source], cost, airflow)[0]
