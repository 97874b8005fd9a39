"""A task of Airflow reads the switch through Airflow's own task API and database, as on a worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = '''
import json, os, sys
from pathlib import Path

DAG_FILE = """
from airflow.sdk import DAG, task
from airflow_kie.client.errors import KieSpendingStopped
from airflow_kie.hooks.spending_switch import SpendingSwitch

with DAG("asks"):
    @task
    def ask():
        try:
            SpendingSwitch("main").check()
        except KieSpendingStopped as stopped:
            return str(stopped)
        return "may"
    ask()
"""
dags = Path(os.environ["AIRFLOW_HOME"], "dags")
dags.mkdir(parents=True)
(dags / "asks.py").write_text(DAG_FILE)

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models.xcom import XComModel
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_kie._airflow_private import variables
from airflow_kie.hooks.spending_switch import key_of

initdb()
DagBundlesManager().sync_bundles_to_db()
bag = DagBag(str(dags / "asks.py"), bundle_path=dags, bundle_name="dags-folder")
assert bag.import_errors == {}, bag.import_errors
sync_bag_to_db(bag, "dags-folder", None)


def asked():
    run = bag.dags["asks"].test()
    with create_session() as session:
        found = session.scalars(select(XComModel.value).where(XComModel.run_id == run.run_id)).all()
    return found


told = [asked()]
variables.write_variable(key_of("main"), '{"by": "jane", "at": "2026-11-28T20:15:00+00:00", "reason": "a loop"}', "")
told.append(asked())
variables.write_variable(key_of("main"), "off", "")
told.append(asked())
variables.delete_variable(key_of("main"))
told.append(asked())
print("TOLD " + json.dumps(told))
'''


def test_a_task_sees_through_airflows_task_api_what_stands_in_the_database(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "home" / "dags"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=300)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("TOLD ")] or [done.stderr[-3000:]]
    (first,), (stopped,), (damaged,), (last,) = json.loads(line.removeprefix("TOLD "))
    assert "may" in first and "may" in last
    assert "jane has stopped new paid tasks of account main on 28 Nov 2026 20:15 UTC" in stopped
    assert "cannot be understood" in damaged
