"""``./run test``: lint, types and the tests that a person runs at every step, with ``--full`` all, or named parts."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local_stack import docs
from local_stack.environment import base_environment
from local_stack.guardian import fork_guardian
from local_stack.lanes import Lane, clock, side_by_side
from local_stack.programs import missing_packages
from local_stack.settings import PROJECT

TOOLS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "lint": (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("tools.imports",), ("tools.words",)),
    "types": (("mypy",), ("mypy", "include/local_stack", "include/kie_simulator", "include/fault_suite", "tools")),
    "docs": (docs.SPHINX,),
}
ALONE = ("unit",)
SERVERS = ("contract", "integration", "delivery")
TESTS = (*ALONE, *SERVERS)
"""Tests without a stack: what needs nothing beside itself, and what starts a server of its own or another program."""
PIECES = ("unit/operators", "unit/lifecycle", "integration/web")
"""Folders that run in the place of a lane that has ended, so that the lanes take about as long."""
FULL = "--full"
BOTH_FORMS = "KIE_BOTH_FORMS"
"""Set if the tests of paying once run in both of KIE's API variants, which takes twice as long as in one."""
FULL_ONLY = ("faults", "distributed")
"""Parts that a run without names leaves to ``--full``."""
FULL_ONLY_FILES = (
    "browser/test_editor.py",
    "browser/test_on_call.py",
    "integration/cli/test_run.py",
    "integration/client/test_rate_limiter_processes.py",
    "integration/local_stack/test_s3.py",
    "integration/project/test_example_dags.py",
    "integration/project/test_lock_platforms.py",
    "integration/project/test_package_wheel.py",
    "integration/simulator/test_shipped.py",
    "integration/task_groups/test_music_cover_dag.py",
    "integration/web/test_receiver_fuzz.py",
    "system/test_every_medium.py",
    "system/test_invented_operation.py",
    "system/test_signed_upload.py",
    "system/test_song_crashes.py",
    "system/test_song_forms.py",
    "system/test_song_lineage.py",
    "system/test_song_pods.py",
    "system/test_song_release.py",
    "system/test_song_templates.py",
)
"""Files of the other parts that it leaves out too: half a minute to four minutes each, and others try the same way."""
STACKS = ("system", "browser", *FULL_ONLY)
"""Tests on a stack with all its processes, and those in a browser: one at a time, and what runs beside makes way."""
NEEDS: Mapping[str, tuple[str, ...]] = {
    "browser": ("chromium",),
    "delivery": ("exiftool", "eyeD3", "identify", "soxi"),
    "distributed": ("redis-server",),
}
"""Programs without which a part is left out, which is reported, unless it is named."""
SIMULATED = "KIE_SIMULATED_SCHEDULES"
"""Environment variable: how many random runs of the simulated world the unit tests play (tests/simulated)."""
FULL_SIMULATED = 4000
"""How many with ``--full``; each run plays others."""
ON_REQUEST: tuple[str, ...] = ("compose", "monitoring")
"""Parts that run only where they are named."""
PARTS = (*TOOLS, *TESTS, *STACKS, *ON_REQUEST)


@dataclass(frozen=True)
class Count:
    """How many checks passed and failed; a lint or type check counts as one."""

    passed: int = 0
    failed: int = 0

    def __add__(self, other: Count) -> Count:
        """Add two counts."""
        return Count(self.passed + other.passed, self.failed + other.failed)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options: parts, and whatever begins with a dash is pytest's."""
    parser.prefix_chars = "+"
    parser.set_defaults(help=parser.format_help)
    parser.add_argument(
        "parts",
        nargs=argparse.REMAINDER,
        metavar=f"[{FULL} | PART …]",
        help=f"any of {', '.join(PARTS)}; {FULL}: all but {', '.join(ON_REQUEST)} "
        f"(default: those of {FULL} without {', '.join(FULL_ONLY)} and some files); then options for pytest",
    )


def run(options: argparse.Namespace) -> int:
    """Run the checks; none stops the others. The last line says ``N passed, N failed``.

    :param options: ``parts``: ``--full`` or names of parts, then options for pytest.
    :return: exit code: 0 only when something ran and nothing failed.
    """
    if options.parts[:1] in (["-h"], ["--help"]):
        print(options.help())
        return 0
    parts, further = split(options.parts)
    if not set(parts) <= set(options.parts):
        parts = possible(parts)
    mark = uuid.uuid4().hex
    fork_guardian(mark, own_session=False)  # a killed ./run leaves no tests running
    with tempfile.TemporaryDirectory() as folder:
        lanes = [lane for lane in lanes_of(parts, further, Path(folder), mark) if lane.commands]
        total = run_beside(lanes) if len(lanes) > 1 else run_in_turn(lanes)
    print(f"{total.passed} passed, {total.failed} failed", flush=True)
    return 0 if total.passed and not total.failed else 1


def possible(parts: Sequence[str]) -> list[str]:
    """Return the parts that can run here, and say of each other one what it lacks.

    :param parts: names of parts that nobody has asked for by name: one that was named fails, with the same words.
    """
    lacking = {part: missing_packages(NEEDS.get(part, ())) for part in parts}
    for part, packages in lacking.items():
        if packages:
            print(f"{part} is left out. To run it: apt-get install {' '.join(packages)}", flush=True)
    return [part for part in parts if not lacking[part]]


