"""``./run test``: lint, types and the tests, or the parts of them that a person names."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local_stack.environment import base_environment
from local_stack.guardian import fork_guardian
from local_stack.settings import PROJECT

TOOLS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "lint": (("ruff", "check", "."), ("ruff", "format", "--check", ".")),
    "types": (("mypy",), ("mypy", "include/local_stack", "include/kie_simulator", "include/fault_suite")),
}
TESTS = ("unit", "contract", "integration", "system")  # the quick ones first
ON_REQUEST = ("faults",)  # minutes of killing processes, in which a busy machine loses more than it shows
PARTS = (*TOOLS, *TESTS, *ON_REQUEST)


@dataclass(frozen=True)
class Count:
    """How many checks passed and failed; a lint or type check counts as one."""

    passed: int = 0
    failed: int = 0

    def __add__(self, other: Count) -> Count:
        """Add two counts."""
        return Count(self.passed + other.passed, self.failed + other.failed)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "parts",
        nargs=argparse.REMAINDER,
        metavar="PART …",
        help=f"any of {', '.join(PARTS)} (default: all but {', '.join(ON_REQUEST)}), then options for pytest",
    )


def run(options: argparse.Namespace) -> int:
    """Run the checks; none stops the others. The last line says ``N passed, N failed``.

    :param options: ``parts``: names of parts, then options for pytest.
    :return: exit code: 0 only when something ran and nothing failed.
    """
    parts, further = split(options.parts)
    mark = uuid.uuid4().hex
    fork_guardian(mark, own_session=False)  # a killed ./run leaves no tests running
    environment = clean_environment(mark)
    total = Count()
    for part in parts:
        for command in TOOLS.get(part, ()):
            total += run_tool(command, environment)
    folders = [part for part in parts if part in (*TESTS, *ON_REQUEST) and (PROJECT / "tests" / part).is_dir()]
    if folders:
        total += run_tests(folders, further, environment)
    print(f"{total.passed} passed, {total.failed} failed", flush=True)
    return 0 if total.passed and not total.failed else 1


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell names of parts from options for pytest.

    :param arguments: what stands after ``./run test``.
    :return: the parts in the order in which they run, all but those on request where none is named; and the rest.
    """
    named = []
    rest = list(arguments)
    while rest and rest[0] in PARTS:
        named.append(rest.pop(0))
    if rest and not rest[0].startswith("-"):
        raise SystemExit(f"./run test: no part is called {rest[0]!r}; there are {', '.join(PARTS)}")
    everything = [*TOOLS, *TESTS] if not rest else [*TESTS]  # options for pytest alone mean the tests
    return [part for part in PARTS if part in (named or everything)], rest


def run_tool(command: Sequence[str], environment: Mapping[str, str]) -> Count:
    """Run a checker of the environment; it counts as one check."""
    print(f"$ {' '.join(command)}", flush=True)
    done = subprocess.run([sys.executable, "-m", *command], cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL)
    return Count(passed=1) if done.returncode == 0 else Count(failed=1)


def run_tests(folders: Sequence[str], further: Sequence[str], environment: Mapping[str, str]) -> Count:
    """Run pytest over test folders.

    :param folders: names below ``tests/``.
    :param further: options for pytest.
    """
    print(f"$ pytest {' '.join(f'tests/{folder}' for folder in folders)} {' '.join(further)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        paths = [f"tests/{name}" for name in folders]
        command = [sys.executable, "-m", "pytest", *paths, f"--junitxml={report}", *further]
        done = subprocess.run(command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL)
        return read_report(report, done.returncode)


def read_report(report: Path, exit_code: int) -> Count:
    """Count what a pytest run reported.

    :param report: its JUnit file; a run that broke down may have left none.
    :param exit_code: pytest's own: 0 all passed, 1 some failed, 5 nothing was collected, others: it broke down.
    """
    total = Count()
    if report.exists():
        for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314 - written by pytest a moment ago
            number = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
            failed = number["failures"] + number["errors"]
            total += Count(number["tests"] - failed - number["skipped"], failed)
    broke_down = exit_code not in (0, 5) and not total.failed
    return total + Count(failed=1) if broke_down else total


def clean_environment(mark: str) -> dict[str, str]:
    """Return an environment for tests that knows no key, no account and no other Airflow of the person.

    :param mark: KIE_STACK_ID of this run's processes.
    """
    environment = base_environment(mark, os.environ)
    home = PROJECT / ".local" / "test-airflow"  # importing Airflow makes its home; not ~/airflow
    home.mkdir(parents=True, exist_ok=True)
    return {**environment, "PYTHONPATH": str(PROJECT / "include"), "AIRFLOW_HOME": str(home)}
