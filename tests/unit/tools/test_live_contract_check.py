"""The live contract check: it asks, one cover is paid for, once, and every assumption is judged."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_connections import kie_connection
from airflow_database import dag, make_tables, stored
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.cli import arguments
from airflow_kie.client.account import KieAccount
from airflow_kie.client.answers.decode import Created, Read, Refused
from airflow_kie.client.api import Kie
from airflow_kie.client.http.transport import KieTransport
from airflow_kie.client.operations.operation import State
from airflow_kie.client.operations.suno import COVER
from airflow_kie.hooks import archive
from airflow_kie.hooks.archive import open_bucket
from airflow_task import StoredFiles
from answering_server import serving
from kie_simulator.server import SimulatorServer
from tools.live_contract_check import experiment
from tools.live_contract_check.__main__ import main
from tools.live_contract_check.assumptions import ASSUMPTIONS

CLIENTS: dict[str, Bucket] = {}
ABOUT_FILES = "The images are on tempfile.aiquickdraw.com."


@dataclass(frozen=True)
class Checked:
    """What the command printed, and its exit code."""

    code: Any
    out: str
    err: str

    @property
    def verdicts(self) -> dict[str, str]:
        """Sentence → verdict."""
        lines = self.out.splitlines()
        return {one.sentence: line[:12].strip() for one in ASSUMPTIONS for line in lines if line[14:] == one.sentence}

    def seen(self, sentence: str) -> str:
        lines = self.out.splitlines()
        return lines[next(at for at, line in enumerate(lines) if line[14:] == sentence) + 1].strip()

    @property
    def broken(self) -> set[str]:
        return {sentence for sentence, verdict in self.verdicts.items() if verdict == "did not hold"}


Check = Callable[..., Checked]


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands change how this process finds connections, for one test."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")


@pytest.fixture(autouse=True)
def one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all buckets share one S3 client: making one takes a second."""

    def opened(aws_conn_id: str, name: str, extra_args: Any = None) -> Bucket:
        if "one" not in CLIENTS:
            CLIENTS["one"] = open_bucket(aws_conn_id, name)
        return replace(CLIENTS["one"], name=name)

    monkeypatch.setattr(archive, "open_bucket", opened)
    monkeypatch.setattr(arguments, "open_bucket", opened)


