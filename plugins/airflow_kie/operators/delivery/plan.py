"""KieReleasePlanOperator: what a release is made of and costs, checked before anything is paid."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from airflow_kie.client.catalogue.prices import quote
from airflow_kie.client.errors import NotArchived
from airflow_kie.client.operations.market import JOBS
from airflow_kie.client.operations.suno_tracks import WAV
from airflow_kie.durable.defaults import optional
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.delivery.of_release import PLAN, OfRelease, defaults

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.manifest import FileRecord
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.lifecycle.ledger import Ledger


class KieReleasePlanOperator(OfRelease):
    """Plans a release: resolves its takes and covers, and checks its metadata. It pays nothing.

    Returns the requests for the WAVs that are not archived yet, in track order. Its XCom ``plan`` is ``{"release": …,
    "tracks": [{"song", "take", "cover", …}], "credits": {…}, "upscale": …, "price": …}``: ``upscale`` is the request
    for a larger cover, ``price`` the total by KIE's price list. A track without a take or cover gets the ones chosen on
    the song's page (``choice.json``), else the first ones.

    Without a release's name, in a run that an event of ``kie://api.kie.ai/suno/chosen`` started, the release is that
    song alone, named by its id. The run is skipped if it is rejected, or its take or cover is not chosen yet.

    :param release: the name of the release and its folder: letters, digits, blanks, and ``-_.,&'()+!``.
    :param songs: music task ids in track order, as a list or in any text; or maps such as
        ``{"song": …, "take": 2, "cover": 1, "title": …, "isrc": …}``.
    :param credits: the release's metadata: title, artist, genre, language, explicit, writers, p_line, c_line, label,
        upc, release_date, ai.
    :param wav: request a WAV of each take (0.4 credits each); False makes a release without them.
    :param upscale: let KIE's Topaz enlarge the cover (up to 20 credits); False enlarges it locally, with Lanczos.
    :param kie_conn_id: Airflow connection of the account that makes the WAVs; its ledger says which exist already.
    :param bucket: bucket of the archive; empty: `[kie] bucket`.
    :param prefix: key prefix in the bucket; empty: `[kie] prefix`.
    :param aws_conn_id: Airflow connection for S3; None or empty: boto3's default credential chain.
    :param extra_args: for S3; None: `[kie] s3_extra_args`.
    """

    template_fields: Sequence[str] = (
        *("release", "songs", "credits", "wav", "upscale", "kie_conn_id"),
        *("bucket", "prefix", "extra_args"),
    )
    template_fields_renderers = {"credits": "json"}
    ui_color = "#eeeeee"

    def __init__(
        self,
        *,
        release: str = "",
        songs: Any = None,
        credits: Mapping[str, Any] | str | None = None,
        wav: bool | str = True,
        upscale: bool | str = False,
        kie_conn_id: str = KieHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kie_conn_id = kie_conn_id
        self.release = release
        self.songs = songs
        self.credits = credits
        self.wav = wav
        self.upscale = upscale

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Return the requests for WAVs.

        :raises KieInvalidRequest: naming what is wrong with the songs or the metadata.
        :raises NotArchived: naming a take or cover that is not in the archive.
        """
        return run_with_outage_backoff(context, lambda: self._plan(context))

    def _plan(self, context: Context) -> list[dict[str, Any]]:
        from airflow_kie.archive.delivery.plan import as_map, is_chosen, planned, tracks_in
        from airflow_kie.client.untrusted import is_true

        chosen = "" if optional(self.release) else str(context.get("partition_key") or "")
        bucket, keys = self.open(chosen or self.release)
        if chosen and not is_chosen(bucket, keys, chosen):
            raise AirflowSkipException(f"Song {chosen} has no chosen take and cover, so nothing was delivered or paid.")
        credits = as_map(self.credits, "The release's metadata")
        tracks = tracks_in([{"song": chosen}] if chosen else self.songs)
        plan, cover = planned(bucket, keys, tracks, credits, defaults())
        requests, upscale, upscaled_task_id, price = [], None, None, 0.0
        if is_true(self.wav):
            wavs = [{"taskId": track["song"], "audioId": track["audio_id"]} for track in plan]
            known = self._archived(context, bucket, wavs)
            plan = [{**track, "wav_task_id": wav} for track, wav in zip(plan, known, strict=True)]
            requests = [request for request, wav in zip(wavs, known, strict=True) if wav is None]
            price += sum(quote(WAV, request).high or 0 for request in requests)
        if is_true(self.upscale):
            upscale, upscaled_task_id = self._upscaled(context, bucket, cover)
            price += upscale["credits"] if upscale else 0
        asked = {"upscale": upscale, "upscaled_task_id": upscaled_task_id, "price": round(price, 4)}
        context["ti"].xcom_push(key=PLAN, value={"release": keys.name, "tracks": plan, "credits": credits, **asked})
        self.log.info(
            "Release %r: %d tracks. Requesting %d WAVs and %s from KIE, %g credits in all by its price list.",
            *(keys.name, len(plan), len(requests)),
            f"a larger cover ({upscale['credits']:g} credits)" if upscale else "no larger cover",
            price,
        )
        return requests

    def _archived(self, context: Context, bucket: Bucket, wavs: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Return KIE's task of each WAV that is archived, also one that KIE itself has deleted since."""
        from airflow_kie.archive.extras.storing import files_of, is_there
        from airflow_kie.archive.extras.table import EXTRAS, Take
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.archive.manifest import Manifest
        from airflow_kie.durable.requests import ledger_of
        from airflow_kie.lifecycle.identity import request_digest

        hook, keys = KieHook(self.kie_conn_id), ArchiveKeys(self.prefix)
        ledger = ledger_of(context, hook)

        def archived(request: Mapping[str, Any]) -> str | None:
            song = Manifest.read(bucket, keys.song(request["taskId"]))[0]
            own = files_of(song, EXTRAS["wav"], Take(request["taskId"], 1, request["audioId"]))
            if is_there(bucket, own):
                return own[0].task_id
            return self._made(ledger, hook, bucket, WAV.name, request_digest(WAV, request, {}))

        return [archived(request) for request in wavs]

    def _upscaled(
        self, context: Context, bucket: Bucket, cover: FileRecord
    ) -> tuple[dict[str, Any] | None, str | None]:
        """Return the request for a larger cover, or KIE's task of the one that is archived; neither: none is needed.

        KIE is given the cover here, which is free.
        """
        from airflow_kie.archive.delivery.cover_image import SIDE, longest_side
        from airflow_kie.archive.delivery.upscale import Upscaling
        from airflow_kie.durable.requests import ledger_of
        from airflow_kie.hooks.uploads import give

        with tempfile.TemporaryFile() as body:
            if bucket.read_facts(cover.key, body) is None:
                raise NotArchived(f"{bucket.url(cover.key)} no longer exists")
            body.seek(0)
            asked = Upscaling.of(cover, longest_side(body), SIDE)
        if asked is None:
            self.log.info("KIE will not enlarge the cover: it is large enough, or larger than KIE's price list covers.")
            return None, None
        hook = KieHook(self.kie_conn_id)
        if made := self._made(ledger_of(context, hook), hook, bucket, JOBS.name, asked.digest):
            return None, made
        request = asked.request(give(hook, bucket.url(cover.key), self.aws_conn_id))
        place = {"bucket": bucket.name, "made_from": cover.key}
        return {"request": request, "idempotency_key": asked.key, "credits": asked.credits, **place}, None

    def _made(self, ledger: Ledger, hook: KieHook, bucket: Bucket, operation: str, digest: str) -> str | None:
        """Return KIE's task of a request that is paid for, if what it has made is archived."""
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.archive.manifest import TaskManifest
        from airflow_kie.archive.task_archiver import is_archived
        from airflow_kie.lifecycle.claims import AlreadyMade, RequestId

        made = ledger.find(RequestId(hook.account.spending_name, operation, digest))
        task_id = made.task_id if isinstance(made, AlreadyMade) else None
        keys = ArchiveKeys(self.prefix)
        manifest = TaskManifest.read(bucket, keys.task(operation, task_id))[0] if task_id else None
        return task_id if is_archived(bucket, manifest, None) else None
