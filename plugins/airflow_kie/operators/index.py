"""The operator that keeps the library's index small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_kie import settings

if TYPE_CHECKING:
    from airflow.sdk import Context


class KieCompactIndexOperator(BaseOperator):
    """Compacts the index of the configured archive: the small objects of a month become one. Skipped without a bucket.

    Returns how many objects were replaced. Two instances at a time do no harm: duplicate lines count once.

    :param aws_conn_id: Airflow connection for S3.
    """

    ui_color = "#eeeeee"

    def __init__(self, *, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.aws_conn_id = aws_conn_id

    def execute(self, context: Context) -> int:
        """Compact once."""
        from airflow_kie.archive.index.segments import Index
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.hooks.archive import open_bucket

        name = settings.text("bucket")
        if not name:
            raise AirflowSkipException("No bucket is set in [kie], so there is nothing to compact.")
        keys = ArchiveKeys(settings.text("prefix", "songs"))
        replaced = Index(open_bucket(self.aws_conn_id, name), keys).compact()
        self.log.info("%d objects of the index were replaced.", replaced)
        return replaced
