"""Buttons on a task in the Airflow UI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class KieLogsLink(BaseOperatorLink):
    """Opens KIE's own log, which is the source of truth for tasks and credits."""

    name = "KIE logs"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of KIE's log page; it has no address for a single task."""
        return "https://kie.ai/logs"


class S3ObjectLink(BaseOperatorLink):
    """Opens the song's folder in the AWS console; on other S3 services there is no such page."""

    name = "Archived song in S3"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the console's address of the song's folder, or nothing where no console shows it."""
        folder: Any = getattr(operator, "console_folder", None)
        if not folder:
            return ""
        bucket, prefix = folder
        return f"https://s3.console.aws.amazon.com/s3/buckets/{quote(bucket)}?prefix={quote(prefix, safe='/')}"
