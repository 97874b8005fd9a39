"""Runs a DAG with `dag.test()` in a process of its own, and prints what became of its tasks as JSON.

    python airflow_dag_test.py <dag file> <dag id> [<another dag file> ...]

Each line of standard input is the conf of a run as JSON; `_dag` in it names another DAG than the first. Each run ends
with a line of JSON among what it logs. `AIRFLOW_HOME` names a home of its own. Deferrals run inline, one task after the
other; the task state store and XComs are real. Only the pauses between reads are shorter than in life, 8 s and more for
every song would come together, and so is the minute for which KIE may not show a task yet.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any


def main(file: str, dag_id: str, *others: str) -> None:
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.utils.db import initdb

    from airflow_kie import settings
    from airflow_kie.lifecycle import rules

    vars(rules)["seconds_to_next_read"] = lambda *age, **cadence: 0.3
    configured = settings.rules
    vars(settings)["rules"] = lambda *asked: replace(configured(*asked), visible_after=2.0)
    initdb()
    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]

    def parsed(*files: str) -> DagBag:
        bag = DagBag(files[0], bundle_path=Path(file).parent, bundle_name="dags-folder")
        for other in files[1:]:
            bag.collect_dags(other, only_if_updated=False)
        assert bag.import_errors == {}, bag.import_errors
        return bag

    bag = parsed(file, *others)
    sync_bag_to_db(bag, "dags-folder", None)
    for line in sys.stdin:
        conf = json.loads(line)
        name = conf.pop("_dag", dag_id)
        # Parsed again, as before each task in life: Airflow writes a run's conf into the Params of the DAG's object.
        run = parsed(bag.dags[name].fileloc).dags[name].test(run_conf=conf)
        tasks = [
            {"task_id": ti.task_id, "map_index": ti.map_index, "state": str(ti.state), "tries": ti.try_number}
            for ti in run.get_task_instances()
        ]
        told = {"state": str(run.state), "tasks": tasks, "run_id": run.run_id, "logged": _logged(run.run_id)}
        print(json.dumps(told), file=sys.__stdout__, flush=True)


def _logged(run_id: str) -> list[dict[str, Any]]:
    """Return what Airflow's own log of events says of a run's tasks, with the names of its REST API."""
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import select

    names = ("event", "task_id", "map_index", "try_number")
    with create_session() as session:
        rows = session.scalars(select(Log).where(Log.run_id == run_id, Log.task_id.is_not(None)))
        return [{name: getattr(row, name) for name in names} for row in rows]


if __name__ == "__main__":
    main(*sys.argv[1:])
