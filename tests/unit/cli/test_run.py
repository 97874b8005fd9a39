"""`airflow kie run`: what cannot be sent is said in a sentence, before anybody is asked."""

from __future__ import annotations

import io
import os
import re
import shlex
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_kie.archive.local_folder import LocalFolder
from airflow_kie.cli import run as run_module
from airflow_kie.cli.run import _Progress, run
from airflow_kie.cli.terminal import InvalidArgument
from airflow_kie.lifecycle.record import TaskRecord
from airflow_task import StoredFiles
from kie_simulator.server import SimulatorServer

PICTURE = '{"model": "z-image", "input": {"prompt": "fox", "aspect_ratio": "1:1"}}'


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"operation": "suno.muzic"}, "is not an operation that makes a task; these are"),
        ({"request": "{"}, "The request is not JSON"),
        ({"request": "[]"}, "The request is not a JSON object"),
        ({"request": "@no such file"}, "file no such file cannot be read: No such file or directory."),
        ({"request": PICTURE.replace("1:1", "5:7")}, "not '5:7'; nothing was sent to KIE"),
        *(
            ({"to": to}, "is not an address such as s3://bucket/folder")
            for to in (
                "gs://bucket",
                "S3://bucket",
                "s3:/bucket",
                " S3:bucket/songs",
                "s3//bucket",
                "s3a:/bucket",
                "s3://",
            )
        ),
        ({}, "airflow db migrate"),
    ],
)
def test_what_cannot_be_sent_is_said_before_anybody_is_asked(
    kie: SimulatorServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    changes: dict[str, Any],
    said: str,
) -> None:
    from airflow_kie.client.errors import KieSpendingStopped
    from airflow_kie.hooks.spending_switch import SpendingSwitch

    def stopped(switch: SpendingSwitch) -> None:
        raise KieSpendingStopped("a test")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    monkeypatch.setattr(SpendingSwitch, "check", stopped)
    given = {"operation": "market", "request": PICTURE, "to": str(tmp_path / "out"), "key": None, "yes": True}
    with pytest.raises(SystemExit) as ended:
        run(Namespace(**given | {"kie_conn_id": None, "unchecked": False} | changes))
    assert ended.value.code == 1
    assert said in capsys.readouterr().err
    assert not kie.control.ledger()


