"""The pool for creating tasks in Airflow's own scheduler: what it notes of the pool, and which tasks it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[3]
OTHERS = ["archive_to_s3", "cover_details", "music_complete", "report", "song_list"]


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give what the scheduler noted and started for each state of the pool."""
    home = tmp_path_factory.mktemp("scheduler")
    process = subprocess.run(
        [sys.executable, str(PROJECT / "tests" / "airflow_scheduling.py"), str(PROJECT / "dags"), "kie_creates"],
        cwd=home,
        env={
            "PATH": os.environ["PATH"],
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
            "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-this-test-that-is-long-enough-for-its-algorithm-0123456789",
            "AIRFLOW__KIE__CREATE_POOL": "kie_creates",
        },
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-4000:]
    told: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize(("state", "said"), [("missing", "no such pool"), ("running only", "deferred tasks")])
def test_a_pool_that_cannot_be_used_is_noted_when_a_run_starts(decided: dict[str, Any], state: str, said: str) -> None:
    assert said in decided[state]["noted"]["problem"]


@pytest.mark.parametrize("state", ["closed", "open"])
def test_a_pool_in_order_is_noted_too(decided: dict[str, Any], state: str) -> None:
    assert decided[state]["noted"] == {"pool": "kie_creates", "problem": ""}


def test_a_pool_without_slots_stops_the_paying_task_and_no_other(decided: dict[str, Any]) -> None:
    assert decided["closed"]["started"] == OTHERS
    assert decided["open"]["started"] == sorted([*OTHERS, "generate_cover"])


def test_a_task_in_a_pool_that_does_not_exist_would_wait_without_a_word(decided: dict[str, Any]) -> None:
    assert decided["missing"]["started"] == OTHERS
