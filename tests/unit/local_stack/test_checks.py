"""./run test: which parts run, and what its last line says."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from local_stack import checks
from local_stack.checks import Count, read_report, split
from local_stack.lanes import Lane, how_far, side_by_side
from local_stack.settings import PROJECT

TESTS = """
def test_passes(): pass
def test_passes_too(): pass
def test_fails(): assert False
"""


TESTED = ["unit", "contract", "integration", "delivery", "system", "browser"]


def test_without_names_what_a_person_runs_at_every_step_runs_on_one_airflow() -> None:
    parts, further = split([])
    assert parts == ["lint", "types", "docs", *TESTED]
    left_out = {word.removeprefix("--ignore=") for word in further}
    assert left_out == {f"tests/{file}" for file in checks.FULL_ONLY_FILES}
    assert all((PROJECT / file).is_file() for file in left_out)
    for part in TESTED:
        files = {str(file.relative_to(PROJECT)) for file in (PROJECT / "tests" / part).rglob("test_*.py")}
        assert files - left_out


def test_the_full_run_adds_the_fault_plan_and_the_distributed_stack() -> None:
    assert split(["--full"]) == (["lint", "types", "docs", *TESTED, "faults", "distributed"], [])
    assert split(["--full", "-x"]) == ([*TESTED, "faults", "distributed"], ["-x"])
    assert split(["--full", "-k", "--full"])[1] == ["-k", "--full"]


def test_paying_once_is_tried_in_both_of_kies_forms_by_the_full_run_alone(tmp_path: Path) -> None:
    for arguments, both in (["--full"], True), ([], False), (["unit"], False):
        folder = tmp_path / str(len(arguments)) / str(both)
        folder.mkdir(parents=True)
        lanes = checks.lanes_of(split(arguments)[0], [], folder, "mark")
        assert {checks.BOTH_FORMS in lane.environment for lane in lanes} == {both}


def test_two_cores_are_busy_while_a_stack_waits_and_what_needs_no_stack_makes_way_for_it(tmp_path: Path) -> None:
    lanes = checks.lanes_of(split(["--full"])[0], [], tmp_path, "mark")
    assert [(lane.yields, lane.fills) for lane in lanes[:3]] == [(False, False), (True, False), (True, False)]
    assert {(lane.yields, lane.fills) for lane in lanes[3:]} == {(True, True)}
    assert len({lane.environment["AIRFLOW_HOME"] for lane in lanes}) == len(lanes)


def test_every_folder_runs_in_one_lane_and_its_pieces_are_left_out_elsewhere(tmp_path: Path) -> None:
    lanes = checks.lanes_of(split(["--full"])[0], [], tmp_path, "mark")
    commands = [command for lane in lanes for command in lane.commands if "pytest" in command]
    ran = [word.removeprefix("tests/") for command in commands for word in command if word.startswith("tests/")]
    assert sorted(ran) == sorted([*checks.TESTS, *checks.STACKS, *checks.PIECES])
    for command in commands:
        around = {piece for piece in checks.PIECES if f"tests/{piece.partition('/')[0]}" in command}
        assert around <= {word.removeprefix("--ignore=tests/") for word in command}
    reports = [word for command in commands for word in command if word.startswith("--junitxml=")]
    assert len(set(reports)) == len(commands)


def test_a_lane_that_fills_takes_the_place_of_the_one_that_ends_first(tmp_path: Path) -> None:
    def says(word: str, *, after: str = "") -> list[str]:
        wait = f"while [ ! -e {after} ]; do sleep 0.05; done; " if after else ""
        return ["sh", "-c", f"{wait}ls; touch {word}"]

    environment = {"PATH": os.defpath}
    short = Lane([says("short")], environment)
    long = Lane([says("long", after="filled")], environment)
    fills = Lane([says("filled")], environment, fills=True)
    there_before = {
        one.command[-1].split()[-1]: one.output.split()
        for one in side_by_side([fills, long, short], tmp_path, " ".join, print)
    }
    assert there_before == {"short": [], "filled": ["short"], "long": ["filled", "short"]}


def test_named_unit_tests_run_in_one_piece(tmp_path: Path) -> None:
    commands = [command for lane in checks.lanes_of(["unit"], ["-x"], tmp_path, "mark") for command in lane.commands]
    assert [list(command[3:-2]) for command in commands] == [["tests/unit"]]


def test_the_full_run_is_that_of_the_continuous_integration() -> None:
    assert (PROJECT / ".ci" / "run").read_text().splitlines()[-1] == 'exec ./run test "${@:---full}"'


def test_parts_beside_the_full_run_are_refused() -> None:
    with pytest.raises(SystemExit, match="--full includes all parts"):
        split(["--full", "unit"])


def test_named_parts_run_in_their_order() -> None:
    assert split(["system", "lint"]) == (["lint", "system"], [])


def test_a_part_whose_programs_are_not_installed_is_left_out_with_a_word_unless_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    began: list[str] = []
    monkeypatch.setattr(checks, "missing_packages", lambda names: ["redis-server"] if names else [])
    monkeypatch.setattr(checks, "fork_guardian", lambda *mark, **own_session: None)
    monkeypatch.setattr(checks, "lanes_of", lambda parts, *more: began.extend(parts) or [])
    checks.run(argparse.Namespace(parts=["--full"]))
    assert (began[-1], "distributed" in began) == ("faults", False)
    assert "distributed is left out. To run it: apt-get install redis-server" in capfd.readouterr().out
    checks.run(argparse.Namespace(parts=["distributed"]))
    assert began[-1] == "distributed"


def test_what_takes_long_or_needs_more_runs_only_where_it_is_named() -> None:
    assert split(["monitoring", "unit"]) == (["unit", "monitoring"], [])
    assert not {"monitoring", "compose"} & {*split(["--full"])[0], *split(["-x"])[0]}


def test_what_follows_the_parts_goes_to_pytest() -> None:
    assert split(["unit", "-k", "foo"]) == (["unit"], ["-k", "foo"])


def test_options_alone_mean_the_tests() -> None:
    assert split(["-x"]) == (TESTED, ["-x"])


@pytest.mark.parametrize("arguments", [["-k", "foo"], ["unit", "-k", "foo"], [], ["--full", "-x"]])
def test_options_for_pytest_are_nobody_elses(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    checks.add_arguments(parser.add_subparsers().add_parser("test"))
    assert parser.parse_args(["test", *arguments]).parts == arguments


def test_the_help_is_that_of_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    checks.add_arguments(parser.add_subparsers().add_parser("test"))
    assert checks.run(parser.parse_args(["test", "--help"])) == 0
    assert "any of lint, types, docs, unit" in capfd.readouterr().out


def test_a_part_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(SystemExit, match="unknown part 'units'; known are lint, types, docs, unit"):
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


def test_the_last_line_counts_and_the_exit_code_agrees(
    project: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "tests" / "unit" / "test_sample.py").write_text(TESTS)
    assert checks.run(argparse.Namespace(parts=["unit"])) == 1
    assert last_line(capfd) == "2 passed, 1 failed"
    assert checks.run(argparse.Namespace(parts=["unit", "-k", "passes"])) == 0
    assert last_line(capfd) == "2 passed, 0 failed"
    monkeypatch.setattr(checks, "TOOLS", {})
    assert checks.run(argparse.Namespace(parts=["--full"])) == 1
    assert last_line(capfd) == "2 passed, 1 failed"


def test_a_run_of_nothing_is_no_success(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert checks.run(argparse.Namespace(parts=["unit"])) == 1
    assert last_line(capfd) == "0 passed, 0 failed"


LEAVES = """
import os, pathlib

