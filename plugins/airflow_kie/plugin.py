"""The Airflow plugin: song pages and callback receiver in the api-server.

Every Airflow process loads plugins, each task process too, so nothing is imported here that costs time; except in a
process that forks tasks, which thereby find imported what each of them would import by itself.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_kie import settings

log = logging.getLogger(__name__)

FORKING = (["scheduler"], ["dag-processor"], ["celery", "worker"])
"""Airflow's commands whose processes fork: the scheduler where the executor is LocalExecutor, a worker of Celery."""
OF_TASKS = (
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow_kie.archive.archiver",
    "airflow_kie.archive.ledger_store",
    "airflow_kie.client.api",
    "airflow_kie.client.http.download",
    "airflow_kie.client.rate_limiter.limiter",
    "airflow_kie.client.rate_limiter.paid_requests",
    "airflow_kie.hooks.archive",
    "airflow_kie.hooks.ledger",
    "airflow_kie.hooks.unarchived",
    "airflow_kie.task_groups.music_cover",
    "airflow_kie.transfers.kie_to_s3",
    "airflow_kie.triggers.task",
    "PIL.Image",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "tinytag",
)
"""What the tasks of this package use."""


def prepare_forks(arguments: Sequence[str]) -> bool:
    """Import what tasks use, in a process that forks them, and return whether this is one.

    It loads the certificates, makes one S3 client and forgets it: what botocore reads for that stays. Half a
    processor-second once, instead of in each task.

    :param arguments: those of the process's command.
    """
    if not any(list(arguments[: len(command)]) == command for command in FORKING):
        return False
    try:
        for name in OF_TASKS:
            importlib.import_module(name)
        importlib.import_module("airflow_kie.client.http.bounded").trusted_certificates()
        importlib.import_module("airflow_kie.hooks.archive").prepare_clients()
    except Exception as error:  # noqa: BLE001 - each task imports what it needs, then
        log.warning("Tasks will start more slowly: %s", error)
    return True


prepare_forks(sys.argv[1:])


class LateApp:
    """What the api-server mounts: builds the real app with its first request, since most processes never get one."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request (ASGI)."""
        if self._app is None:
            from airflow_kie.web.app import create_app

            self._app = create_app()
        await self._app(scope, receive, send)


OURS = {"dag.tags.name": ["kie"]}
"""DAGs with this tag have the tabs, from Airflow 3.4 on; 3.3 reads no such condition."""
TABS = (
    {
        "name": "Songs",
        "href": "kie/runs/{DAG_ID}/{RUN_ID}",
        "destination": "dag_run",
        "url_route": "kie-run",
        "applies_to": OURS,
    },
    {
        "name": "Song",
        "href": "kie/runs/{DAG_ID}/{RUN_ID}/tasks/{TASK_ID}/{MAP_INDEX}",
        "destination": "task_instance",
        "url_route": "kie-song",
        "applies_to": OURS,
    },
)
"""On the pages of a run and of a task: of our DAGs; with Airflow 3.3, which cannot tell them apart, of all."""


class KiePlugin(AirflowPlugin):
    """Mounts the song pages and, if `[kie] receiver` is on, the receiver at ``/kie``."""

    name = "kie"
    fastapi_apps = [{"app": LateApp(), "url_prefix": "/kie", "name": "KIE song pages and callbacks"}]
    # Without a slash before them: Airflow's pages name their base, which holds the path of `[api] base_url`.
    external_views = [
        {
            "name": "KIE library",
            "href": "kie/library",
            "destination": "nav",
            "category": "browse",
            "url_route": "kie-library",
        },
        {
            "name": "KIE status",
            "href": "kie/status",
            "destination": "nav",
            "category": "browse",
            "url_route": "kie-status",
        },
        *(TABS if settings.flag("tabs", True) else ()),
    ]
