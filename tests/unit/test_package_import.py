"""Importing the package: one sentence under an Airflow that is too old; client and archive need no Airflow at all."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import airflow_kie

PLUGINS = Path(airflow_kie.__file__).parents[1]
SITE_PACKAGES = Path(sysconfig.get_paths()["purelib"])


def python(program: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that sees these folders and the standard library, and nothing that is installed."""
    return subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONPATH": os.pathsep.join(map(str, [*path, PLUGINS]))},
        capture_output=True,
        text=True,
        check=False,
    )


def installed(folder: Path, name: str, version: str) -> Path:
    """Make a folder in which a distribution seems to be installed."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("apache-airflow-core", "3.2.2"),
        ("apache-airflow-core", "3.3.0"),  # its task state store takes no key with a slash
        ("apache-airflow", "2.11.2"),  # Airflow 2 is one distribution
        ("apache-airflow-task-sdk", "1.2.9"),  # a worker that has nothing else of Airflow
    ],
)
def test_an_airflow_that_is_too_old_gets_one_sentence(tmp_path: Path, name: str, version: str) -> None:
    done = python("import airflow_kie.operators.suno", installed(tmp_path, name, version))
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: airflow-provider-kie-ai needs Apache Airflow 3.3.1 or later, and {name} {version} is installed: "
        "pip install --upgrade 'apache-airflow>=3.3.1'."
    )
    assert "During handling" not in done.stderr


@pytest.mark.parametrize(
    ("name", "version"),
    [("apache-airflow-core", "3.3.1"), ("apache-airflow-core", "3.10.0rc1"), ("apache-airflow-task-sdk", "1.3.1")],
)
def test_an_airflow_that_fits_is_let_in(tmp_path: Path, name: str, version: str) -> None:
    assert python("import airflow_kie", installed(tmp_path, name, version)).stderr == ""


def test_client_lifecycle_and_archive_work_where_no_airflow_is_installed(tmp_path: Path) -> None:
    for entry in SITE_PACKAGES.iterdir():
        if not entry.name.startswith(("airflow", "apache_airflow", "_airflow")):
            (tmp_path / entry.name).symlink_to(entry)
    done = python(
        "import importlib, importlib.metadata, importlib.util, pkgutil\n"
        "assert importlib.util.find_spec('airflow') is None\n"
        "from airflow_kie import archive, client, lifecycle\n"
        "for package in (archive, client, lifecycle):\n"
        "    for module in pkgutil.walk_packages(package.__path__, f'{package.__name__}.'):\n"
        "        importlib.import_module(module.name)\n"
        "        print(module.name.rpartition('.')[2])\n",
        tmp_path,
    )
    assert done.stderr == ""
    assert {"registry", "transport", "archiver", "bucket"} <= set(done.stdout.split())
