"""The Airflow plugin: song pages and callback receiver in the api-server.

Every Airflow process loads plugins, each task process too, so nothing is imported here that costs time.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin


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
            "name": "Songs",
            "href": "kie/runs/{DAG_ID}/{RUN_ID}",
            "destination": "dag_run",
            "url_route": "kie-run",
        },
        {
            "name": "Song",
            "href": "kie/runs/{DAG_ID}/{RUN_ID}/tasks/{TASK_ID}/{MAP_INDEX}",
            "destination": "task_instance",
            "url_route": "kie-song",
        },
    ]
