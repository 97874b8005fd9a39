"""``./run release --dry-run``: everything that a release needs, made and checked; nothing is published.

What lies in ``.local/release`` afterwards: wheel, sdist, SHA256SUMS and a CycloneDX list of what is installed with it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from local_stack.install import pip_settings, uv_environment
from local_stack.settings import PROJECT

RELEASE = PROJECT / ".local" / "release"
TWINE = "twine==7.0.0"
CYCLONEDX = "cyclonedx-bom==7.4.0"
SBOM = "sbom.cdx.json"
AIRFLOW = "apache-airflow[amazon,celery,cncf-kubernetes,fab,openlineage,postgres,redis,slack,smtp]==3.3.2"
AIRFLOW_DAY = "2026-09-20"
"""A week after that release. Airflow's constraints are what is newest on the day: its file of them is on no index."""
INSTALLED = "tests/integration/project/test_package_wheel.py"
"""Installs the wheel into an empty environment, with Airflow's own pins, and runs a DAG from it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--dry-run", action="store_true", required=True, help="build and check everything, publish nothing"
    )


def run(options: argparse.Namespace) -> int:
    """Make a release of the last commit and check it.

    :param options: ``dry_run``, the only way for now.
    :return: exit code: 0 when every check holds.
    """
    shutil.rmtree(RELEASE, ignore_errors=True)
    RELEASE.mkdir(parents=True)
    steps: Mapping[str, Callable[[], str]] = {
        "built twice, byte for byte the same": _build,
        "metadata as PyPI wants it": _metadata,
        "licences of everything in the lock": _licences,
        "installed into an empty environment, a DAG run from it": _installed,
        "installed beside Airflow's own versions, none of them changed": _pins,
        "CycloneDX list of what is installed with it": _sbom,
    }
    failed = 0
    for name, step in steps.items():
        try:
            print(f"ok      {name}: {step()}", flush=True)
        except (subprocess.CalledProcessError, AssertionError) as e:
            output = getattr(e, "stdout", None) or b""
            print(f"FAILED  {name}: {e}\n{output.decode(errors='replace')[-3000:]}", flush=True)
            failed += 1
    print(f"{RELEASE}: {', '.join(sorted(file.name for file in RELEASE.iterdir()))}. Nothing was published.")
    return 1 if failed else 0


def _build() -> str:
    """Build the last commit in two folders whose names, times and order of files differ."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory(suffix=" with a blank") as second:
        made = [_built(Path(folder)) for folder in (first, second)]
        assert made[0] == made[1], f"{made[0]} and {made[1]} differ"  # noqa: S101 - a step fails by it
        for file in (Path(first) / "dist").iterdir():
            shutil.copy(file, RELEASE)
    sums = "".join(f"{digest}  {name}\n" for name, digest in sorted(made[0].items()))
    (RELEASE / "SHA256SUMS").write_text(sums)
    return ", ".join(sorted(made[0]))


def _built(folder: Path) -> dict[str, str]:
    commit = subprocess.run(["git", "archive", "HEAD"], cwd=PROJECT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=commit, check=True)
    _checked([sys.executable, "-m", "hatchling", "build", "-d", str(folder / "dist")], folder)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (folder / "dist").iterdir()}


def _metadata() -> str:
    files = [str(file) for file in RELEASE.iterdir() if file.suffix in {".whl", ".gz"}]
    _checked([*_uvx(TWINE, "twine"), "check", "--strict", *files])
    return "twine check --strict"


def _licences() -> str:
    _checked([sys.executable, "-m", "pytest", "-q", "tests/unit/project/test_licences.py"])
    return "docs/licences.md"


def _installed() -> str:
    _checked([sys.executable, "-m", "pytest", "-q", INSTALLED])
    return INSTALLED


def _pins() -> str:
    """Install the wheel where Airflow and some providers are, as their release installed them, and compare versions."""
    (wheel,) = RELEASE.glob("*.whl")
    with tempfile.TemporaryDirectory() as folder:
        python = _environment(folder)
        own = ["pip", "install", "-q", "--python", python]
        _checked([_uv(), *own, "--exclude-newer", AIRFLOW_DAY, AIRFLOW])
        before = _freeze(python)
        _checked([_uv(), *own, str(wheel)])
        after = _freeze(python)
    changed = {pin for pin in before if pin not in after}
    assert not changed, f"changed or gone: {', '.join(sorted(changed))}"  # noqa: S101 - a step fails by it
    return f"{len(before)} packages of {AIRFLOW} as on {AIRFLOW_DAY}; new: {', '.join(sorted(after - before))}"


def _environment(folder: str) -> str:
    _checked([_uv(), "venv", "-q", "--no-project", "--python", sys.executable, folder])
    return str(Path(folder) / "bin" / "python")


def _freeze(python: str) -> set[str]:
    """Return what is installed, with versions, or of what came as a file its name."""
    return {line.partition(" @ ")[0] for line in _checked([_uv(), "pip", "freeze", "-q", "--python", python])}


def _sbom() -> str:
    (wheel,) = RELEASE.glob("*.whl")
    with tempfile.TemporaryDirectory() as folder:
        python = _environment(folder)
        lock = str(PROJECT / "requirements.txt")
        _checked([_uv(), "pip", "install", "-q", "--python", python, "--constraints", lock, str(wheel)])
        made = ["environment", "--output-reproducible", "--of", "JSON", "-o", str(RELEASE / SBOM), python]
        _checked([*_uvx(CYCLONEDX, "cyclonedx-py"), *made])
    return SBOM


def _uv() -> str:
    return str(Path(sys.executable).with_name("uv"))


def _uvx(package: str, program: str) -> list[str]:
    return [_uv(), "tool", "run", "-q", "--from", package, program]


def _checked(command: list[str], folder: Path = PROJECT) -> list[str]:
    """Run a program that has to end well, and return what it prints, which is for the error too."""
    settings = pip_settings([sys.executable, "-m", "pip"])
    environment = uv_environment(settings, {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"})
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
    )
    return done.stdout.decode(errors="replace").splitlines()
