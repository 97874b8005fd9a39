"""The package for others: the wheel, installed into an empty environment outside of the project, in Airflow's eyes.

The environment is made by uv out of its cache: what the project's own environment holds is linked, not fetched. Only
the wheel's own requirements are asked for; the lock decides about their versions.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

import airflow_kie
from airflow_connections import aws_connection, kie_connection
from airflow_kie.get_provider_info import get_provider_info
from kie_simulator.server import SimulatorServer
from local_stack.install import pip_settings, uv_environment
from s3_servers import rclone_s3

PROJECT = Path(__file__).parents[3]
PACKAGE = Path(airflow_kie.__file__).parent
SECTION = "## In your own Airflow"
pytestmark = pytest.mark.timeout(900)  # seconds on an idle machine are minutes on one that does much else


def done(command: list[str], environment: Mapping[str, str], folder: Path, stdin: str = "") -> list[str]:
    """Run a program, which has to end well, and return the lines that it prints."""
    run = subprocess.run(command, cwd=folder, env=environment, input=stdin, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return run.stdout.splitlines()


@dataclass(frozen=True)
class OwnAirflow:
    """Somebody's own Airflow, which has the wheel and what the wheel asks for.

    :param wheel: the wheel.
    :param python: the Python of the environment.
    :param home: Airflow's home.
    """

    wheel: Path
    python: Path
    home: Path

    def run(self, program: str, *arguments: str, stdin: str = "", **environment: str) -> Any:
        """Run one of the tests' programs there, and return the JSON that it prints among what it logs."""
        own = {
            "PATH": f"{self.python.parent}{os.pathsep}{os.defpath}",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
            "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-this-test-that-is-long-enough-for-its-algorithm-0123456789",
        }
        command = [str(self.python), str(PROJECT / "tests" / program), *arguments]
        (answer,) = [line for line in done(command, own | environment, self.home, stdin) if line.startswith("{")]
        return json.loads(answer)

    def install(self, folder: Path, lock: str, *packages: str) -> None:
        """Install packages there, in the versions of a lock."""
        command = [_uv(), "pip", "install", "--python", str(self.python), "--constraints", lock, *packages]
        environment = _uv_environment()
        if subprocess.run([*command, "--offline"], cwd=folder, env=environment, capture_output=True).returncode:
            done(command, environment, folder)  # uv's cache does not hold everything


def _uv() -> str:
    return str(Path(sys.executable).with_name("uv"))


