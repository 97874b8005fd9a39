"""The workflow for the public host: every Python that the package names, each with that Python, and the release."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from local_stack.settings import PROJECT


@pytest.fixture
def jobs() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((PROJECT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    return found


def test_every_python_of_the_package_runs_what_ci_runs_here_with_that_python(jobs: dict[str, Any]) -> None:
    named = re.findall(r"Python :: (3\.\d+)", (PROJECT / "pyproject.toml").read_text())
    assert jobs["test"]["strategy"]["matrix"]["python"] == named
    (step,) = [step for step in jobs["test"]["steps"] if step.get("run") == ".ci/run"]
    assert step["env"] == {"KIE_PYTHON": "python${{ matrix.python }}"}
    assert "${KIE_PYTHON:+" in (PROJECT / "run").read_text()  # is asked before the newest one


def test_the_release_is_tried_and_no_secret_is_named(jobs: dict[str, Any]) -> None:
    assert [step["run"] for step in jobs["release"]["steps"] if "run" in step] == ["./run release --dry-run"]
    assert "secrets." not in (PROJECT / ".github" / "workflows" / "ci.yml").read_text()


def test_the_hooks_of_pre_commit_are_the_checks_of_lint() -> None:
    from local_stack.checks import TOOLS

    (repo,) = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook["entry"].partition(".venv/bin/")[2].removeprefix("python -m ") for hook in repo["hooks"]]
    wanted = [" ".join(command) for command in TOOLS["lint"]]
    assert [hook.replace(" --force-exclude", "") for hook in hooks] == [
        word.removesuffix(" .").replace("format --check", "format") for word in wanted
    ]
