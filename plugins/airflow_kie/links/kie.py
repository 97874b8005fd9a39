"""Buttons on a task in the Airflow UI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

from airflow_kie import settings

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


SONG_PAGES_DAG_ID = "music_cover"
"""Who may read this DAG may see every song of the configured bucket."""
GENERATE_DAG_ID = "music_generate"
"""Who may trigger this DAG may generate songs."""


class KieLogsLink(BaseOperatorLink):
    """Opens KIE's own log, the source of truth for tasks and credits."""

    name = "KIE logs"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of KIE's log page; it has no address for a single task."""
        return "https://kie.ai/logs"


class S3ObjectLink(BaseOperatorLink):
    """Opens the folder of a song or task in the AWS console; not available for other S3 services."""

    name = "Archived song in S3"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the console's address of the song's folder, or nothing where no console shows it."""
        folder: Any = getattr(operator, "console_folder", None)
        if not folder:
            return ""
        bucket, prefix = folder
        return f"https://s3.console.aws.amazon.com/s3/buckets/{quote(bucket)}?prefix={quote(prefix, safe='/')}"


class KieSongLink(BaseOperatorLink):
    """Opens the song's page in this Airflow: pictures, audio, state, and what to do if it failed."""

    name = "Song"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the song's page, relative to Airflow's own, which names its base.

        A song of the configured bucket has an address of its own; one of another bucket is found through its run.
        """
        song, place = getattr(operator, "music_task_id", None), _place(operator)
        if not song or not all(isinstance(part, str) for part in (song, *place)):
            return ""
        return song_page(ti_key.dag_id, ti_key.run_id, song, place)


def song_page(dag_id: str, run_id: str, music_task_id: str, place: tuple[str, str] | None) -> str:
    """Return the address of a song's page, relative to Airflow's own.

    :param dag_id: the DAG of a run that works on the song.
    :param run_id: that run.
    :param music_task_id: the song.
    :param place: bucket and prefix; None: the configured ones.
    """
    page = f"songs/{quote(music_task_id, safe='')}"
    configured = (settings.text("bucket"), settings.text("prefix", "songs").strip("/"))
    if dag_id == SONG_PAGES_DAG_ID and place in (None, configured):
        return f"kie/{page}"
    return f"kie/runs/{quote(dag_id, safe='')}/{quote(run_id, safe='')}/{page}"


def _place(operator: BaseOperator) -> tuple[Any, Any]:
    prefix = getattr(operator, "prefix", None)
    return getattr(operator, "bucket", None), prefix.strip("/") if isinstance(prefix, str) else prefix
