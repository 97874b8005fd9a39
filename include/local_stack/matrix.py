"""``./run matrix``: the tests on other versions of Airflow and of everything else, and the table of what passed.

Each row is an environment of its own in ``.local/matrix``. The table in docs/compatibility.md is written by the runs: a
row, or a part of it, that was not run keeps its line.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

from local_stack.checks import Count, clean_environment, pytest_command, read_report
from local_stack.guardian import fork_guardian
from local_stack.install import pip_settings, uv_environment
from local_stack.settings import PROJECT

FOLDER = PROJECT / ".local" / "matrix"
PAGE = PROJECT / "docs" / "compatibility.md"
_NEXT = {"apache-airflow": "3.4.0b1", "apache-airflow-core": "3.4.0b1", "apache-airflow-task-sdk": "1.4.0b1"}
ROWS: Mapping[str, tuple[str, ...]] = {
    "lowest": ("--resolution", "lowest-direct", "-r", "pyproject.toml", "--all-extras"),
    "newest": ("-r", "pyproject.toml", "--all-extras"),
    "next": ("-r", "pyproject.toml", "--all-extras", *(f"{name}>={version}" for name, version in _NEXT.items())),
}
"""What `uv pip install` is given: the lowest versions that the package allows, the newest ones, and Airflow's next."""
TOOL_FILES = ("requirements-dev.in", "requirements-distributed.in")
PARTS = ("unit", "contract", "integration", "system")
OF_THE_LOCK = (
    *("--deselect", "tests/unit/project/test_licences.py"),
    *("--deselect", "tests/integration/project/test_lock_platforms.py"),
    *("--deselect", "tests/integration/project/test_package_wheel.py"),
)
"""Tests of the lock and of what is installed from it, which another environment does not have."""
_LINE = re.compile(r"^\| (?P<row>[^|]+) \| (?P<python>[^|]+) \| (?P<rest>.*) \|$", re.M)
_TABLE = re.compile(r"(?<=<!-- matrix -->\n).*?(?=<!-- /matrix -->)", re.S)
_HEAD = "| versions | Python | Airflow | date | parts | passed | failed |\n|---|---|---|---|---|---|---|\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"any of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="parts of the tests (default: all)")
    parser.add_argument(
        "--python", default=sys.executable, help="another interpreter, such as python3.14 (default: this one)"
    )
    parser.epilog = "It takes about half an hour per row, and writes the results to docs/compatibility.md."


def run(options: argparse.Namespace) -> int:
    """Run the tests in each row's environment and write the table.

    :param options: ``rows``, ``parts``, ``python``.
    :return: exit code: 0 when every test of every row passed.
    """
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        raise SystemExit(f"./run matrix: unknown row {', '.join(sorted(unknown))}; known are {', '.join(ROWS)}")
    mark = uuid.uuid4().hex
    fork_guardian(mark, own_session=False)
    failed = 0
    for name in options.rows or ROWS:
        folder = FOLDER / f"{name}-{Path(options.python).name}"
        python = _environment(folder, name, options.python)
        counts = [_count(python, part, folder, mark) for part in options.parts]
        total = sum(counts, Count())
        failed += total.failed
        cells = (_versions(python), datetime.date.today().isoformat(), ", ".join(options.parts))  # noqa: DTZ011
        (version, airflow), day, parts = cells
        _write(name, f"Python {version}", f"{airflow} | {day} | {parts} | {total.passed:,} | {total.failed}")
        print(f"{name}: Airflow {airflow}, Python {version}: {total.passed} passed, {total.failed} failed", flush=True)
    return 1 if failed else 0


def _environment(folder: Path, name: str, interpreter: str) -> Path:
    """Make a row's environment; the tests' own tools are the lock's, the newest that fit."""
    python, uv = folder / "bin" / "python", [str(Path(sys.executable).with_name("uv"))]
    settings = pip_settings([sys.executable, "-m", "pip"])
    environment = uv_environment(settings, {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"})
    for step in (
        ["venv", "-q", "--clear", "--seed", "--no-project", "--python", interpreter, str(folder)],
        ["pip", "install", "-q", "--python", str(python), *ROWS[name]],
        ["pip", "freeze", "-q", "--python", str(python)],
    ):
        print(f"$ uv {' '.join(step)}", flush=True)
        done = subprocess.run([*uv, *step], cwd=PROJECT, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    held, wanted = folder / "constraints.txt", folder / "tools.in"
    held.write_text(done.stdout)
    wanted.write_text("".join(_tools()))
    limits = ["-c", str(held), "-c", "constraints.txt"]
    tools = ["pip", "install", "-q", "--python", str(python), *limits, "-r", str(wanted)]
    project = ["pip", "install", "-q", "--python", str(python), "--no-deps", "--no-build-isolation", "-e", "."]
    for step in (tools, project):
        print(f"$ uv {' '.join(step)}", flush=True)
        subprocess.run([*uv, *step], cwd=PROJECT, env=environment, check=True)
    return python


def _tools() -> list[str]:
    """Return what the tests need besides the package: the names in the files from which the lock is made, unpinned."""
    lines = [line for file in TOOL_FILES for line in (PROJECT / file).read_text().splitlines(keepends=True)]
    return [line for line in lines if line[0].isalpha()]


def _count(python: Path, part: str, folder: Path, mark: str) -> Count:
    home = folder / f"airflow-{part}-{uuid.uuid4().hex[:6]}"
    command = pytest_command([part], ["-q", *OF_THE_LOCK], folder)
    print(f"$ pytest tests/{part}", flush=True)
    done = subprocess.run([str(python), *command[1:]], cwd=PROJECT, env=clean_environment(mark, home))
    return read_report(folder / f"{part}.xml", done.returncode)


def _versions(python: Path) -> tuple[str, str]:
    """Return the versions of Python and of Airflow in an environment."""
    code = "import platform, importlib.metadata as m; print(platform.python_version(), m.version('apache-airflow'))"
    found = subprocess.run([str(python), "-c", code], stdout=subprocess.PIPE, check=True, text=True).stdout.split()
    return found[0], found[1]


def _write(name: str, python: str, rest: str) -> None:
    """Put a row's line into the page's table, in place of an earlier one with the same parts."""
    page = PAGE.read_text()
    table = _TABLE.search(page)
    lines = {(m["row"], m["python"], _parts(m["rest"])): m["rest"] for m in _LINE.finditer(table[0] if table else "")}
    lines.pop(("versions", "Python", "parts"), None)
    lines[(name, f"{python}, {platform.system()} {platform.machine()}", _parts(rest))] = rest
    rows = "".join(f"| {row} | {version} | {cells} |\n" for (row, version, _), cells in sorted(lines.items()))
    PAGE.write_text(_TABLE.sub(lambda _: _HEAD + rows, page))


def _parts(rest: str) -> str:
    """Return the parts that a line tells of; its cells are Airflow, date, parts, passed, failed."""
    return rest.split(" | ")[2]
