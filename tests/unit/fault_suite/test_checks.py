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

from airflow_kie.archive.ledger_store import BucketLedgerStore
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.client.operations.suno import COVER as COVER_ROW
from airflow_kie.client.rate_limiter.paid_requests import DatabaseLedgerStore
from airflow_kie.client.rate_limiter.store import Store
from airflow_kie.lifecycle.claims import Claimed, Intent, RequestId
from airflow_kie.lifecycle.identity import request_digest
from airflow_kie.lifecycle.ledger import Ledger
from fault_suite.checks import corrupt, covers_made_again, creates_too_fast, double_payments, findings
from fault_suite.paid import ACCOUNT, PaidRequests
from fault_suite.plan import small_plan
from fault_suite.report import report
from fault_suite.s3_proxy import S3Proxy
from fault_suite.stage import Stage
from fault_suite.suite import Outcome
from kie_simulator.control_client import ControlClient
from kie_simulator.server import SimulatorServer
from local_stack.bucket import BucketPath
from s3_servers import moto_s3

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
    assert problems(tmp_path) == [f"songs/{SONG}/cover-1.png: it is not a readable picture"]


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


def test_a_lost_song_is_named_with_its_title_and_what_is_recorded_of_it(tmp_path: Path) -> None:
    archived(tmp_path)
    with SimulatorServer() as server, contextlib.closing(ControlClient(server.url)) as simulator:
        songs = [song.task_id for song in simulator.make_music("Recorded", "Unrecorded")]
        (tmp_path / "songs" / "_pending").mkdir()
        (tmp_path / "songs" / "_pending" / f"{songs[0]}.json").write_text("its record")
        settings = SimpleNamespace(prefix="songs", bucket="archive")
        running: Any = SimpleNamespace(simulator=simulator, bucket=tmp_path, settings=settings)
        found = findings(Stage(running, S3Proxy(str)), [SONG, *songs], {}, at_the_end=True)
    assert found.lost == (
        f"{songs[0]} ('Recorded', covers []): no manifest; its record",
        f"{songs[1]} ('Unrecorded', covers []): no manifest; no pending record",
    )


def charges(*task_ids: str, kind: str = "cover", source: str = SONG, **request: str) -> list[dict[str, Any]]:
    return [{"kind": kind, "source_id": source, "task_id": task_id, "request": request} for task_id in task_ids]


GOOD, RUNNING = {"ended": True, "succeeded": True}, {"ended": False, "succeeded": False}
FAILED = {"ended": True, "succeeded": False}


def test_a_song_that_kie_made_twice_was_paid_twice_and_two_songs_were_not() -> None:
    tasks = {"one": GOOD, "two": RUNNING, "three": GOOD}
    same = charges("one", "two", kind="music", source="", title="Paid song 1")
    other = charges("three", kind="music", source="", title="Paid song 2")
    assert double_payments(same + other, tasks) == ["Paid song 1: one, two"]
    assert double_payments(same[:1] + other, tasks) == []


def test_what_kie_failed_itself_is_given_back() -> None:
    tasks = {"one": FAILED, "two": GOOD}
    assert double_payments(charges("one", "two", kind="wav"), tasks) == []
    assert covers_made_again(charges("one", "two"), tasks, lambda song: 0) == ([], [])


@pytest.mark.parametrize(
    ("made", "repeats", "too_often", "twice"),
    [
        (("one",), 0, False, False),
        (("one",), 1, False, False),
        (("one", "two"), 0, True, False),
        (("one", "two"), 1, False, True),
        (("one", "two", "three"), 2, True, False),
    ],
)
def test_a_second_cover_needs_a_lost_answer_in_the_ledger_and_a_third_one_is_never_right(
    made: tuple[str, ...], repeats: int, too_often: bool, twice: bool
) -> None:
    sentence = [f"{SONG}: {', '.join(made)}"]
    found = covers_made_again(charges(*made), dict.fromkeys(made, GOOD), {SONG: repeats}.__getitem__)
    assert found == (sentence if too_often else [], sentence if twice else [])


@pytest.mark.parametrize("place", ["database", "bucket"])
def test_a_lost_answer_is_read_from_the_ledger_wherever_the_stack_keeps_it(tmp_path: Path, place: str) -> None:
    with moto_s3() as s3:
        s3.client().create_bucket(Bucket="archive")
        running: Any = SimpleNamespace(
            settings=SimpleNamespace(bucket="archive", prefix="songs"),
            limiter_store=f"sqlite:///{tmp_path}/kie/creates.db",
            bucket=BucketPath(s3.client(), "archive"),
        )
        stores = {
            "database": DatabaseLedgerStore(Store(f"sqlite:///{tmp_path}/kie/creates.db")),
            "bucket": BucketLedgerStore(Bucket(s3.client(), "archive"), "songs/_paid/"),
        }
        request = RequestId(ACCOUNT, "suno.cover", request_digest(COVER_ROW, {"taskId": SONG}, {}))
        ledger, paid = Ledger(stores[place]), PaidRequests(running)
        assert isinstance(ledger.claim(request, Intent.made_at(0.0)), Claimed)
        assert paid.cover_repeats(SONG) == 0
        ledger.record(request, 1, "unanswered")
        ledger.record(request, 1, "repeated")
        assert (paid.cover_repeats(SONG), paid.cover_repeats("0c" * 16)) == (1, 0)


def test_twenty_creates_in_ten_seconds_are_allowed_and_one_more_is_found() -> None:
    ledger = [{"real_at": 100 + number * 0.49} for number in range(21)]
    assert creates_too_fast(ledger[:20]) == []
    assert creates_too_fast(ledger) == ["21 creates within 10 s"]


def test_a_song_that_its_run_of_many_did_not_archive_is_named_with_the_reason() -> None:
    table = [{"music_task_id": "one", "reason": None}, {"music_task_id": "two", "reason": "It did not finish."}]
    running: Any = SimpleNamespace(airflow=SimpleNamespace(xcom=lambda *_, **__: table))
    found = Stage(running, S3Proxy(str)).not_archived_by("run", ["one", "two", "three"])
    assert found == {"two": "It did not finish.", "three": "it is not in the report"}


def test_a_song_that_failed_because_another_one_did_is_in_the_report_and_ends_the_suite_badly() -> None:
    plan = small_plan(1, 20, ())
    assert Outcome(plan, batches=(1, 24)).holds
    outcome = Outcome(plan, batches=(1, 24), under_batches=2, dragged=[f"{SONG} in a run: late"])
    assert not outcome.holds
    lines = list(report(outcome))
    assert f"  failed because another one did: {SONG} in a run: late" in lines
    assert "Runs of many: 1 with 24 songs, 2 kills under them; songs that failed because another one did: 1" in lines
