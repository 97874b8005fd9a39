"""Commands beside the stack that is up: which stack they find, and what they know of it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kie_simulator.server import SimulatorServer
from local_stack import airflow_cli
from local_stack.__main__ import main
from local_stack.airflow_cli import NOTHING_IS_UP, environment_beside, stack_that_is_up
from local_stack.environment import airflow_environment, base_environment
from local_stack.secret_keys import keep_secrets
from local_stack.settings import AWS_SIGNS, StackSettings
from local_stack.state import Phase, ProcessMark, StackState, write_state
from local_stack.up import run as run_up
from s3_servers import moto_s3

URLS = {"airflow": "http://127.0.0.1:4003", "simulator": "http://127.0.0.1:4001", "s3": "http://127.0.0.1:4002"} | {
    "postgres": "postgresql://127.0.0.1:4004"
}
NOBODY = ProcessMark(os.getpid(), started=1_000_000.0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of all stacks; no key of the person who runs the tests is set."""
    monkeypatch.setenv("KIE_STACK_DIR", str(tmp_path))
    for name in ("KIE_API_KEY", "AIRFLOW_CONN_KIE_DEFAULT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def stack_in(
    home: Path, *, alive: bool = True, phase: Phase = "ready", urls: Mapping[str, str] = URLS, real_kie: bool = False
) -> StackState:
    """Write the files of a stack whose keeper is this process."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "settings.json").write_text(StackSettings(home, real_kie=real_kie).dumps())
    keeper = ProcessMark.of(os.getpid()) if alive else NOBODY
    state = StackState(home.name, keeper, phase=phase, kept=True, urls=dict(urls))
    write_state(home, state)
    return state


def test_the_stack_of_up_goes_before_a_newer_demo(folder: Path) -> None:
    up = stack_in(folder)
    stack_in(folder / "demo-20260102-030405")
    assert stack_that_is_up(folder) == (folder, up)


def test_a_stack_that_is_taken_down_at_this_moment_is_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack_in(folder / "demo-1")
    gone = folder / "demo-2" / "stack.json"
    found = [gone, *folder.glob("*/stack.json")]
    monkeypatch.setattr(Path, "glob", lambda *_: iter(found))
    up = stack_that_is_up(folder)
    assert up is not None
    assert up[0] == folder / "demo-1"


def test_of_several_demos_the_newest_that_is_up_is_taken(folder: Path) -> None:
    stack_in(folder, alive=False)
    for number, name in enumerate(("demo-1", "demo-2", "demo-3", "demo-4")):
        stack_in(folder / name, alive=name != "demo-3", phase="starting" if name == "demo-4" else "ready")
        os.utime(folder / name / "stack.json", (number, number))
    found = stack_that_is_up(folder)
    assert found is not None
    assert found[0] == folder / "demo-2"


@pytest.mark.parametrize("command", [["airflow", "kie", "doctor"], ["songs"], ["inbox", "songs.csv"]])
def test_where_nothing_is_up_a_command_says_what_starts_a_stack(
    folder: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    stack_in(folder, alive=False)
    assert main(command) == NOTHING_IS_UP
    assert "./run up" in capsys.readouterr().err


def test_a_command_has_the_environment_of_the_stacks_airflow(folder: Path) -> None:
    settings = StackSettings(folder, bucket="b", speed=8.0)
    state = stack_in(folder)
    person = {"HOME": "/home/them", "AIRFLOW_HOME": "/their/airflow", "KIE_API_KEY": "theirs", "PYTHONPATH": "/x"}
    base = base_environment(state.stack_id, person)
    parts = airflow_environment(base, settings, keep_secrets(folder), 4003, URLS, person)
    assert environment_beside(settings, state, person) == parts


def test_airflows_options_are_left_to_airflow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack_in(folder)
    begun: list[list[str]] = []

    def become(command: list[str], _environment: Mapping[str, str]) -> int:
        begun.append(command)
        return 0

    monkeypatch.setattr(airflow_cli, "_become", become)
    assert main(["airflow", "kie", "verify", "--help", "--fast", "s3://b/songs"]) == 0
    assert begun[0][-5:] == ["kie", "verify", "--help", "--fast", "s3://b/songs"]


def test_a_stack_on_the_real_kie_asks_for_the_key_that_it_does_not_keep(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack_in(folder, urls={"airflow": URLS["airflow"]}, real_kie=True)
    assert main(["airflow", "kie", "doctor"]) == NOTHING_IS_UP
    assert "KIE_API_KEY" in capsys.readouterr().err
    assert main(["songs"]) == 1
    assert "kie.ai/logs" in capsys.readouterr().err


def test_songs_are_finished_on_the_simulator_that_is_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with SimulatorServer() as simulator:
        stack_in(folder, urls={**URLS, "simulator": simulator.url})
        assert main(["songs", "Velvet Harbour", "Été sans fin"]) == 0
        made = dict(line.split("  ") for line in capsys.readouterr().out.splitlines())
        known = {task["task_id"]: task["state"] for task in simulator.control.tasks()}
        assert list(made.values()) == ["Velvet Harbour", "Été sans fin"]
        assert {known[song] for song in made} == {"SUCCESS"}


def test_a_file_is_put_into_the_inbox_of_the_stack_that_is_up(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "été.csv").write_text("music_task_id\nabc\n", encoding="utf-8")
    with moto_s3() as s3:
        stack_in(folder, urls={**URLS, "s3": s3.endpoint_url})
        assert main(["inbox", str(tmp_path / "été.csv")]) == 0
        stored = s3.client().get_object(Bucket="kie-covers", Key="inbox/été.csv")["Body"].read()
    assert stored == b"music_task_id\nabc\n"
    assert capsys.readouterr().out == "s3://kie-covers/inbox/été.csv\n"


def test_a_file_that_cannot_be_read_leaves_the_inbox_as_it_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack_in(folder)
    (tmp_path / "excel.csv").write_bytes("music_task_id;Künstler\n".encode("latin-1"))
    for name, why in (("away.csv", "No such file or directory"), ("excel.csv", "it is not UTF-8 text")):
        assert main(["inbox", str(tmp_path / name)]) == 1
        said = f"Nothing was put into the inbox: {tmp_path / name} cannot be read: {why}.\n"
        assert capsys.readouterr().err == said


def test_of_two_files_with_one_name_none_replaces_the_other_in_the_inbox(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "monday" / "songs.csv", tmp_path / "tuesday" / "songs.csv"]
    for file in files:
        file.parent.mkdir()
        file.write_text("music_task_id\nabc\n", encoding="utf-8")
    with moto_s3() as s3:
        stack_in(folder, urls={**URLS, "s3": s3.endpoint_url})
        assert main(["inbox", *map(str, files)]) == 1
        assert s3.client().list_buckets()["Buckets"] == []
    assert "two of the files have the same name" in capsys.readouterr().err


def test_the_inbox_of_a_persons_own_bucket_is_left_to_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stack_in(folder, urls={"airflow": URLS["airflow"]}, real_kie=True)
    assert main(["inbox", "songs.csv"]) == 1
    assert "your own bucket" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["", "their-key"])
@pytest.mark.parametrize("was_real", [False, True])
def test_a_second_up_tells_of_the_stack_that_is_up_and_refuses_to_be_taken_for_another_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], was_real: bool, key: str
) -> None:
    for name in (*AWS_SIGNS, "KIE_BUCKET", "KIE_PREFIX", "KIE_DAGS_FOLDER"):
        monkeypatch.delenv(name, raising=False)
    stack_in(folder, real_kie=was_real)
    monkeypatch.setenv("KIE_API_KEY", key)
    code, said = main(["up"]), capsys.readouterr()
    assert f"KIE      {'the real KIE' if was_real else 'simulator ' + URLS['simulator']}\n" in said.out
    assert ("Key      the one with which it was started" in said.out) is was_real
    if was_real == bool(key):
        assert (code, said.err) == (0, "")
    else:
        assert code == 1
        assert "started with another KIE than this command asks for. ./run down stops it" in said.err


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (folder / "file").write_text("no folder")
    monkeypatch.setenv("KIE_STACK_DIR", str(folder / "file"))
    assert main([command]) == 1
    assert capsys.readouterr().err.startswith(f"./run {command} cannot write: ")


def test_a_terminal_without_utf_8_gets_escapes_and_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local_stack", "airflow", "--help"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"usage: ./run airflow \\u2026" in done.stdout


@pytest.mark.parametrize(
    "option", ["--songs=0", "--songs=many", "--speed=0", "--speed=nan", "--speed=fast", "--speed=1e9"]
)
def test_a_demo_that_cannot_be_is_refused_before_anything_starts(
    folder: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demo", option])
    assert ended.value.code == 2
    assert f"{option.partition('=')[2]} is not " in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_a_second_up_says_that_it_waits_for_the_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stack_in(folder)
    with (folder / "up.lock").open("a") as first, ThreadPoolExecutor() as pool:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = pool.submit(run_up, Namespace(sqlite=False))
        said = ""
        while "Another ./run up is starting this stack; waiting for it." not in said:
            said += capsys.readouterr().out
        fcntl.flock(first, fcntl.LOCK_UN)
        assert second.result(60) == 0
