"""Operators for KIE's Suno API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_kie import settings
from airflow_kie.assets import MUSIC as MUSIC_ASSET
from airflow_kie.assets import PENDING
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations.music_limits import music_request_errors
from airflow_kie.client.operations.suno import COVER, MUSIC
from airflow_kie.client.untrusted import NOTHING, is_true
from airflow_kie.durable.defaults import required
from airflow_kie.durable.song_batch import TakesSongs, form_of
from airflow_kie.durable.song_tasks import make_for_songs
from airflow_kie.durable.xcom import MADE_TWICE_KEY
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.triggers.event import Given

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.song_folder import SongArchive
    from airflow_kie.hooks.archive import ExtraArgs


def _refuse_a_request(operator: KieTaskOperator) -> None:
    """Refuse the arguments of the generic operator that a typed one fills in from its own: they would be ignored."""
    if operator.request is not None or operator.requests is not None:
        raise ValueError(
            f"Task {operator.task_id} makes its request of its own arguments: `request` and `requests` are those of "
            f"KieTaskOperator(operation={operator.operation!r}, …)"
        )


def try_to_write(aws_conn_id: str | None, bucket: str, prefix: str, extra_args: ExtraArgs) -> None:
    """Learn before anything is paid whether the archive can be written.

    :raises S3Error: its subclass says why not.
    """
    from airflow_kie.archive.layout import ArchiveKeys
    from airflow_kie.hooks.archive import open_bucket

    open_bucket(aws_conn_id, bucket, extra_args).try_to_write(ArchiveKeys(prefix).probe)


class KieGenerateMusicOperator(KieTaskOperator):
    """Generates a song and returns its music task id (docs.kie.ai suno-api/generate-music).

    :param prompt: what the song is about; in custom mode with vocals, the exact lyrics.
    :param model: such as ``V6``; None: V6, or V5_5 in KIE's dedicated API variant. KIE rejects unknown models.
    :param custom_mode: use `style`, `title` and (as lyrics) `prompt` literally.
    :param instrumental: no vocals.
    :param style: genre and mood; custom mode only.
    :param title: at most 80 characters; custom mode only.
    :param negative_tags: styles to avoid.
    :param vocal_gender: ``m`` or ``f``, a hint; custom mode only.
    :param extra_fields: further fields as KIE names them, such as ``{"styleWeight": 0.6}``.
    :param bucket: bucket of the archive. If it is set, the song gets its pending record as soon as its task id is
        known, so that its cover is made even if this run is deleted.
    :param prefix: key prefix in the bucket.
    :param aws_conn_id: Airflow connection for S3; None or empty: boto3's default credential chain.
    :param extra_args: for S3, such as ``{"ServerSideEncryption": "aws:kms"}``; None: `[kie] s3_extra_args`.

    If ``kie://api.kie.ai/suno/music`` (``airflow_kie.assets.MUSIC``) is among its outlets, it sends a "music complete"
    event with the music task id as partition when the song is ready. ``kie://api.kie.ai/suno/pending`` is then added to
    the outlets, and its event starts `music_cover`.
    """

    kind: ClassVar[str] = MUSIC.name
    template_fields: Sequence[str] = (
        *KieTaskOperator.template_fields,
        "prompt",
        "model",
        "custom_mode",
        "instrumental",
        "style",
        "title",
        "negative_tags",
        "vocal_gender",
        "extra_fields",
        "bucket",
        "prefix",
    )

    def __init__(
        self,
        *,
        prompt: str,
        model: str | None = None,
        custom_mode: bool | str = False,
        instrumental: bool | str = False,
        style: str | None = None,
        title: str | None = None,
        negative_tags: str | None = None,
        vocal_gender: str | None = None,
        extra_fields: Mapping[str, Any] | None = None,
        bucket: str | None = None,
        prefix: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _refuse_a_request(self)
        if MUSIC_ASSET in self.outlets and PENDING not in self.outlets:
            self.outlets = [*self.outlets, PENDING]
        if self._announces() and not self.wait_for_completion:
            raise ValueError(
                f"Task {self.task_id} says by its outlet {MUSIC_ASSET.uri} that a song is ready, so it has to wait for "
                "it: leave out wait_for_completion=False, or the outlet"
            )
        self.prompt = prompt
        self.model = model
        self.custom_mode = custom_mode
        self.instrumental = instrumental
        self.style = style
        self.title = title
        self.negative_tags = negative_tags
        self.vocal_gender = vocal_gender
        self.extra_fields = extra_fields
        self.bucket = bucket
        self.prefix = prefix

    @property
    def has_pending_record(self) -> bool:  # type: ignore[override]
        """Whether the song has a pending record, which says that it is not archived yet."""
        return bool(self.bucket)

    def request_body(self) -> Mapping[str, Any]:
        """Return the fields as KIE names them; what is empty is left out."""
        given = {
            "prompt": self.prompt,
            "model": self.model,
            "style": self.style,
            "title": self.title,
            "negativeTags": self.negative_tags,
            "vocalGender": self.vocal_gender,
        }
        return {
            "prompt": "",
            **{name: value for name, value in given.items() if value and value != NOTHING},  # a template of None
            "customMode": is_true(self.custom_mode),
            "instrumental": is_true(self.instrumental),
            **(self.extra_fields or {}),
        }

    def check_request(self) -> None:
        """Check the request as KIE's page describes it, and that the DAG of covers will accept the song."""
        problems = music_request_errors(self.request_body(), by_catalogue=self.check_fields)
        if self._announces():  # music_cover would refuse the song, once it is paid
            problems = [*problems, *settings.connection_errors([self.kie_conn_id])]
        if problems:
            raise KieInvalidRequest(" ".join(problems) + " Nothing was sent to KIE")

    def _start(self, context: Context) -> str:
        if self.bucket:
            try_to_write(self.aws_conn_id, self.bucket, self.prefix, self.extra_args)
        return super()._start(context)

    def task_known(self, context: Context, record: TaskRecord) -> None:
        """Write the song's pending record: its cover is pending from now on."""
        if archive := self.archive_of(record):
            from airflow_kie.archive.pending import Working

            ti = context["ti"]
            archive.update_pending(
                received_from="generate",
                kie_conn_id=self.kie_conn_id,
                title=self.title or None,
                working=Working(dag_id=ti.dag_id, run_id=ti.run_id),
            )

    def archive_of(self, record: TaskRecord | None) -> SongArchive | None:
        """Return the song's folder in the bucket, if a bucket is given and KIE has named the song."""
        if not self.bucket or record is None or not record.task_id:
            return None
        from airflow_kie.hooks.archive import open_song

        return open_song(self.aws_conn_id, self.bucket, self.prefix, record.task_id, self.extra_args)

    def finished(self, context: Context, record: TaskRecord) -> None:
        """Send "music complete", if the asset is among the outlets, and wake `music_cover`."""
        if record.task_id and self._announces():
            events = context["outlet_events"][MUSIC_ASSET]
            events.add_partitions(record.task_id)
            events.extra = context["outlet_events"][PENDING].extra = {
                "music_task_id": record.task_id,
                "kie_conn_id": self.kie_conn_id,
                "title": self.title or None,
                "received_from": "generate",
            }

    def _announces(self) -> bool:
        return any(getattr(outlet, "uri", None) == MUSIC_ASSET.uri for outlet in self.outlets)


