"""The reckoning of the fault suite finds what it is there to find."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from PIL import Image

from fault_suite.checks import corrupt, creates_too_fast, double_payments, findings
from fault_suite.s3_proxy import S3Proxy
from fault_suite.stage import Stage
from kie_simulator.control_client import ControlClient
from kie_simulator.server import SimulatorServer

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
    return corrupt(bucket / "songs", TASKS)


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
    assert corrupt(tmp_path / "songs", tasks) == [f"{SONG}: {COVER} is the cover of somebody"]


@pytest.mark.parametrize("take_away", [lambda folder: None, lambda folder: (folder / "manifest.json").unlink()])
def test_a_file_that_no_manifest_names_is_found(tmp_path: Path, take_away: Callable[[Path], None]) -> None:
    folder = archived(tmp_path)
    take_away(folder)
    (folder / "cover-9.png").write_bytes(picture())
    assert f"{SONG}/cover-9.png: no manifest names it" in problems(tmp_path)


class Busy(ControlClient):
    """A simulator that is given a create before every question."""

    song = key = ""

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        if self.song and method == "GET":
            headers = {"Authorization": f"Bearer {self.key}"}
            cover = {"taskId": self.song, "callBackUrl": "http://127.0.0.1:9"}
            url = str(self._http.base_url).replace("/_sim/", "/api/v1/suno/cover/generate")
            assert httpx.post(url, json=cover, headers=headers, trust_env=False, timeout=200).json()["code"] == 200
            self.song = self.make_music()[0].task_id
        return super().call(method, path, body)


@pytest.mark.parametrize("manifest", [None, "{"], ids=["none yet", "half written"])
def test_while_work_goes_on_no_check_reports_it(tmp_path: Path, manifest: str | None) -> None:
    path = archived(tmp_path) / "manifest.json"
    path.unlink() if manifest is None else path.write_text(manifest)
    with SimulatorServer() as server, contextlib.closing(Busy(server.url)) as simulator:
        simulator.song, simulator.key = simulator.make_music()[0].task_id, server.api_key
        settings = SimpleNamespace(prefix="songs")
        running: Any = SimpleNamespace(simulator=simulator, bucket=tmp_path, settings=settings)
        assert not findings(Stage(running, S3Proxy(str)), (), {}, at_the_end=False)
        assert len(simulator.ledger("cover")) > 2


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
