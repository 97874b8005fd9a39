"""The operators of a release: what goes into it, checked before anything is paid, and its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_kie import assets, settings
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations.suno_tracks import WAV
from airflow_kie.durable.defaults import required
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.durable.retried import Retried
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lineage.facts import TaskLineage
from airflow_kie.lineage.mixin import LineageMethods
from airflow_kie.lineage.releases import of_release, to_release

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.delivery.keys import ReleaseKeys
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.hooks.archive import ExtraArgs

PLAN = "plan"
"""XCom key of a release's plan. The return value is what Airflow can map over: the requests for WAVs."""


class _OfRelease(Retried, BaseOperator):
    """What both operators share: where the archive is."""

    def __init__(
        self,
        *,
        bucket: str = "",
        prefix: str = "",
        aws_conn_id: str | None = "aws_default",
        extra_args: ExtraArgs = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bucket = bucket
        self.prefix = prefix
        self.aws_conn_id = aws_conn_id
        self.extra_args = extra_args

    def open(self, release: str) -> tuple[Bucket, ReleaseKeys]:
        """Return the bucket and the keys of a release."""
        from airflow_kie.archive.delivery.keys import ReleaseKeys
        from airflow_kie.hooks.archive import open_bucket

        self.bucket = self.bucket or settings.text("bucket")
        self.prefix = (self.prefix or settings.text("prefix", "songs")).strip("/")
        required(self.task_id, release=release, bucket=self.bucket)
        keys = ReleaseKeys(self.prefix, release)
        return open_bucket(self.aws_conn_id, self.bucket, self.extra_args), keys


class KieReleasePlanOperator(_OfRelease):
    """Says what a release is made of, checks its metadata, and pays nothing.

    Returns one request for the WAV of each track whose WAV is not archived yet, in their order, none where no WAV is
    asked for; its XCom ``plan`` is ``{"release": …, "tracks": [{"song", "take", "cover", …}], "credits": {…}}``. A
    track that names no take or cover gets those that a person has chosen on the song's page (``choice.json``), else the
    first ones. In a run that an event of the asset ``kie://api.kie.ai/suno/chosen`` has made, the release is that song
    alone, named by its id; while its take or its cover is not chosen, or it is rejected, the run is skipped.

    :param release: the release's name, which is that of its folder: letters, digits, blanks, and ``-_.,&'()+!``.
    :param songs: music task ids in the order of the tracks, as a list or in any text; or maps such as
        ``{"song": …, "take": 2, "cover": 1, "title": …, "isrc": …}``.
    :param credits: the release's metadata: title, artist, genre, language, explicit, writers, p_line, c_line, label,
        upc, release_date, ai.
    :param wav: ask KIE for a WAV of each take (0.4 credits each); False makes a release without them.
    :param kie_conn_id: the KIE account that makes the WAVs: its ledger says which are made.
    :param bucket: empty: `[kie] bucket`.
    :param prefix: empty: `[kie] prefix`.
    :param aws_conn_id: Airflow connection for S3.
    :param extra_args: for S3; None: `[kie] s3_extra_args`.
    """

    template_fields: Sequence[str] = (
        *("release", "songs", "credits", "wav", "kie_conn_id"),
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
        kie_conn_id: str = KieHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kie_conn_id = kie_conn_id
        self.release = release
        self.songs = songs
        self.credits = credits
        self.wav = wav

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Return the requests for WAVs.

        :raises KieInvalidRequest: naming what is wrong with the songs or the metadata.
        :raises NotArchived: naming a take or cover that is not in the archive.
        """
        return run_with_outage_backoff(context, lambda: self._plan(context))

    def _plan(self, context: Context) -> list[dict[str, Any]]:
        from airflow_kie.archive.delivery.plan import as_map, is_chosen, planned, tracks_in
        from airflow_kie.client.untrusted import is_true

        chosen = str(context.get("partition_key") or "")
        bucket, keys = self.open(chosen or self.release)
        if chosen and not is_chosen(bucket, keys, chosen):
            raise AirflowSkipException(f"Song {chosen} has no chosen take and cover, so nothing is delivered or paid.")
        credits = as_map(self.credits, "The release's metadata")
        tracks = tracks_in([{"song": chosen}] if chosen else self.songs)
        plan = planned(bucket, keys, tracks, credits, defaults())
        requests = []
        if is_true(self.wav):
            wavs = [{"taskId": track["song"], "audioId": track["audio_id"]} for track in plan]
            known = self._archived(context, bucket, wavs)
            plan = [{**track, "wav_task_id": wav} for track, wav in zip(plan, known, strict=True)]
            requests = [request for request, wav in zip(wavs, known, strict=True) if wav is None]
        context["ti"].xcom_push(key=PLAN, value={"release": keys.name, "tracks": plan, "credits": credits})
        self.log.info("Release %r: %d tracks; %d WAVs are asked for.", keys.name, len(plan), len(requests))
        return requests

    def _archived(self, context: Context, bucket: Bucket, wavs: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Return KIE's task of each WAV that is archived, also one that KIE itself has deleted since."""
        from airflow_kie.archive.extras.storing import files_of, is_there
        from airflow_kie.archive.extras.table import EXTRAS, Take
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.archive.manifest import Manifest, TaskManifest
        from airflow_kie.archive.task_archiver import is_archived
        from airflow_kie.durable.requests import ledger_of
        from airflow_kie.lifecycle.claims import AlreadyMade, RequestId
        from airflow_kie.lifecycle.identity import request_digest

        hook, keys = KieHook(self.kie_conn_id), ArchiveKeys(self.prefix)
        ledger, account = ledger_of(context, hook), hook.account.spending_name

        def archived(request: Mapping[str, Any]) -> str | None:
            song = Manifest.read(bucket, keys.song(request["taskId"]))[0]
            own = files_of(song, EXTRAS["wav"], Take(request["taskId"], 1, request["audioId"]))
            if is_there(bucket, own):
                return own[0].task_id
            made = ledger.find(RequestId(account, WAV.name, request_digest(WAV, request, {})))
            task_id = made.task_id if isinstance(made, AlreadyMade) else None
            manifest = TaskManifest.read(bucket, keys.task(WAV.name, task_id))[0] if task_id else None
            return task_id if is_archived(bucket, manifest, None) else None

        return [archived(request) for request in wavs]


class KieDeliverReleaseOperator(LineageMethods, _OfRelease):
    """Makes a release's folder from what is archived, and pays nothing: ``<prefix>/release/<name>/``.

    Returns the manifest's key, the files, and what the metadata lacks. Done again, it stores only what has changed.
    With the asset ``kie://api.kie.ai/suno/delivered`` among its outlets it sends "delivered", with the release's name
    as partition, where something has changed.

    :param plan: the XCom ``plan`` of :class:`KieReleasePlanOperator`.
    :param wav_task_ids: KIE's ids of the tasks that have made the WAVs that the plan has asked for, in its order;
        archived before.
    :param bucket: empty: `[kie] bucket`.
    :param prefix: empty: `[kie] prefix`.
    :param aws_conn_id: Airflow connection for S3.
    :param extra_args: for S3; None: `[kie] s3_extra_args`.
    """

    template_fields: Sequence[str] = ("plan", "wav_task_ids", "bucket", "prefix", "extra_args")
    template_fields_renderers = {"plan": "json"}
    ui_color = "#fff4d6"

    def __init__(self, *, plan: Any, wav_task_ids: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.wav_task_ids = wav_task_ids

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the folder, or leave it as it is."""
        return run_with_outage_backoff(context, lambda: self._deliver(context))

    def _deliver(self, context: Context) -> dict[str, Any]:
        from airflow_kie.archive.delivery.metadata import TrackSource
        from airflow_kie.archive.delivery.release import deliver
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.archive.manifest import AirflowRecord

        bucket, keys = self.open(str(self.plan["release"]))
        tracks, wavs = self.plan["tracks"], list(self.wav_task_ids or ())
        asked = sum(not track.get("wav_task_id") for track in tracks)
        if wavs and len(wavs) != asked:
            raise KieInvalidRequest(f"{asked} tracks have {len(wavs)} WAVs; nothing was made")
        made = iter(wavs)
        archive = ArchiveKeys(self.prefix)
        sources = [
            TrackSource(
                song=track["song"],
                take=track["take"],
                cover=track["cover"],
                wav=archive.task(WAV.name, str(wav)) if wav else None,
                credits=track["credits"],
            )
            for track in tracks
            for wav in [track.get("wav_task_id") or next(made, None)]
        ]
        manifest, release, changed = deliver(
            bucket,
            keys,
            sources,
            credits=self.plan["credits"],
            defaults=defaults(),
            airflow=AirflowRecord.model_validate(context["ti"], from_attributes=True),
        )
        if assets.DELIVERED in self.outlets and changed:
            events = context["outlet_events"][assets.DELIVERED]
            events.add_partitions(keys.name)
            events.extra = {"bucket": bucket.name, "manifest_key": keys.manifest, "missing": len(manifest.missing)}
        elif not changed:
            self.outlets = [outlet for outlet in self.outlets if outlet != assets.DELIVERED]
        self._lineage = of_release(self.lineage_at_start(), bucket.name, keys.folder, manifest, changed=changed)
        self.log.info("Release %r has %d files.", keys.name, len(manifest.files))
        for name in release.missing:
            self.log.warning("Release %r: metadata.json lacks %s.", keys.name, name)
        return {
            "release": keys.name,
            "bucket": bucket.name,
            "manifest_key": keys.manifest,
            "files": [keys.file(file.name) for file in manifest.files],
            "missing": list(manifest.missing),
            "changed": changed,
        }

    def lineage_at_start(self) -> TaskLineage:
        """Return the songs that the release is made from."""
        tracks = self.plan["tracks"] if isinstance(self.plan, Mapping) else ()
        return to_release([track["song"] for track in tracks])


def defaults() -> dict[str, Any]:
    """Return what `[kie] release_defaults` says of every release, a JSON map such as ``{"artist": …, "p_line": …}``."""
    from airflow_kie.archive.delivery.plan import as_map

    return as_map(settings.text("release_defaults"), "[kie] release_defaults")
