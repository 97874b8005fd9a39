"""The shell part of ./run: which Python it takes, and what it says when there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[3] / "run"

# In place of the real installer: makes a .venv whose "python" prints how it was called.
INSTALLER = """
import pathlib, sys
python = pathlib.Path(sys.argv[1]) / ".venv" / "bin" / "python"
python.parent.mkdir(parents=True)
python.write_text('#!/bin/sh\\necho "took over: $*"; echo "path: $PYTHONPATH"; cat\\n')
python.chmod(0o755)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a blank in its path and an installer that installs nothing."""
    folder = tmp_path / "my project"
    installer = folder / "include" / "local_stack" / "install.py"
    installer.parent.mkdir(parents=True)
    installer.write_text(INSTALLER)
    shutil.copy(RUN, folder / "run")
    return folder


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A PATH with what every Unix has, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "dirname", "uname", "cat"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def fake(folder: Path, name: str, body: str) -> None:
    """Put a program into a folder."""
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def run(project: Path, commands: Path, *arguments: str, closed_input: bool = False) -> subprocess.CompletedProcess[str]:
    """Start ./run with nothing but these commands on PATH."""
    environment = {"PATH": str(commands)}
    command = [str(project / "run"), *arguments]
    if closed_input:
        command = ["sh", "-c", 'exec "$@" <&-', "sh", *command]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=250, check=False
    )


def test_it_hands_its_arguments_to_the_environment_that_it_made(project: Path, commands: Path) -> None:
    fake(commands, "python3", f'exec "{sys.executable}" "$@"')
    done = run(project, commands, "demo", "--songs", "2")
    assert done.returncode == 0, done.stderr
    assert "took over: -m local_stack demo --songs 2" in done.stdout
    assert f"path: {project}/include" in done.stdout


def test_a_closed_standard_input_is_read_as_empty(project: Path, commands: Path) -> None:
    fake(commands, "python3", f'exec "{sys.executable}" "$@"')
    done = run(project, commands, "up", closed_input=True)
    assert done.returncode == 0, done.stderr
    assert "took over: -m local_stack up" in done.stdout


def test_an_interpreter_that_does_not_fit_is_passed_over(project: Path, commands: Path) -> None:
    fake(commands, "python3.14", "exit 127")  # a shim of a version that is not installed
    fake(commands, "python3.13", f'exec "{sys.executable}" "$@"')
    assert run(project, commands, "up").returncode == 0


def test_without_any_python_it_names_the_command_that_gets_one(project: Path, commands: Path) -> None:
    done = run(project, commands, "up")
    assert done.returncode == 69
    assert "needs Python 3.11, 3.12, 3.13 or 3.14" in done.stderr
    assert "  apt-get install --yes python3 python3-venv\n" in done.stderr


def test_the_command_that_gets_a_python_begins_with_sudo_where_there_is_one(project: Path, commands: Path) -> None:
    fake(commands, "sudo", "exit 1")
    assert "  sudo apt-get install --yes python3 python3-venv\n" in run(project, commands, "up").stderr


def test_with_only_a_python_that_is_too_old_it_says_so_and_names_what_gets_another(
    project: Path, commands: Path
) -> None:
    old = 'shift; exec "{}" -c "import sys; sys.version_info = (3, 9, 2, \'final\', 0); $1"'
    fake(commands, "python3", old.format(sys.executable))
    done = run(project, commands, "up")
    assert done.returncode == 69
    assert "needs Python 3.11, 3.12, 3.13 or 3.14, and only 3.9 was found" in done.stderr
    assert "uv python install 3.13 && KIE_PYTHON=$(uv python find 3.13) ./run" in done.stderr
    assert "apt-get" not in done.stderr  # it would bring the same one
    assert not (project / ".venv").exists()


def test_on_macos_the_command_is_homebrews(project: Path, commands: Path) -> None:
    (commands / "uname").unlink()
    fake(commands, "uname", "echo Darwin")
    assert "brew install python@3.13" in run(project, commands, "up").stderr


def test_debians_python_without_venv_gets_the_package_that_fixes_it(project: Path, commands: Path) -> None:
    # Debian's python3 can import everything but ensurepip until python3.x-venv is installed.
    without = 'case "$2" in *ensurepip*) exit 1;; esac'
    fake(commands, "python3", f'{without}; exec "{sys.executable}" "$@"')
    done = run(project, commands, "up")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert done.returncode == 69
    assert f"  apt-get install --yes python{version}-venv\n" in done.stderr
    assert not (project / ".venv").exists()


def test_a_person_can_name_an_interpreter(project: Path, commands: Path, tmp_path: Path) -> None:
    fake(tmp_path, "elsewhere", f'exec "{sys.executable}" "$@"')
    done = subprocess.run(
        [str(project / "run"), "up"],
        env={"PATH": str(commands), "KIE_PYTHON": str(tmp_path / "elsewhere")},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_broken_environment_is_not_asked_to_repair_itself(project: Path, commands: Path) -> None:
    fake(commands, "python3", f'exec "{sys.executable}" "$@"')
    installer = project / "include" / "local_stack" / "install.py"
    installer.write_text(INSTALLER.replace("mkdir(parents=True)", "mkdir(parents=True, exist_ok=True)"))
    broken = project / ".venv" / "bin"
    broken.mkdir(parents=True)
    fake(broken, "python", "exit 1")
    assert run(project, commands, "up").returncode == 0
    assert os.access(broken / "python", os.X_OK)
