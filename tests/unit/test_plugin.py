"""The plugin that every Airflow process loads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_kie import plugin

PROJECT = Path(__file__).parents[2]


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


def test_a_process_that_forks_tasks_has_imported_what_they_use() -> None:
    program = "import sys, airflow_kie.plugin as plugin; print(*[name in sys.modules for name in plugin.OF_TASKS])"
    command = [sys.executable, "-c", program, "celery", "worker", "--queues", "default"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"True"}
    assert "more slowly" not in done.stderr


def test_the_tabs_on_every_dag_can_be_switched_off() -> None:
    program = "import airflow_kie.plugin as it; print(*[view['name'] for view in it.KiePlugin.external_views], sep=',')"

    def names(**environment: str) -> str:
        environment = {**os.environ, **environment}
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
        ).stdout.splitlines()[-1]

    assert names() == "KIE library,KIE status,Songs,Song"
    assert names(AIRFLOW__KIE__TABS="False") == "KIE library,KIE status"


def test_the_tabs_are_for_dags_with_our_tag_where_airflow_can_tell_them_apart() -> None:
    assert [view.get("applies_to") for view in plugin.KiePlugin.external_views] == [
        *(None, None, {"dag.tags.name": ["kie"]}, {"dag.tags.name": ["kie"]})
    ]
    tags = [re.search(r"^    tags=(.*),$", file.read_text(), re.M) for file in (PROJECT / "dags").glob("*.py")]
    assert tags and all(found and '"kie"' in found[1] for found in tags)


@pytest.mark.parametrize(
    "command", ["api-server", "triggerer", "kie scheduler", "celery flower", "dags test scheduler"]
)
def test_a_process_that_forks_no_tasks_imports_nothing_for_them(command: str) -> None:
    assert not plugin.prepare_forks(command.split())


@pytest.mark.parametrize("command", ["scheduler", "dag-processor --verbose", "celery worker"])
def test_whatever_follows_its_command_a_process_that_forks_tasks_is_known(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "OF_TASKS", ())
    assert plugin.prepare_forks(command.split())


def test_a_process_that_cannot_import_for_its_tasks_starts_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plugin, "OF_TASKS", ("no_such_module",))
    assert plugin.prepare_forks(["scheduler"])
    assert "Tasks will start more slowly: No module named 'no_such_module'" in caplog.text