@pytest.fixture
def check(
    kie: SimulatorServer,
    bucket: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Check:
    """Give the command, run in this process."""
    monkeypatch.setattr(experiment, "READ_EVERY", 0.05)

    def run(song: str, *options: str) -> Checked:
        code = main([song, "--recording", str(tmp_path / "recording.json"), *options])
        printed = capsys.readouterr()
        return Checked(code, printed.out, printed.err)

    return run


@pytest.fixture
def song(kie: SimulatorServer) -> str:
    return kie.control.make_music("Velvet Harbour", prompt="a private prompt")[0].task_id


def spend(check: Check, song: str) -> Checked:
    return check(song, "--yes")


def test_nothing_is_asked_for_where_the_free_part_fails(check: Check, song: str, kie: SimulatorServer) -> None:
    kie.control.set_credits(0)
    assert spend(check, song).code == 1
    assert kie.control.state()["requests"] == {"GET /api/v1/chat/credit": 1}


def test_one_cover_is_made_and_every_assumption_that_kie_documents_holds(
    check: Check, song: str, kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kie.control.set(cover_seconds=20)

    def between_reads(seconds: float) -> None:
        kie.control.advance(9)  # the cover ends by the simulator's clock, however busy the machine is
        time.sleep(seconds)

    monkeypatch.setattr(experiment, "time", SimpleNamespace(time=time.time, sleep=between_reads))
    checked = spend(check, song)
    assert len(kie.control.ledger("cover")) == 1
    flags = [line for line in checked.out.splitlines() if line.startswith("  successFlag")]
    assert flags and len(flags) == len(set(flags)), "each is named once, however often it is read"
    assert set(checked.verdicts) == {one.sentence for one in ASSUMPTIONS}
    assert checked.broken == {ABOUT_FILES}, "the simulator serves its files itself"
    assert checked.seen("A cover costs what KIE's price list says: nothing.").startswith("0 credits")
    unseen = {sentence for sentence, verdict in checked.verdicts.items() if verdict == "not seen"}
    assert unseen <= {
        "successFlag 2 means that the cover is being generated.",
    }


def test_the_paid_id_is_reported_at_once_and_recorded_in_the_bucket(
    check: Check, song: str, kie: SimulatorServer, archive: StoredFiles
) -> None:
    checked = spend(check, song)
    paid = kie.control.ledger("cover")[0]["task_id"]
    assert checked.out.splitlines()[5] == f"Cover task made: {paid}."
    pending = archive.json(f"songs/_pending/{song}.json")
    assert (pending["kie_conn_id"], pending["title"]) == ("kie_default", "Velvet Harbour")


def test_a_song_whose_archive_names_a_cover_is_refused(check: Check, song: str, kie: SimulatorServer) -> None:
    spend(check, song)
    before = kie.control.state()["requests"]["POST /api/v1/suno/cover/generate"]
    again = spend(check, song)
    assert again.code == 1
    assert "has a cover already" in again.err
    assert kie.control.state()["requests"]["POST /api/v1/suno/cover/generate"] == before


def test_a_song_that_a_run_works_on_is_refused(
    check: Check, song: str, kie: SimulatorServer, archive: StoredFiles
) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.types import DagRunType

    make_tables()
    now = "2026-11-22T10:00:00.000Z"
    working = {"dag_id": "music_cover", "run_id": "event__1", "map_index": 0}
    record = {"music_task_id": song, "first_seen_at": now, "updated_at": now, "received_from": "event"}
    archive.put(f"songs/_pending/{song}.json", json.dumps({**record, "working": working}).encode())
    run = DagRun(dag_id="music_cover", run_id="event__1", run_type=DagRunType.ASSET_TRIGGERED, state="running")
    with stored(dag("music_cover"), run):
        checked = spend(check, song)
    assert checked.code == 1
    assert "Run event__1 of music_cover works on song" in checked.err
    assert kie.control.ledger() == []


def test_nothing_is_sent_without_an_agreement(check: Check, song: str, kie: SimulatorServer, monkeypatch: Any) -> None:
    checked = check(song)
    assert checked.code == 1
    assert "This is not a terminal" in checked.err
    terminal = io.StringIO("no\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    asked = check(song)
    assert "Velvet Harbour" in asked.err
    assert "nothing, by KIE's list of October 2026; the balance is 10000" in asked.err
    assert "a second one is charged" in asked.err
    assert kie.control.ledger() == []


def test_a_song_that_is_unknown_or_unfinished_is_refused(check: Check, kie: SimulatorServer) -> None:
    assert "KIE knows no such task" in spend(check, "0" * 32).err
    kie.control.set(music_seconds=600)
    unfinished = kie.control.make_music("Later", state="PENDING")[0].task_id
    assert "The song is not finished" in spend(check, unfinished).err
    assert "Nothing was sent" in spend(check, "no id/").err
    assert kie.control.ledger() == []


@pytest.mark.parametrize(
    ("habit", "broken", "shown"),
    [
        ({"http": 400}, "A second create for a song comes with HTTP 200.", "HTTP 400"),
        ({"code": 409}, "A second create for a song is refused with code 400.", "code 409"),
        ({"data": "null"}, "A second create for a song names the first cover at data.taskId.", "it names no id"),
        ({"data": "string"}, "A second create for a song names the first cover at data.taskId.", "is data itself"),
    ],
)  # fmt: skip
def test_another_form_of_the_duplicate_answer_is_reported_as_broken(
    check: Check, song: str, kie: SimulatorServer, habit: dict[str, Any], broken: str, shown: str
) -> None:
    kie.control.set(duplicate=habit)
    checked = spend(check, song)
    assert checked.verdicts[broken] == "did not hold"
    assert shown in checked.seen(broken)
    assert checked.code == 1
    assert len(kie.control.ledger("cover")) == 1


def test_other_habits_are_reported_too(check: Check, song: str, kie: SimulatorServer) -> None:
    kie.control.set(time_format="epoch", cover_images=3, download_link_minutes=5)
    kie.control.add_fault("details", "data_null", kind="cover", times=2)
    checked = spend(check, song)
    assert checked.broken == {
        ABOUT_FILES,
        "A cover's times are ISO texts in UTC.",
        "response.images is a list of 2 links.",
        "KIE makes a fresh link for a file, which lives 20 minutes.",
    }
    assert "2 reads with data: null before" in checked.seen("The details show a new cover within 60 s.")


def test_a_cover_that_fails_leaves_what_follows_unseen(check: Check, song: str, kie: SimulatorServer) -> None:
    kie.control.add_fault("task", "fail", kind="cover")
    checked = spend(check, song)
    assert checked.code == 1
    assert "KIE could not generate this" in checked.err
    after = ("A finished cover has errorCode 200 and an empty errorMessage.", "The images are PNG.")
    assert [checked.verdicts[sentence] for sentence in after] == ["not seen", "not seen"]


def test_a_lost_answer_to_the_create_pays_once(check: Check, song: str, kie: SimulatorServer) -> None:
    kie.control.add_fault("create", "reset_after", kind="cover", skip=1)
    checked = spend(check, song)
    assert checked.code == 1
    assert len(kie.control.ledger("cover")) == 1
    again = spend(check, song)
    assert "KIE names a cover task that exists already" in again.out
    assert len(kie.control.ledger("cover")) == 1


def test_interrupted_it_says_what_is_paid(check: Check, song: str, kie: SimulatorServer, monkeypatch: Any) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    kie.control.set(cover_seconds=20)
    monkeypatch.setattr(experiment.time, "sleep", interrupt)
    checked = spend(check, song)
    paid = kie.control.ledger("cover")[0]["task_id"]
    assert checked.code == 130
    assert f"Cover task {paid} is recorded in" in checked.err


def recorded(check: Check, song: str, folder: Path) -> list[dict[str, Any]]:
    spend(check, song)
    entries: list[dict[str, Any]] = json.loads((folder / "recording.json").read_text())
    return entries


def test_the_recording_names_nobody(
    check: Check, song: str, kie: SimulatorServer, tmp_path: Path, monkeypatch: Any
) -> None:
    extra = {"rate_limit": 1000, "callback_url": "https://private.example", "webhook_secret": "private-secret"}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra=extra))
    text = json.dumps(recorded(check, song, tmp_path), ensure_ascii=False)
    paid = kie.control.ledger("cover")[0]["task_id"]
    private = (song, paid, kie.api_key, "Velvet Harbour", "private", str(urlsplit(kie.url).port), "Bearer", "10000")
    assert [word for word in private if word in text] == []


def test_the_recording_replays_through_the_client(check: Check, song: str, tmp_path: Path) -> None:
    entries = recorded(check, song, tmp_path)
    left = iter(entries)
    answer: dict[str, Any] = {}

    def reply(_: Any) -> tuple[int, dict[str, str], bytes]:
        return answer["status"], {"Content-Type": answer["content_type"]}, json.dumps(answer["body"]).encode()

    read: dict[str, Any] = {}
    with serving(reply) as server:
        transport = KieTransport(KieAccount("recorded-key", api_url=server.url))
        kie = Kie(transport)
        for entry in left:
            answer = entry["response"]
            sent = entry["request"]["body"] or {}
            if entry["step"] == "details":
                task_id = urlsplit(entry["request"]["url"]).query.removeprefix("taskId=")
                read["details"] = kie.details(COVER.in_form("dedicated"), task_id)
            elif "create" in entry["step"] and "balance" not in entry["step"]:
                source = {"taskId": sent["taskId"]}
                read[entry["step"]] = kie.create(COVER, source, source, sent.get("callBackUrl", ""))
            elif "balance" in entry["step"]:
                read[entry["step"]] = kie.credits()
        transport.close()
    created = read["create"]
    assert isinstance(created, Created)
    assert isinstance(read["create without callback URL"], Refused)
    assert read["repeated create"] == Created(created.task_id, duplicate=True)
    assert (read["balance before"], read["balance after"]) == (1000, 1000)
    details = read["details"]
    assert isinstance(details, Read)
    assert (details.details.state, details.details.task_id) == (State.SUCCEEDED, created.task_id)
    assert len(details.details.urls) == 2
    assert details.details.parent_id == entries[0]["response"]["body"]["data"]["taskId"]