def _uv_environment() -> dict[str, str]:
    settings = pip_settings([sys.executable, "-m", "pip"])
    return uv_environment(settings, {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"})


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], os.environ, PROJECT)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def own_airflow(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> OwnAirflow:
    folder = tmp_path_factory.mktemp("own airflow")
    own = OwnAirflow(wheel, folder / "venv" / "bin" / "python", folder / "home")
    done([_uv(), "venv", "--no-project", "--python", sys.executable, str(folder / "venv")], _uv_environment(), folder)
    own.install(folder, str(PROJECT / "requirements.txt"), str(wheel))
    (folder / "home").mkdir()
    return own


@pytest.fixture(scope="module")
def installed(own_airflow: OwnAirflow) -> dict[str, Any]:
    """What Airflow says about the provider; that its info fits Airflow's own schema is checked on the way."""
    answer: dict[str, Any] = own_airflow.run("airflow_installed.py")
    return answer


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_every_file_of_the_package_and_the_licence_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packages = (PACKAGE, PROJECT / "include" / "kie_simulator")
    files = {str(file.relative_to(p.parent)) for p in packages for file in p.rglob("*") if file.is_file()}
    files = {file for file in files if "__pycache__" not in file} | {"airflow_provider_kie_ai.py"}
    assert {name for name in names if ".dist-info/" not in name} == files
    published = {"airflow_kie/archive/manifest.schema.json", "airflow_kie/lineage/openlineage.schema.json"}
    assert {"airflow_kie/py.typed", *published} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_says_what_it_is_and_which_extras_it_has(wheel: Path) -> None:
    known = metadata(wheel)
    assert (known["Name"], known["License-Expression"]) == ("airflow-provider-kie-ai", "Apache-2.0")
    assert known["Version"] == airflow_kie.__version__
    assert set(known.get_all("Provides-Extra") or ()) == {"chat", "delivery", "openlineage", "postgres", "simulator"}
    assert "Framework :: Apache Airflow :: Provider" in (known.get_all("Classifier") or ())


def test_every_requirement_has_a_lower_bound(wheel: Path) -> None:
    required = metadata(wheel).get_all("Requires-Dist") or []
    assert [requirement for requirement in required if ">=" not in requirement] == []


def test_what_runs_is_the_wheel_and_not_the_project(own_airflow: OwnAirflow, installed: dict[str, Any]) -> None:
    assert Path(installed["file"]).is_relative_to(own_airflow.python.parents[1].resolve())
    assert installed["entry points"] == [
        ["airflow.plugins", "airflow_kie.plugin:KiePlugin"],
        ["apache_airflow_provider", "airflow_kie.get_provider_info:get_provider_info"],
        ["pytest11", "kie_simulator.pytest_plugin"],
    ]


def test_airflow_lists_provider_hook_trigger_plugin_and_commands(installed: dict[str, Any]) -> None:
    assert installed["provider"] == [{"Provider": "airflow-provider-kie-ai", "Version": airflow_kie.__version__}]
    hooks = {hook["connection_type"]: hook["class"] for hook in installed["hooks"]}
    assert hooks["kie"] == "airflow_kie.hooks.kie.KieHook"
    assert [row["class"] for row in installed["triggers"]] == ["airflow_kie.triggers.task"]
    assert {"check", "doctor"} <= set(installed["commands"])
    (plugin,) = installed["plugins"]
    assert plugin["source"].startswith(f"airflow-provider-kie-ai=={airflow_kie.__version__}")


def test_the_connection_form_has_every_field(installed: dict[str, Any]) -> None:
    form = installed["form"]
    assert form["hook_name"] == "KIE.ai"
    assert form["standard_fields"]["password"]["title"] == "API key"
    assert set(form["extra_fields"]) == set(get_provider_info()["connection-types"][0]["conn-fields"])


def test_the_settings_and_their_defaults_are_in_airflows_configuration(installed: dict[str, Any]) -> None:
    defaults = dict(re.findall(r"^# (\w+) = ?(.*?) *$", installed["config"], re.M))
    for name, option in get_provider_info()["config"]["kie"]["options"].items():
        assert defaults[name] == option["default"]


def test_airflow_searches_all_providers_for_example_dags_without_an_error(
    own_airflow: OwnAirflow, tmp_path: Path
) -> None:
    program = "from airflow.dag_processing.bundles.manager import DagBundlesManager as M; M()"
    environment = {"PATH": os.defpath, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "True"}
    shell = ["sh", "-c", '"$0" -c "$1" 2>&1', str(own_airflow.python), program]
    told = "\n".join(done(shell, environment, tmp_path))
    assert "apache-airflow-providers-standard-example-dags" in told
    assert "airflow_provider_kie_ai" not in told


def test_a_picture_is_made_into_a_folder_by_one_line_of_the_wheel(own_airflow: OwnAirflow, tmp_path: Path) -> None:
    request = json.dumps({"model": "z-image", "input": {"prompt": "{{ a }} red fox", "aspect_ratio": "1:1"}})
    python, tables = str(own_airflow.python), (PROJECT / "tests" / "airflow_database.py").read_text()
    command = [python, "-m", "airflow", "kie", "run", "market", "--request", request, "--to", str(tmp_path), "--yes"]
    with SimulatorServer(task_seconds=0, plain_images=True) as kie:
        environment = {
            "PATH": os.defpath,
            "AIRFLOW_HOME": str(tmp_path / "home"),
            "AIRFLOW__KIE__ALLOW_LOOPBACK_FILES": "True",
            "AIRFLOW_CONN_KIE_DEFAULT": kie_connection(kie),
        }
        done([python, "-c", f"{tables}\nmake_tables()"], environment, tmp_path)
        for _ in range(2):
            shown = done(command, environment, tmp_path)
        (charge,) = kie.control.ledger()
        assert charge["request"]["input"]["prompt"] == "{{ a }} red fox"
    (picture,) = tmp_path.rglob("result-1.png")
    assert any(charge["task_id"] in line for line in shown)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_extra_simulator_is_all_that_ones_own_tests_need(own_airflow: OwnAirflow, tmp_path: Path) -> None:
    extra = [str(PROJECT / "requirements-dev.txt"), f"{own_airflow.wheel}[simulator]", "pytest"]
    own_airflow.install(tmp_path, *extra)
    text = (PROJECT / "docs" / "guides" / "test-without-paying.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<!-- tested -->\n(.*?)<!-- end -->", text, re.S)
    (tmp_path / "test_own.py").write_text(re.sub(r"^    ", "", block, flags=re.M))
    (tmp_path / "conftest.py").write_text((PROJECT / "tests" / "airflow_database.py").read_text() + "\nmake_tables()\n")
    environment = {"AIRFLOW_HOME": str(tmp_path / "home"), "PATH": os.defpath}
    told = done([str(own_airflow.python), "-m", "pytest", "-q", "test_own.py"], environment, tmp_path)
    assert told[-1].startswith("2 passed")


def readme_blocks(language: str) -> list[str]:
    """Return the blocks of a language in README's section."""
    section = (PROJECT / "README.md").read_text(encoding="utf-8").partition(f"\n{SECTION}\n")[2].partition("\n## ")[0]
    return [block.strip() for block in re.findall(rf"^```{language}\n(.*?)^```$", section, re.S | re.M)]


def test_the_readmes_dag_archives_covers_with_the_readmes_connection(own_airflow: OwnAirflow, tmp_path: Path) -> None:
    (source,), (connection,) = readme_blocks("python"), readme_blocks("json")
    assert len(source.splitlines()) <= 15
    (tmp_path / "dags").mkdir()
    file = tmp_path / "dags" / "own.py"
    file.write_text(source + "\n")
    with SimulatorServer(cover_seconds=1, plain_images=True) as kie, rclone_s3(tmp_path) as s3:
        songs = [song.task_id for song in kie.control.make_music("Velvet Harbour", "Paper Boats")]
        run = own_airflow.run(
            "airflow_dag_test.py",
            str(file),
            "my_covers",
            stdin=json.dumps({"music_task_ids": songs}),
            AIRFLOW__CORE__DAGS_FOLDER=str(file.parent),
            AIRFLOW__KIE__ALLOW_LOOPBACK_FILES="True",
            # As it is there, but for the key and the address, which are the simulator's.
            AIRFLOW_CONN_KIE_DEFAULT=json.dumps({**json.loads(connection), "host": kie.url, "password": kie.api_key}),
            AIRFLOW_CONN_AWS_DEFAULT=aws_connection(s3),
        )
        assert run["state"] == "success"
        assert s3.root is not None
        for song in songs:
            files = {file.name for file in (s3.root / "my-covers" / "songs" / song).iterdir()}
            assert files == {"cover-1.png", "cover-2.png", "manifest.json"}
        assert sorted(charge["source_id"] for charge in kie.control.ledger("cover")) == sorted(songs)