class KieGenerateCoverOperator(TakesSongs, KieTaskOperator):
    """Generates the cover images of a song and returns the cover task id (docs.kie.ai suno-api/cover-suno).

    A song has one cover task per account, which all runs share. A cover costs nothing.

    For a batch of several songs it returns ``[{music_task_id, cover_task_id, title, expires_at}]``, without the songs
    that failed.

    :param music_task_id: the song's music task id (not an audio id).
    :param bucket: bucket of the archive. While the cover has to wait, the song's pending record says why.
    :param prefix: key prefix in the bucket.
    :param aws_conn_id: Airflow connection for S3; None or empty: boto3's default credential chain.
    :param song_title: for labels in the UI.
    :param extra_args: for S3, such as ``{"ServerSideEncryption": "aws:kms"}``; None: `[kie] s3_extra_args`.
    :param batch: instead of `music_task_id`: a batch that :class:`~airflow_kie.operators.song_list.KieSongListOperator`
        returned.
    :param music: with `batch`: what :class:`~airflow_kie.sensors.suno.KieMusicSensor` returned.
    """

    kind: ClassVar[str] = COVER.name
    template_fields: Sequence[str] = (
        *KieTaskOperator.template_fields,
        "batch",
        "music",
        "music_task_id",
        "bucket",
        "prefix",
        "song_title",
    )

    def __init__(
        self,
        *,
        music_task_id: str = "",
        bucket: str | None = None,
        prefix: str = "",
        song_title: str | None = None,
        batch: Any = None,
        music: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _refuse_a_request(self)
        self.batch = batch
        self.music = music
        self.music_task_id = music_task_id
        self.bucket = bucket
        self.prefix = prefix
        self.song_title = song_title

    def request_body(self) -> Mapping[str, Any]:
        """Return the one field of a cover's create."""
        return {"taskId": self.music_task_id}

    def leg(self, context: Context, event: Given = None, awaited: str | None = None, records: Given = None, /) -> Any:
        """Generate the covers of one song or of many, and wait for them."""
        if not self.has_many:
            return super().leg(context, event, awaited, records)
        self.requests = []  # no single record of this task instance is asked for its deadline, or whether it is paid
        return self._with_backoff(context, lambda: make_for_songs(self, context, records, event))

    def _known(self, stored: TaskRecord | None, digest: str, awaited: str | None = None) -> TaskRecord:
        record = super()._known(stored, digest, awaited)
        return record if record.task_id or record.form else replace(record, form=form_of(self.music))

    def check_request(self) -> None:
        """Check that a template has rendered to a song."""
        required(self.task_id, music_task_id=self.music_task_id)

    def archive_of(self, record: TaskRecord | None) -> SongArchive | None:
        """Return the song's folder in the bucket, if a bucket is given."""
        if not self.bucket or self.has_many:
            return None
        from airflow_kie.hooks.archive import open_song

        return open_song(self.aws_conn_id, self.bucket, self.prefix, self.music_task_id, self.extra_args)

    def finished(self, context: Context, record: TaskRecord) -> None:
        """Report to the run's last task that the cover was made once more."""
        if record.repeated and not record.adopted:
            context["ti"].xcom_push(key=MADE_TWICE_KEY, value={"music_task_id": self.music_task_id})

    def probe(self) -> None:
        """Try the bucket too: the ids of paid tasks are written to it."""
        super().probe()
        if self.bucket:
            try_to_write(self.aws_conn_id, self.bucket, self.prefix, self.extra_args)
