"""The Airflow plugin: the callback receiver in the api-server, if `[kie] receiver` is on, and in the scheduler a look
at the pool that `[kie] create_pool` names.

Every Airflow process loads plugins, each task process too, so nothing is imported here that costs time.
"""

from __future__ import annotations

import sys
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_kie import settings


def _apps() -> list[dict[str, Any]]:
    """Return the receiver's app where it is to be served: installing the package opens nothing."""
    if not {"api-server", "standalone"} & set(sys.argv) or not settings.flag("receiver"):
        return []
    from airflow_kie.webhook.airflow_world import AirflowWorld
    from airflow_kie.webhook.receiver import create_app

    return [{"app": create_app(AirflowWorld()), "url_prefix": "/kie", "name": "KIE callbacks"}]


def _listeners() -> list[Any]:
    """Return the scheduler's look at the pool for creating tasks, where one is configured."""
    if ("scheduler" not in sys.argv and "standalone" not in sys.argv) or not settings.text("create_pool"):
        return []
    from airflow_kie.listener import CreatePoolListener

    return [CreatePoolListener()]


class KiePlugin(AirflowPlugin):
    """Mounts the callback receiver at ``/kie``."""

    name = "kie"
    fastapi_apps = _apps()
    listeners = _listeners()