def test_finds_nothing_of_an_earlier_run():
    pathlib.Path(os.environ["AIRFLOW_HOME"], "left").touch(exist_ok=False)
"""


def test_a_run_finds_nothing_that_an_earlier_one_has_left_in_airflows_home(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (project / "tests" / "unit" / "test_sample.py").write_text(LEAVES)
    for _ in range(2):
        assert checks.run(argparse.Namespace(parts=["unit"])) == 0, capfd.readouterr().out


# Each kind of test waits until the other has begun, so one after the other they would wait for ever.
BESIDE = """
import os, pathlib, time

def wait_for(name):
    while not pathlib.Path(name).exists():
        time.sleep(0.02)

def test_beside_the_others():
    print("{mine} says")
    pathlib.Path("{mine}").write_text(str(os.nice(0)))
    wait_for("{other}")
    print("one thing")
    pathlib.Path("{mine} ended").touch()
    assert False, "shown"
"""
FAULTS = """
import pathlib

def test_comes_after_the_other_stack():
    assert pathlib.Path("system ended").exists()
"""


@pytest.fixture
def project_with_stacks(project: Path) -> Path:
    """A project with quick tests and tests on a stack."""
    for part, other in (("unit", "system"), ("system", "unit")):
        (project / "tests" / part).mkdir(exist_ok=True)
        (project / "tests" / part / f"test_{part}.py").write_text(BESIDE.format(mine=part, other=other))
    (project / "tests" / "faults").mkdir()
    (project / "tests" / "faults" / "test_faults.py").write_text(FAULTS)
    return project


def test_tests_on_a_stack_run_one_after_the_other_beside_the_quick_ones_which_make_way(
    project_with_stacks: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert checks.run(argparse.Namespace(parts=["unit", "system", "faults"])) == 1
    assert last_line(capfd) == "1 passed, 2 failed"
    niceness = {part: int((project_with_stacks / part).read_text()) for part in ("unit", "system")}
    assert niceness["unit"] >= min(19, niceness["system"] + 5)


def test_what_runs_beside_is_printed_in_one_piece_and_what_failed_is_named_again_at_the_end(
    project_with_stacks: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checks.run(argparse.Namespace(parts=["unit", "system"]))
    lines = capfd.readouterr().out.splitlines()
    for part in ("unit", "system"):
        assert lines[lines.index(f"{part} says") + 1] == "one thing"
    assert {line.partition(" - ")[0] for line in lines[-3:-1]} == {
        "FAILED tests/unit/test_unit.py::test_beside_the_others",
        "FAILED tests/system/test_system.py::test_beside_the_others",
    }


def test_the_progress_of_a_run_is_its_last_percentage_and_what_failed_until_then() -> None:
    named = "tests/unit/test_a.py .F.s            [ 12%]\ntests/unit/test_b.py ..E             [ 31%]\ntests/unit/te"
    assert how_far(named) == "31 % (2 failed)"
    assert how_far("..... [ 50%]\n..... [100%]\n") == "100 %"
    assert how_far("collecting ...") == "runs"


KILLED = """
import argparse, pathlib, sys
from local_stack import checks
checks.PROJECT = pathlib.Path(sys.argv[1])
checks.run(argparse.Namespace(parts=["unit", "system"]))
"""


def test_a_killed_run_leaves_no_tests_running(project_with_stacks: Path) -> None:
    # The tests of the stack never come, so those beside them wait.
    (project_with_stacks / "tests" / "system" / "test_system.py").write_text("import time; time.sleep(600)")
    command = [sys.executable, "-c", KILLED, str(project_with_stacks)]
    folders = {"TMPDIR": str(project_with_stacks)}  # who is killed leaves its temporary folder behind
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "include"), **folders}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as run:
        while not (project_with_stacks / "unit").exists():
            assert run.poll() is None
            time.sleep(0.05)
        children = psutil.Process(run.pid).children(recursive=True)
        tests = [child for child in children if "pytest" in child.cmdline()]
        run.kill()
    assert len(tests) == 2
    _, left = psutil.wait_procs(tests, timeout=200)
    for process in left:
        process.kill()
    assert left == []
