"""KieDeliverReleaseOperator: a release's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_kie import assets
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations.market import JOBS
from airflow_kie.client.operations.suno_tracks import WAV
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.lineage.asset_events import NewFiles
from airflow_kie.lineage.facts import TaskLineage
from airflow_kie.lineage.mixin import LineageMethods
from airflow_kie.lineage.songs import of_release, to_release
from airflow_kie.operators.delivery.of_release import OfRelease, defaults

if TYPE_CHECKING:
    from airflow.sdk import Context


class KieDeliverReleaseOperator(LineageMethods, OfRelease):
    """Writes a release's folder, ``<prefix>/release/<name>/``, from archived files. It pays nothing.

    Returns the manifest's key, the files, and which metadata is missing. When it runs again, it stores only what has
    changed. If ``kie://api.kie.ai/suno/delivered`` is among its outlets and something has changed, it sends an event
    with the release's name as partition.

    :param plan: the XCom ``plan`` of :class:`KieReleasePlanOperator`.
    :param wav_task_ids: KIE's ids of the tasks that made the plan's WAVs, in the plan's order; they must be archived.
    :param upscaled_task_id: KIE's id of the task that enlarged the cover, if the plan includes one.
    :param bucket: bucket of the archive; empty: `[kie] bucket`.
    :param prefix: key prefix in the bucket; empty: `[kie] prefix`.
    :param aws_conn_id: Airflow connection for S3; None or empty: boto3's default credential chain.
    :param extra_args: for S3; None: `[kie] s3_extra_args`.
    """

    template_fields: Sequence[str] = ("plan", "wav_task_ids", "upscaled_task_id", "bucket", "prefix", "extra_args")
    template_fields_renderers = {"plan": "json"}
    ui_color = "#fff4d6"

    def __init__(self, *, plan: Any, wav_task_ids: Any = None, upscaled_task_id: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.wav_task_ids = wav_task_ids
        self.upscaled_task_id = upscaled_task_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Write the folder, or leave it as it is."""
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
        enlarged = self.plan.get("upscaled_task_id") or self.upscaled_task_id
        if self.plan.get("upscale") and not enlarged:
            raise KieInvalidRequest("the plan includes a larger cover, but its task id is missing; nothing was made")
        new = NewFiles(context, keys.name)
        begun = new.begin()  # a try that dies after the manifest leaves the event to the next one
        manifest, release, _ = deliver(
            bucket,
            keys,
            sources,
            enlarged=archive.task(JOBS.name, str(enlarged)) if enlarged else None,
            credits=self.plan["credits"],
            defaults=defaults(),
            airflow=AirflowRecord.model_validate(context["ti"], from_attributes=True),
        )
        changed = new.wrote(manifest.airflow, manifest.delivered_at, begun)
        if assets.DELIVERED in self.outlets and changed:
            events = context["outlet_events"][assets.DELIVERED]
            events.add_partitions(keys.name)
            events.extra = {"bucket": bucket.name, "manifest_key": keys.manifest, "missing": len(manifest.missing)}
        elif not changed:
            self.outlets = [outlet for outlet in self.outlets if outlet != assets.DELIVERED]
        self.set_lineage(of_release(self.lineage_at_start(), bucket.name, keys.folder, manifest, changed=changed))
        self.log.info("Release %r has %d files.", keys.name, len(manifest.files))
        for name in release.missing:
            self.log.warning("Release %r: metadata.json lacks %s.", keys.name, name)
        return {
            "release": keys.name,
            "bucket": bucket.name,
            "manifest_key": keys.manifest,
            "files": [keys.file(file.name) for file in manifest.files],
            "missing": list(manifest.missing),
            "price": self.plan.get("price"),
            "changed": changed,
        }

    def lineage_at_start(self) -> TaskLineage:
        """Return the songs that the release is made from."""
        tracks = self.plan["tracks"] if isinstance(self.plan, Mapping) else ()
        return to_release([track["song"] for track in tracks])
