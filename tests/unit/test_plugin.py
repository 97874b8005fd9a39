"""The plugin that every Airflow process loads."""

from __future__ import annotations

import json
import subprocess
import sys


def test_loading_the_plugin_builds_no_app_and_loads_nothing_of_the_pages() -> None:
    program = (
        "import sys, json, airflow_kie.plugin as plugin\n"
        "ours = [name for name in sys.modules if name.startswith('airflow_kie.')]\n"
        "(app,) = plugin.KiePlugin.fastapi_apps\n"
        "print(json.dumps([ours, 'boto3' in sys.modules, app['url_prefix'], app['app']._app]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    ours, boto3, prefix, built = json.loads(done.stdout.splitlines()[-1])
    assert [name for name in ours if name.startswith(("airflow_kie.web", "airflow_kie.archive"))] == []
    assert (boto3, prefix, built) == (False, "/kie", None)