def lanes_of(parts: Sequence[str], further: Sequence[str], folder: Path, mark: str) -> list[Lane]:
    """Return the commands of parts: those with a stack in one lane, all others in lanes that make way.

    :param parts: names of parts.
    :param further: options for pytest.
    :param folder: where pytest's reports go, and what Airflow writes.
    :param mark: KIE_STACK_ID of this run's processes.
    """
    there = [part for part in parts if (PROJECT / "tests" / part).is_dir()]
    more = {BOTH_FORMS: "1", SIMULATED: str(FULL_SIMULATED)} if set(FULL_ONLY) & set(parts) else {}

    def lane(name: str, commands: Sequence[Sequence[str]], *, yields: bool = True, fills: bool = False) -> Lane:
        environment = {**clean_environment(mark, folder / f"airflow-{name}"), **more}
        return Lane(commands, environment, yields=yields, fills=fills)

    def tests(named: Sequence[str], *options: str) -> list[Sequence[str]]:
        return [pytest_command(named, [*options, *further], folder)] if named else []

    alone, servers = ([part for part in there if part in group] for group in (ALONE, SERVERS))
    pieces = PIECES if alone and servers else ()
    without = [f"--ignore=tests/{piece}" for piece in pieces]
    tools = [(sys.executable, "-m", *command) for part in parts for command in TOOLS.get(part, ())]
    stacks = [pytest_command([part], further, folder) for part in there if part in (*STACKS, *ON_REQUEST)]
    return [
        lane("stacks", stacks, yields=False),
        lane("alone", tests(alone, *without)),
        lane("servers", [*tools, *tests(servers, *without)]),
        *(lane(piece.replace("/", "-"), tests([piece]), fills=True) for piece in pieces),
    ]


def pytest_command(parts: Sequence[str], further: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Return pytest's command for test folders.

    :param parts: names below ``tests/``.
    :param further: options for pytest.
    :param folder: where its report goes.
    """
    paths = [f"tests/{part}" for part in parts]
    report = folder / f"{parts[0].replace('/', '-')}.xml"
    return (sys.executable, "-m", "pytest", *paths, f"--junitxml={report}", *further)


def run_in_turn(lanes: Sequence[Lane]) -> Count:
    """Run the commands of lanes one after the other, their output as it comes, and count."""
    total = Count()
    for lane in lanes:
        for command in lane.commands:
            print(f"$ {title(command)}", flush=True)
            done = subprocess.run(command, cwd=PROJECT, env=lane.environment, stdin=subprocess.DEVNULL)
            total += count(command, done.returncode)
    return total


def run_beside(lanes: Sequence[Lane]) -> Count:
    """Run lanes at the same time; print each command's output when it ends, and at the end once more what failed."""
    total, failed = Count(), []
    for lane in lanes:
        print("Side by side:" if lane is lanes[0] else "and:", "; ".join(map(title, lane.commands)), flush=True)
    for ended in side_by_side(lanes, PROJECT, title, lambda line: print(line, flush=True)):
        print(f"$ {title(ended.command)}  ({clock(ended.seconds)})\n{ended.output}", flush=True)
        counted = count(ended.command, ended.code)
        total += counted
        if counted.failed:
            failed += re.findall(r"^(?:FAILED|ERROR) .*", ended.output, re.M) or [f"FAILED {title(ended.command)}"]
    print(*failed, sep="\n", end="\n" if failed else "", flush=True)
    return total


def title(command: Sequence[str]) -> str:
    """Return what a person calls a command: without the interpreter, pytest's report and what is left out."""
    return " ".join(word for word in command[2:] if not word.startswith(("--junitxml=", "--ignore=")))


def count(command: Sequence[str], exit_code: int) -> Count:
    """Count what a command checked: each of pytest's tests, or the checker itself as one."""
    reports = [word.partition("=")[2] for word in command if word.startswith("--junitxml=")]
    if reports:
        return read_report(Path(reports[0]), exit_code)
    return Count(failed=1) if exit_code else Count(passed=1)


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell names of parts from options for pytest.

    :param arguments: what follows ``./run test``.
    :return: the parts, where none is named those of a quick run or of ``--full``; and the rest.
    """
    named: list[str] = []
    rest = list(arguments) or [f"--ignore=tests/{file}" for file in FULL_ONLY_FILES]
    full = rest[:1] == [FULL]
    if full:
        rest.pop(0)
    while rest and rest[0] in PARTS:
        named.append(rest.pop(0))
    if rest and not rest[0].startswith("-"):
        raise SystemExit(f"./run test: unknown part {rest[0]!r}; known are {', '.join(PARTS)}")
    if full and named:
        raise SystemExit(f"./run test: {FULL} includes all parts; leave out {FULL} or {', '.join(named)}")
    everything = [*TESTS, *STACKS] if rest and arguments else [*TOOLS, *TESTS, *STACKS]  # options alone mean the tests
    if not full:
        everything = [part for part in everything if part not in FULL_ONLY]
    return [part for part in PARTS if part in (named or everything)], rest


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


def clean_environment(mark: str, home: Path) -> dict[str, str]:
    """Return an environment for tests that knows no key, no account and no other Airflow of the person.

    :param mark: KIE_STACK_ID of this run's processes.
    :param home: Airflow's, not ~/airflow; of this lane and run alone: lanes that share one disturb each other, and a
        run that was killed leaves rows in its database and permits in its limiter's file.
    """
    environment = base_environment(mark, os.environ)
    home.mkdir()
    return {**environment, "PYTHONPATH": str(PROJECT / "include"), "AIRFLOW_HOME": str(home)}
