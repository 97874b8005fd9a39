"""What the operators of a release share: where the archive is, and what holds for every release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_kie import settings
from airflow_kie.durable.defaults import required
from airflow_kie.durable.retried import Retried

if TYPE_CHECKING:
    from airflow_kie.archive.delivery.keys import ReleaseKeys
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.hooks.archive import ExtraArgs

PLAN = "plan"
"""XCom key of a release's plan. The return value is what Airflow can map over: the requests for WAVs."""


class OfRelease(Retried, BaseOperator):
    """Opens the archive."""

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


def defaults() -> dict[str, Any]:
    """Return what `[kie] release_defaults` says of every release, a JSON map such as ``{"artist": …, "p_line": …}``."""
    from airflow_kie.archive.delivery.plan import as_map

    return as_map(settings.text("release_defaults"), "[kie] release_defaults")
