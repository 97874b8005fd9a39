"""The plugin that every Airflow process loads."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


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


@pytest.mark.parametrize(
    ("command", "forks"),
    [
        (["scheduler"], True),
        (["celery", "worker", "--queues", "default"], True),
        (["dag-processor"], True),
        (["api-server"], False),
        (["triggerer"], False),
        (["kie", "scheduler"], False),
    ],
)
def test_only_a_process_that_forks_tasks_imports_what_they_use(command: list[str], forks: bool) -> None:
    program = "import sys, airflow_kie.plugin as plugin; print(*[name in sys.modules for name in plugin.OF_TASKS])"
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {str(forks)}
    assert "more slowly" not in done.stderr


def test_a_process_that_cannot_import_for_its_tasks_starts_all_the_same() -> None:
    program = (
        "import sys, airflow_kie.plugin as plugin\n"
        "plugin.OF_TASKS = ('no_such_module',)\n"
        "print(plugin.prepare_forks(['scheduler']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "True"
    assert "Tasks will start more slowly: No module named 'no_such_module'" in done.stdout + done.stderr
