"""The song pages as an api-server mounts them, in a process of its own: Airflow's login, its database, real HTTP.

    python song_pages_server.py <JSON: rows of runs> <file>

`AIRFLOW_HOME` names a home of its own. Once it listens, the file has its port and a token for each user.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

READS: dict[str, set[str]] = {
    "nobody": set(),
    "cover_reader": {"music_cover"},
    "own_reader": {"own_dag"},
    "viewer": {"music_cover", "own_dag", "other_dag"},
    "editor": {"music_cover", "own_dag"},
    "own_editor": {"music_cover", "own_dag"},
    "chooser": {"music_cover"},
}
"""Users, and the DAGs that each may read."""
TRIGGERS: dict[str, set[str]] = {
    "editor": {"music_cover", "music_generate"},
    "own_editor": {"own_dag"},
    "chooser": {"music_cover"},
}
"""Users, and the DAGs that each may trigger."""

if __name__ != "__main__":
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    class PerDagAuthManager(SimpleAuthManager):
        """Airflow's simple login, with rights for each DAG as other auth managers have them."""

        def is_authorized_dag(self, *, method: Any, user: Any, access_entity: Any = None, details: Any = None) -> bool:
            """Say whether a user may read or trigger a DAG."""
            may = {"GET": READS, "POST": TRIGGERS}.get(method, {})
            return details is not None and details.id in may.get(user.username, set())


def fill(runs: list[dict[str, Any]]) -> None:
    """Store runs as the scheduler and the workers of Airflow do, as far as the pages read it.

    Jane has stopped the new paid tasks of account ``held``.

    :param runs: ``dag_id``, ``run_id``, ``state``, ``archived``: extras of the cover asset's events, in their order,
        and ``tasks``: operator, task_id, map_index, xcoms, rendered.
    """
    from airflow import settings
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from sqlalchemy import insert, text

    import_all_models()
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.dagrun import DagRun
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.variable import Variable
    from uuid6 import uuid7

    from airflow_kie.assets import CHOSEN, COVER

    now = datetime.now(UTC)
    engine = settings.get_engine()
    Base.metadata.create_all(engine)
    xcoms, instances = table_of_xcoms(), TaskInstance.__table__
    with engine.begin() as connection:
        connection.execute(text("PRAGMA foreign_keys=OFF"))
        asset = {"id": 1, "name": COVER.name, "uri": COVER.uri, "group": "asset", "extra": {}}
        connection.execute(insert(AssetModel.__table__).values(**asset, created_at=now, updated_at=now))
        chosen = {"id": 2, "name": CHOSEN.name, "uri": CHOSEN.uri, "group": "asset", "extra": {}}
        connection.execute(insert(AssetModel.__table__).values(**chosen, created_at=now, updated_at=now))
        for minute, extra in enumerate(extra for run in runs for extra in run.get("archived", [])):
            connection.execute(
                insert(AssetEvent.__table__).values(
                    asset_id=1, extra=extra, source_map_index=-1, timestamp=now + timedelta(minutes=minute)
                )
            )
        stopped = {"by": "jane@bastion", "at": "2026-11-28T20:15:00+00:00", "reason": "a <b>loop</b>"}
        switch = {"key": "kie_spending_stopped__held", "val": json.dumps(stopped), "is_encrypted": False}
        connection.execute(insert(Variable.__table__).values(**switch))
        for number, run in enumerate(runs, start=1):
            names = {"dag_id": run["dag_id"], "run_id": run["run_id"]}
            connection.execute(
                insert(DagRun.__table__).values(
                    id=number, **names, state=run["state"], run_type="manual", run_after=now
                )
            )
            for task in run["tasks"]:
                which = {**names, "task_id": task["task_id"], "map_index": task["map_index"]}
                instance = uuid7()
                begun = {"id": instance, "operator": task["operator"], "pool": "p", "pool_slots": 1, "try_number": 1}
                connection.execute(insert(instances).values(**in_columns(instances, which), **begun))
                for key, value in task.get("xcoms", {}).items():
                    whose = {"dag_run_id": number} if "dag_run_id" in xcoms.c else {}
                    stored = {**owner(xcoms, instance, which), **whose, "key": key, "value": value, "timestamp": now}
                    connection.execute(insert(xcoms).values(**stored))
                if "rendered" in task:
                    fields = RenderedTaskInstanceFields.__table__
                    connection.execute(
                        insert(fields).values(**owner(fields, instance, which), rendered_fields=task["rendered"])
                    )


def table_of_xcoms() -> Any:
    """Return the table of XComs; from 3.4 on its rows name their task instance by its id."""
    from airflow.models import xcom

    return getattr(xcom, "XComModelV2", xcom.XComModel).__table__


def in_columns(table: Any, which: dict[str, Any]) -> dict[str, Any]:
    """Return which task instance it is, in a table's own columns: `map_index` is `region_index` from 3.4 on."""
    return {"region_index" if key == "map_index" and key not in table.c else key: which[key] for key in which}


def owner(table: Any, instance: Any, which: dict[str, Any]) -> dict[str, Any]:
    """Return what a row of a task instance names it by: its id from 3.4 on."""
    return {"task_instance_id": instance} if "task_instance_id" in table.c else which


def main(runs: str, started: str) -> None:
    """Serve until standard input ends."""
    fill(json.loads(runs))
    import uvicorn
    from airflow.api_fastapi.app import init_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi import FastAPI

    from airflow_kie.plugin import KiePlugin
    from airflow_kie.web.app import create_app

    app = FastAPI(root_path="/airflow")  # as with [api] base_url = https://airflow.example.com/airflow
    (mounted,) = KiePlugin.fastapi_apps
    app.mount(mounted["url_prefix"], mounted["app"])
    os.environ["AIRFLOW__KIE__RECEIVER"] = "False"
    app.mount("/closed", create_app())
    os.environ["AIRFLOW__KIE__RECEIVER"] = "True"  # the other one is built with its first request
    login = init_auth_manager(app)
    # Connections are kept for longer than the tests' clients keep them: see kie_simulator.server.
    kept = {"lifespan": "off", "ws": "none", "timeout_keep_alive": 75}
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, **kept)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    tokens = {name: login.generate_jwt(SimpleAuthManagerUser(username=name, role="viewer")) for name in READS}
    port = server.servers[0].sockets[0].getsockname()[1]
    Path(started + ".new").write_text(json.dumps({"port": port, "tokens": tokens}))
    Path(started + ".new").rename(started)
    sys.stdin.read()
    server.should_exit = True
    thread.join(10)


if __name__ == "__main__":
    main(*sys.argv[1:])