@pytest.fixture
def to_s3(kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Give what runs one line whose results go to S3, and returns its exit code."""
    kie.control.set(task_seconds=0)
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    given = {"operation": "market", "request": PICTURE, "to": f"s3://{bucket}/songs", "key": None, "yes": True}

    def line() -> int:
        with pytest.raises(SystemExit) as ended:
            run(Namespace(**given, kie_conn_id=None, unchecked=False))
        return int(str(ended.value.code))

    return line


def test_what_a_laptop_puts_into_an_archive_is_a_line_of_its_index(
    kie: SimulatorServer, archive: StoredFiles, to_s3: Callable[[], int]
) -> None:
    assert (to_s3(), to_s3()) == (0, 0)
    (charge,) = kie.control.ledger()
    entries = archive.indexed()
    assert {(one["operation"], one["id"], one["files"][0]["name"]) for one in entries} == {
        ("market", charge["task_id"], "result-1.png")
    }


def test_what_a_laptop_has_paid_for_and_not_archived_is_recorded_with_the_address_that_was_given(
    archive: StoredFiles, to_s3: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise InvalidArgument("no power")

    with monkeypatch.context() as dark:
        dark.setattr(run_module, "archived", fails)
        assert to_s3() == 1
    (key,) = [key for key in archive.listed() if "_unarchived" in key]
    assert archive.json(key)["to"] == f"s3://{archive.bucket}/songs"
    assert to_s3() == 0
    assert not [key for key in archive.listed() if "_unarchived" in key]


def test_without_a_terminal_the_price_is_said_and_nothing_is_paid(
    kie: SimulatorServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    given = {"operation": "market", "request": PICTURE, "to": str(tmp_path), "key": None, "yes": False}
    with pytest.raises(SystemExit) as ended:
        run(Namespace(**given, kie_conn_id=None, unchecked=False))
    assert ended.value.code == 1
    assert (
        "Pass --yes to confirm: Market: Create Task (z-image) costs 0.8 credits; the balance is 10000."
        in capsys.readouterr().err
    )
    assert not kie.control.ledger()


def test_what_kie_says_of_a_task_that_goes_on_is_named_as_kies_word(capsys: pytest.CaptureFixture[str]) -> None:
    progress = _Progress(lambda: False)
    for state in (None, "0", "0", "GENERATING"):
        progress.pause(TaskRecord("veo.generate", task_id="t", last_state=state), until=0)
    assert capsys.readouterr().err.splitlines() == [
        "KIE task t: made",
        "KIE task t: in KIE's state 0",
        "KIE task t: in KIE's state GENERATING",
    ]


def test_a_damaged_manifest_in_a_folder_is_named_with_what_to_do(
    kie: SimulatorServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kie.control.set(task_seconds=0)
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    given = {"operation": "market", "request": PICTURE, "to": str(tmp_path), "key": None, "yes": True}

    def line() -> object:
        with pytest.raises(SystemExit) as ended:
            run(Namespace(**given, kie_conn_id=None, unchecked=False))
        return ended.value.code

    assert line() == 0
    (manifest,) = tmp_path.rglob("manifest.json")
    manifest.write_text("{")
    assert line() == 1
    said = capsys.readouterr().err
    assert f"{manifest} is not JSON" in said and "If it is damaged, delete it" in said
    manifest.unlink()
    assert line() == 0


ROOT = Path(__file__).resolve().parents[3]
LINES = [
    line.strip()
    for page in ("README.md", "docs/cli.md")
    for line in re.findall(r"^airflow kie run .*$|^    airflow kie run .*$", (ROOT / page).read_text("utf-8"), re.M)
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_a_page_shows_makes_files(
    kie: SimulatorServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    kie.control.set(task_seconds=0)
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    operation, *options = shlex.split(line)[3:]
    given = dict(zip(options[::2], options[1::2], strict=True))
    to = str(tmp_path) if "://" not in given.pop("--to") else f"s3://{bucket}/media"
    request = given.pop("--request")
    assert given == {}
    with pytest.raises(SystemExit) as ended:
        run(Namespace(operation=operation, request=request, to=to, yes=True, key=None, kie_conn_id=None, unchecked=0))
    assert ended.value.code == 0
    assert len(kie.control.ledger()) == 1


def test_pages_show_such_lines() -> None:
    assert {shlex.split(line)[3] for line in LINES} >= {"suno.music", "veo.generate", "market"}


def test_a_request_may_be_a_file_with_a_byte_order_mark_as_windows_writes_it(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_bytes(b"\xef\xbb\xbf" + PICTURE.replace(", ", ",\r\n").encode())
    assert run_module._request(f"@{tmp_path / 'request.json'}") == run_module._request(PICTURE)


def test_a_person_whose_container_knows_no_name_of_theirs_makes_a_task(
    kie: SimulatorServer, to_s3: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert to_s3() == 0
    assert len(kie.control.ledger()) == 1


def test_a_tilde_that_the_shell_has_left_is_a_persons_home_and_no_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    bucket, _ = run_module.archive_at("~/songs")
    assert bucket.url("a") == str(home / "songs" / "a")
    assert list(here.iterdir()) == []


def test_a_file_in_a_folder_has_the_rights_that_the_persons_umask_gives_it(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        place = {"size": 5, "content_type": "text/plain", "sha256": "0" * 64}
        LocalFolder(tmp_path).put_file(io.BytesIO(b"words"), "songs/lyrics-1.txt", **place)
    finally:
        os.umask(before)
    (file,) = (tmp_path / "songs").iterdir()
    assert (file.name, file.read_bytes(), file.stat().st_mode & 0o777) == ("lyrics-1.txt", b"words", 0o640)
