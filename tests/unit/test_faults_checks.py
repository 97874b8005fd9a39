"""The reckoning of the fault suite finds what it is there to find."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fault_suite.checks import corrupt, creates_too_fast, double_payments

SONG, COVER = "0a" * 16, "0b" * 16
TASKS = {COVER: {"source_id": SONG, "ended": True, "succeeded": True}}


def picture() -> bytes:
    """Return a small PNG."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "teal").save(file, "PNG")
    return file.getvalue()


def archived(bucket: Path, content: bytes = picture(), cover: str = COVER) -> Path:
    """Archive one song and return its folder."""
    folder = bucket / "songs" / SONG
    folder.mkdir(parents=True)
    (folder / "cover-1.png").write_bytes(content)
    file = {
        "key": f"songs/{SONG}/cover-1.png",
        "kind": "cover",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / "manifest.json").write_text(json.dumps({"cover_task_ids": [cover], "files": [file]}))
    return folder


def problems(bucket: Path) -> list[str]:
    return corrupt(bucket / "songs", TASKS, strays=True)


def test_a_whole_archive_has_no_problem(tmp_path: Path) -> None:
    archived(tmp_path)
    assert problems(tmp_path) == []


def test_a_shortened_file_is_found(tmp_path: Path) -> None:
    file = archived(tmp_path) / "cover-1.png"
    file.write_bytes(file.read_bytes()[:-1])
    assert f"songs/{SONG}/cover-1.png: {len(picture()) - 1} bytes instead of {len(picture())}" in problems(tmp_path)


def test_a_file_that_is_no_picture_is_found(tmp_path: Path) -> None:
    archived(tmp_path, b"<html>Please wait</html>")
    assert problems(tmp_path) == [f"songs/{SONG}/cover-1.png: it does not open as a picture"]


def test_the_cover_of_another_song_is_found(tmp_path: Path) -> None:
    archived(tmp_path)
    tasks = {COVER: {**TASKS[COVER], "source_id": "somebody"}}
    assert corrupt(tmp_path / "songs", tasks, strays=True) == [f"{SONG}: {COVER} is the cover of somebody"]


@pytest.mark.parametrize("take_away", [lambda folder: None, lambda folder: (folder / "manifest.json").unlink()])
def test_a_file_that_no_manifest_names_is_found(tmp_path: Path, take_away: Callable[[Path], None]) -> None:
    folder = archived(tmp_path)
    take_away(folder)
    (folder / "cover-9.png").write_bytes(picture())
    assert f"{SONG}/cover-9.png: no manifest names it" in problems(tmp_path)


def test_files_without_a_manifest_are_no_problem_while_work_goes_on(tmp_path: Path) -> None:
    (archived(tmp_path) / "manifest.json").unlink()
    assert corrupt(tmp_path / "songs", TASKS, strays=False) == []


def test_a_song_with_two_covers_that_kie_did_not_fail_was_paid_twice() -> None:
    ledger = [{"source_id": SONG, "task_id": "one"}, {"source_id": SONG, "task_id": "two"}]
    tasks = {"one": {"ended": True, "succeeded": True}, "two": {"ended": False, "succeeded": False}}
    assert double_payments(ledger, tasks) == [f"{SONG}: one, two"]


def test_a_cover_that_kie_failed_itself_is_given_back() -> None:
    ledger = [{"source_id": SONG, "task_id": "one"}, {"source_id": SONG, "task_id": "two"}]
    tasks = {"one": {"ended": True, "succeeded": False}, "two": {"ended": True, "succeeded": True}}
    assert double_payments(ledger, tasks) == []


def test_twenty_creates_in_ten_seconds_are_allowed_and_one_more_is_found() -> None:
    ledger = [{"real_at": 100 + number * 0.49} for number in range(21)]
    assert creates_too_fast(ledger[:20]) == []
    assert creates_too_fast(ledger) == ["21 creates within 10 s"]
