"""The live check of the unified API variant: what is free is made, what costs is asked for, every assumption judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from kie_simulator.server import SimulatorServer
from live_recordings import differences, unread
from tools.live_contract_check import experiment
from tools.live_contract_check.__main__ import main
from tools.live_contract_check.unified_assumptions import UNIFIED_ASSUMPTIONS
from tools.live_contract_check.unified_experiment import PAID

SENTENCES = {one.sentence for one in UNIFIED_ASSUMPTIONS}
UNKNOWN_SONG = "A cover of an unknown song is refused with code 422 and makes nothing."
EVERYTHING = [word for name in PAID for word in ("--pay", name)]


@dataclass(frozen=True)
class Checked:
    """What the command printed, and its exit code."""

    code: int
    out: str
    err: str
    recording: Path

    def with_verdict(self, verdict: str) -> set[str]:
        return {line[14:] for line in self.out.splitlines() if line[:12].strip() == verdict} & SENTENCES

    @property
    def broken(self) -> set[str]:
        return self.with_verdict("did not hold")


Check = Callable[..., Checked]


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands change how this process finds connections, for one test."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")


@pytest.fixture
def check(
    kie: SimulatorServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Check:
    """Give the command, run in this process on a KIE whose tasks take no time."""
    monkeypatch.setattr(experiment, "READ_EVERY", 0.05)
    kie.control.set(cover_seconds=0.2, task_seconds=0.2, music_seconds=0.2, prompt_only="accept", plain_images=True)
    kie.control.set(discovery_seconds=0)

    def run(song: str, *options: str) -> Checked:
        recording = tmp_path / "recording.json"
        code = main([song, "--api", "unified", "--recording", str(recording), *options])
        printed = capsys.readouterr()
        return Checked(code, printed.out, printed.err, recording)

    return run


@pytest.fixture
def song(kie: SimulatorServer) -> str:
    return kie.control.make_music("Velvet Harbour", prompt="a private prompt", form="unified")[0].task_id


def test_free_covers_are_made_without_a_question_and_nothing_else(
    check: Check, song: str, kie: SimulatorServer
) -> None:
    checked = check(song)
    assert (checked.code, checked.broken) == (0, set()), checked
    assert [(charge["kind"], charge["credits"]) for charge in kie.control.ledger()] == [("cover", 0), ("cover", 0)]
    assert {charge["task_id"] in checked.out for charge in kie.control.ledger()} == {True}
    assert "A finished cover is two links in resultUrls." in checked.with_verdict("held")


def test_what_is_agreed_to_is_paid_for_and_judged(check: Check, song: str, kie: SimulatorServer) -> None:
    checked = check(song, "--yes", *EVERYTHING)
    assert (checked.code, checked.broken) == (0, set()), checked
    assert checked.with_verdict("not seen") == {"A song of the dedicated API variant gets its cover in this one."}
    paid = [charge["credits"] for charge in kie.control.ledger() if charge["credits"]]
    assert paid == [one.credits for one in PAID.values()]


def test_nothing_is_paid_for_without_an_agreement(check: Check, song: str, kie: SimulatorServer) -> None:
    checked = check(song, "--pay", "stems")
    assert "This is not a terminal" in checked.err
    assert {charge["kind"] for charge in kie.control.ledger()} == {"cover"}


def test_covers_too_are_asked_for_where_kies_price_text_does_not_call_them_free(
    check: Check, song: str, kie: SimulatorServer
) -> None:
    price = {"model": "x", "pricingDesc": "4 credits per request"}
    kie.control.add_fault("call", "code", kind="models", code=200, data=price)
    assert "This is not a terminal" in check(song).err
    assert kie.control.ledger() == []


@pytest.mark.parametrize(
    ("setting", "fault", "broken"),
    [
        ({"unified_duplicate": "same_id"}, None, {"A second cover of a song is another task."}),
        (
            {"cover_result": "images"},
            None,
            {"A finished cover is two links in resultUrls."},
        ),
        ({"missing_source": "failed_task"}, None, {UNKNOWN_SONG}),
        ({"reads_across_forms": True}, None, {"The details of one API variant do not show the songs of the other."}),
        ({}, ("details", "param_unescaped", {"kind": "cover", "times": -1}), {"Every body of recordInfo is JSON."}),
        ({}, ("details", "record_null", {"kind": "cover"}), {"A new task is shown at once."}),
    ],
)  # fmt: skip
def test_another_habit_of_kies_is_reported(
    check: Check, song: str, kie: SimulatorServer, setting: dict[str, Any], fault: Any, broken: set[str]
) -> None:
    kie.control.set(**setting)
    if fault:
        kie.control.add_fault(fault[0], fault[1], **fault[2])
    checked = check(song)
    assert (checked.code, checked.broken) == (1, broken)


def test_a_record_that_is_no_json_is_read_and_recorded_without_the_echo(
    check: Check, song: str, kie: SimulatorServer
) -> None:
    kie.control.add_fault("details", "param_unescaped", kind="cover", times=-1)
    checked = check(song)
    assert "A finished cover is two links in resultUrls." in checked.with_verdict("held")
    entry = next(one for one in reversed(json.loads(checked.recording.read_text())) if one["step"] == "details")
    body = entry["response"]["body"]
    assert (body["data"]["state"], len(body["data"]["response"]["resultUrls"])) == ("success", 2)
    assert "no JSON" in body["not JSON"]
    assert song not in checked.recording.read_text()


def test_a_song_of_the_dedicated_form_shows_whether_ids_cross(check: Check, kie: SimulatorServer) -> None:
    old = kie.control.make_music("Velvet Harbour")[0].task_id
    crossing = "A song of the dedicated API variant gets its cover in this one."
    assert crossing in check(old).with_verdict("held")
    kie.control.set(ids_between_forms="separate")
    assert crossing in check(old).broken


def test_a_prompt_that_is_too_little_is_followed_by_one_with_a_style(
    check: Check, song: str, kie: SimulatorServer
) -> None:
    kie.control.set(prompt_only="refuse")
    checked = check(song, "--yes", "--pay", "song")
    assert checked.broken == {"A prompt alone makes a song."}
    assert len(kie.control.ledger("music")) == 1


def test_a_song_that_neither_form_knows_ends_the_check(check: Check, kie: SimulatorServer) -> None:
    checked = check("0" * 32)
    assert checked.code == 1
    assert "Neither API variant knows this song" in checked.err
    assert kie.control.ledger() == []


@pytest.fixture
def fresh() -> Iterator[SimulatorServer]:
    with SimulatorServer(discovery_seconds=0, prompt_only="accept", task_seconds=0, music_seconds=0) as server:
        yield server


def test_the_recording_names_nobody_and_another_server_can_be_held_against_it(
    check: Check, song: str, kie: SimulatorServer, fresh: SimulatorServer
) -> None:
    text = check(song, "--yes", *EVERYTHING).recording.read_text()
    ids = [charge["task_id"] for charge in kie.control.ledger()]
    private = [song, kie.api_key, "Velvet", "private", "quiet evening", "Bearer", kie.url.rpartition(":")[2], *ids]
    assert [word for word in private if word in text] == []

    with httpx.Client(base_url=fresh.url, headers={"Authorization": f"Bearer {fresh.api_key}"}, timeout=200) as http:
        assert differences(fresh, http, json.loads(text)) == {}
        assert unread(json.loads(text)) == []
        fresh.control.set(cover_result="images", prompt_only="refuse")
        assert set(differences(fresh, http, json.loads(text))) == {"details", "pay song", "details of song"}
