"""./run test: which parts run, and what its last line says."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack import checks
from local_stack.checks import Count, read_report, split

TESTS = """
def test_passes(): pass
def test_passes_too(): pass
def test_fails(): assert False
"""


def test_without_names_everything_runs_quick_parts_first() -> None:
    assert split([]) == (["lint", "types", "unit", "contract", "integration", "system"], [])


def test_named_parts_run_in_their_order() -> None:
    assert split(["system", "lint"]) == (["lint", "system"], [])


def test_what_follows_the_parts_goes_to_pytest() -> None:
    assert split(["unit", "-k", "foo"]) == (["unit"], ["-k", "foo"])


def test_options_alone_mean_the_tests() -> None:
    assert split(["-x"]) == (["unit", "contract", "integration", "system"], ["-x"])


def test_a_part_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(SystemExit, match="no part is called 'units'; there are lint, types, unit"):
        split(["units"])


def pytest_report(folder: Path, text: str) -> tuple[Path, int]:
    """Run real tests and return their report and exit code."""
    (folder / "test_sample.py").write_text(text)
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(folder), f"--junitxml={report}"]
    done = subprocess.run(
        [*command, str(folder)], cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    return report, done.returncode


def test_passed_and_failed_tests_are_counted(tmp_path: Path) -> None:
    assert read_report(*pytest_report(tmp_path, TESTS)) == Count(passed=2, failed=1)


def test_a_run_that_breaks_down_counts_as_failed(tmp_path: Path) -> None:
    assert read_report(*pytest_report(tmp_path, "def broken(:\n")).failed == 1
    assert read_report(tmp_path / "none.xml", 3) == Count(failed=1)


def test_a_run_that_finds_no_test_counts_nothing(tmp_path: Path) -> None:
    assert read_report(*pytest_report(tmp_path, "")) == Count()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one part of tests."""
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    monkeypatch.setattr(checks, "PROJECT", tmp_path)
    return tmp_path


def last_line(capfd: pytest.CaptureFixture[str]) -> str:
    """Return the last line of what was printed."""
    return capfd.readouterr().out.splitlines()[-1]


def test_the_last_line_counts_and_the_exit_code_agrees(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (project / "tests" / "unit" / "test_sample.py").write_text(TESTS)
    assert checks.run(argparse.Namespace(parts=["unit"])) == 1
    assert last_line(capfd) == "2 passed, 1 failed"
    assert checks.run(argparse.Namespace(parts=["unit", "-k", "passes"])) == 0
    assert last_line(capfd) == "2 passed, 0 failed"


def test_a_run_of_nothing_is_no_success(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert checks.run(argparse.Namespace(parts=["unit"])) == 1
    assert last_line(capfd) == "0 passed, 0 failed"
