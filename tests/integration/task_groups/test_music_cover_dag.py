"""DAG music_cover from form to bucket, in Airflow's own task runner, against the simulated KIE and rclone's S3."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dag_runner import dag_runner, run_dag
from kie_simulator.server import SimulatorServer
from kie_simulator_client import Kie
from openlineage_events import of_run, read_events
from openlineage_graph import AROUND, CHAIN, Logged, expected, graph, lost_or_doubled
from openlineage_schema import check
from s3_servers import S3Server, rclone_s3


@dataclass(frozen=True)
class Stack:
    """A simulated KIE, an S3 folder, a process of Airflow that runs DAGs, and its lineage, for one test file."""

    kie: SimulatorServer
    s3: S3Server
    airflow: subprocess.Popen[str]
    lineage: Path

    def run(self, *music_task_ids: str, **params: Any) -> dict[str, Any]:
        """Run music_cover once and return state, tasks and everything that was logged."""
        return self.run_dag(music_task_ids=list(music_task_ids), **params)

    def run_dag(self, **conf: Any) -> dict[str, Any]:
        """Run a DAG once; `_dag` names another than music_cover."""
        return run_dag(self.airflow, **conf)

    def song(self, title: str, **order: Any) -> str:
        return self.kie.control.make_music(title, **order)[0].task_id

    def files(self, music_task_id: str) -> list[str]:
        assert self.s3.root is not None
        return sorted(file.name for file in (self.s3.root / "songs" / "songs" / music_task_id).glob("*"))

    def manifest(self, music_task_id: str) -> Any:
        assert self.s3.root is not None
        return json.loads((self.s3.root / "songs" / "songs" / music_task_id / "manifest.json").read_text())


STORY = (
    "is recorded as pending; it came from: form",
    "is generated",
    "Asking KIE in its ",
    "KIE returned task id ",
    "Waiting for KIE: ",
    "last state 1 (succeeded)",
    "has ended: done",
    "has 2 images",
    "cover-1.png",
    "2 files of ",
)
"""What the log says of a song, in this order."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("chain")
    with (
        SimulatorServer(cover_seconds=1, plain_images=True) as kie,
        rclone_s3(folder) as s3,
        dag_runner(folder / "home", kie, s3) as airflow,
    ):
        yield Stack(kie, s3, airflow, folder / "home" / "lineage")
        airflow.kill()


CHAIN_STEPS = ("music_complete", "generate_cover", "cover_details", "archive_to_s3")


def states(run: dict[str, Any], task_id: str) -> list[str]:
    return [task["state"] for task in sorted(run["tasks"], key=lambda t: t["map_index"]) if task["task_id"] == task_id]


def test_one_song_that_failed_for_good_does_not_stop_the_others_and_turns_the_run_red(stack: Stack) -> None:
    good, other = stack.song("Velvet Harbour"), stack.song("Northern Lines")
    bad = stack.song("Bad Words", state="SENSITIVE_WORD_ERROR", error_message="the word X is not allowed")
    run = stack.run(good, bad, other)
    assert run["state"] == "failed"
    assert states(run, "music_complete") == ["success", "failed", "success"]
    assert states(run, "archive_to_s3") == ["success", "upstream_failed", "success"]
    assert "2 songs are archived, 1 failed: " in run["log"]
    assert "the word X is not allowed" in run["log"]
    told = [line for line in run["log"].splitlines() if good in line]
    for state in STORY:  # grep for one id tells its story
        assert any(state in line for line in told), state
        told = told[next(number for number, line in enumerate(told) if state in line) + 1 :]
    for music_task_id in (good, other):
        assert stack.files(music_task_id) == ["cover-1.png", "cover-2.png", "manifest.json"]
    paid = [charge["source_id"] for charge in stack.kie.control.ledger("cover")]
    assert [paid.count(music_task_id) for music_task_id in (good, other, bad)] == [1, 1, 0]


def test_many_songs_go_through_the_chain_in_batches_and_one_that_failed_turns_the_run_red(stack: Stack) -> None:
    songs = [stack.song(f"Song {number}") for number in range(27)]
    bad = stack.song("Bad Words", state="SENSITIVE_WORD_ERROR", error_message="the word X is not allowed")
    run = stack.run(*songs[:4], bad, *songs[4:])
    assert run["state"] == "failed"
    for step in CHAIN_STEPS:
        assert states(run, step) == ["success", "success"]  # 25 songs and 3
    assert "27 songs are archived, 1 failed: " in run["log"]
    for song in songs:
        assert stack.files(song) == ["cover-1.png", "cover-2.png", "manifest.json"]
    paid = [charge["source_id"] for charge in stack.kie.control.ledger("cover")]
    assert [paid.count(song) for song in (*songs, bad)] == [1] * 27 + [0]
    again = stack.run(*songs)
    assert again["state"] == "success"
    assert len(stack.kie.control.ledger("cover")) == len(paid)


def test_covers_that_kie_answers_at_once_are_archived_of_one_song_and_of_a_batch(stack: Stack) -> None:
    songs = [stack.song(f"At once {number}") for number in range(3)]
    client = Kie(stack.kie)
    for song in songs:
        pictures = [track["imageUrl"] for track in client.music(song)["response"]["sunoData"]]
        known = {"kind": "cover", "source_id": song, "after": True}
        stack.kie.control.add_fault("create", "code", code=200, msg="success", data={"images": pictures}, **known)
    client.close()
    assert stack.run(songs[0])["state"] == "success"
    assert stack.run(*songs[1:], batch_size=2)["state"] == "success"
    for song in songs:
        assert [name.partition(".")[0] for name in stack.files(song)] == ["cover-1", "cover-2", "manifest"]
        assert stack.manifest(song)["cover_task_ids"][0].startswith("answer-")
    paid = [charge["source_id"] for charge in stack.kie.control.ledger("cover")]
    assert [paid.count(song) for song in songs] == [1, 1, 1]


def test_a_second_run_keeps_every_songs_cover_adds_audio_and_pays_nothing_and_a_third_does_nothing(
    stack: Stack,
) -> None:
    first, second = stack.song("First"), stack.song("Second")
    assert stack.run(first, second)["state"] == "success"
    before = {song: stack.manifest(song) for song in (first, second)}
    paid = len(stack.kie.control.ledger())
    assert stack.run(second, first, archive_audio=True)["state"] == "success"
    for song in (first, second):
        manifest = stack.manifest(song)
        assert manifest["cover_task_ids"] == before[song]["cover_task_ids"]
        assert [file for file in manifest["files"] if file["kind"] == "cover"] == before[song]["files"]
        assert stack.files(song) == ["cover-1.png", "cover-2.png", "manifest.json", "track-1.mp3", "track-2.mp3"]
    manifests = {song: stack.manifest(song) for song in (first, second)}
    run = stack.run(first, second)
    assert (run["state"], states(run, "generate_cover")) == ("success", ["skipped"])
    assert "2 songs are archived." in run["log"]
    assert {song: stack.manifest(song) for song in (first, second)} == manifests
    assert len(stack.kie.control.ledger()) == paid


@pytest.fixture(scope="module")
def replaced(stack: Stack) -> tuple[str, dict[str, Any]]:
    """Give a song whose first cover failed at KIE, and its run."""
    song = stack.song("Second Try")
    stack.kie.control.add_fault("task", "fail", kind="cover", source_id=song)
    return song, stack.run(song, archive_audio=False)


def test_a_cover_that_failed_once_at_kie_is_replaced_within_the_task(
    stack: Stack, replaced: tuple[str, dict[str, Any]]
) -> None:
    song, run = replaced
    assert run["state"] == "success"
    assert [task["tries"] for task in run["tasks"] if task["task_id"] == "generate_cover"] == [1]
    assert len([charge for charge in stack.kie.control.ledger("cover") if charge["source_id"] == song]) == 2


def test_a_run_tells_its_graph_with_each_start_and_end_once_and_by_openlineages_schema(
    stack: Stack, replaced: tuple[str, dict[str, Any]]
) -> None:
    song, run = replaced
    events = of_run(read_events(stack.lineage), "music_cover", run["run_id"])
    manifest = stack.manifest(song)
    names = {
        "prompt": hashlib.sha256(manifest["song"]["prompt"].encode()).hexdigest(),
        "song": song,
        "cover": manifest["cover_task_ids"][-1],
        "folder": f"s3://songs/songs/{song}",
    }
    assert graph(events) == expected((*AROUND, *CHAIN), **names)
    assert lost_or_doubled(events, Logged.read(run["logged"])) == []
    for event in read_events(stack.lineage):
        check(event)


def test_a_task_that_kie_does_not_show_to_our_key_ends_in_a_sentence_and_pays_nothing(stack: Stack) -> None:
    foreign = "0123456789abcdef0123456789abcdef"  # such as a callback of another account, or of lyrics, names it
    paid = len(stack.kie.control.ledger())
    run = stack.run(foreign)
    assert run["state"] == "failed"
    assert states(run, "generate_cover") == ["upstream_failed"]
    assert "KIE knows no such task under this connection" in run["log"]
    assert len(stack.kie.control.ledger()) == paid
    assert stack.s3.root is not None
    pending = json.loads((stack.s3.root / "songs" / "songs" / "_pending" / f"{foreign}.json").read_text())
    assert pending["last_failure"]["reason"] == "task_unknown"  # which the sweep leaves to a person


def test_a_release_of_two_songs_pays_each_wav_and_its_larger_cover_once_and_lineage_leads_to_the_delivered_files(
    stack: Stack,
) -> None:
    songs = [stack.song("Velvet Harbour"), stack.song("{{ ti.task_id }}")]
    stack.run(*songs, archive_audio=True, archive_lyrics=True)
    quick = stack.kie.control.add_fault("task", "takes", seconds=1, times=-1)
    assert stack.s3.root is not None
    order = {
        "_dag": "deliver_songs",
        "release": "Two songs, 2026",
        "tracks": [{"song": songs[0], "take": 2}, {"song": songs[1], "cover": 2, "isrc": "QZABC2600001"}],
        "credits": {"title": "Two songs", "genre": "{{ 7 * 7 }}"},
        "upscale": True,
    }
    run = stack.run_dag(**order)
    assert run["state"] == "success", run["log"][-4000:]
    folder = stack.s3.root / "songs" / "songs" / "release" / "Two songs, 2026"
    names = ["cover.jpg", "manifest.json", "metadata.json", *(f"track-0{n}.{form}" for n in (1, 2) for form in FORMS)]
    assert sorted(file.name for file in folder.iterdir()) == names
    metadata = json.loads((folder / "metadata.json").read_text())
    assert [track["title"] for track in metadata["tracks"]] == ["Velvet Harbour", "{{ ti.task_id }}"]
    assert (metadata["artist"], metadata["genre"]) == ("The Examples", "{{ 7 * 7 }}")
    assert "release_date" in metadata["missing"]
    assert "Requesting 2 WAVs and a larger cover (20 credits) from KIE" in run["log"]
    assert metadata["cover_upscaled_with"] == "topaz/image-upscale"
    manifest = (folder / "manifest.json").read_text()
    again = stack.run_dag(**order)
    stack.kie.control.clear_faults(quick)
    assert (again["state"], (folder / "manifest.json").read_text()) == ("success", manifest)
    wavs = [charge["source_id"].partition("/")[0] for charge in stack.kie.control.ledger("wav")]
    assert sorted(wavs) == sorted(songs)
    (larger,) = stack.kie.control.ledger("jobs")
    assert (states(again, "cover"), states(again, "wav")) == (["skipped"], ["skipped"])
    events = of_run(read_events(stack.lineage), "deliver_songs", run["run_id"])
    (delivered, made) = (
        next(one for one in events if one["eventType"] == "COMPLETE" and one["job"]["name"] == f"deliver_songs.{task}")
        for task in ("release", "cover")
    )
    cover = f"songs/{songs[0]}/cover-1.png"
    assert [[one["name"] for one in made[side]] for side in ("inputs", "outputs")] == [
        [cover],
        [f"market/{larger['task_id']}"],
    ]
    enlarged = f"songs/_tasks/market/{larger['task_id']}/result-1.jpg"
    assert {cover, enlarged, f"songs/{songs[1]}/track-1.mp3"} < {one["name"] for one in delivered["inputs"]}
    assert {one["name"] for one in delivered["outputs"]} == {
        f"songs/release/Two songs, 2026/{name}" for name in names if name != "manifest.json"
    }
    for event in (delivered, made):
        check(event)
    refused = stack.run_dag(**{**order, "credits": {"upc": "1"}})
    assert (refused["state"], states(refused, "wav")) == ("failed", ["upstream_failed"])
    assert "upc: a UPC or EAN has 12 or 13 digits" in refused["log"]


FORMS = ("mp3", "wav")


def test_extras_of_a_song_lie_in_its_folder_come_from_the_song_and_are_paid_once(stack: Stack) -> None:
    song = stack.song("Velvet Harbour")
    stack.kie.control.add_fault("task", "takes", seconds=1, times=-1)  # as long as at KIE otherwise
    stack.run(song, archive_audio=True)
    order = {"_dag": "song_extras", "songs": [song], "extras": ["wav", "midi", "timed_lyrics"], "take": "2"}
    run = stack.run_dag(**order)
    assert run["state"] == "success", run["log"][-4000:]
    assert (states(run, "vocals"), states(run, "stems"), states(run, "video")) == (
        ["success"],
        ["skipped"],
        ["skipped"],
    )
    assert stack.s3.root is not None
    folder = stack.s3.root / "songs" / "songs" / song
    made = sorted(file.name for file in (folder / "extras").iterdir())
    assert made == ["midi-2.json", "timed_lyrics-2.json", "vocals-2.mp3", "vocals_instrumental-2.mp3", "wav-2.wav"]
    manifest, paid = stack.manifest(song), stack.kie.control.ledger()
    assert {file["kind"] for file in manifest["files"]} >= {"cover", "track", "wav", "vocals", "midi", "timed_lyrics"}
    again = stack.run_dag(**order)
    assert (again["state"], stack.manifest(song)["files"]) == ("success", manifest["files"])
    track = {"song": song, "take": 2}
    release = stack.run_dag(_dag="deliver_songs", release="Of extras", tracks=[track], credits={"genre": "Pop"})
    assert (release["state"], states(release, "wav")) == ("success", ["skipped"])  # its WAV is there
    assert stack.kie.control.ledger() == paid
    events = of_run(read_events(stack.lineage), "song_extras", run["run_id"])
    (wav,) = [one for one in events if one["eventType"] == "COMPLETE" and one["job"]["name"] == "song_extras.wav"]
    assert [made["name"] for made in wav["inputs"]] == [f"suno/music/{song}"]
    assert [made["name"] for made in wav["outputs"]] == [f"songs/{song}/extras/wav-2.wav"]
    check(wav)


def test_kie_ops_fails_once_for_an_empty_account_and_succeeds_while_it_lasts_and_when_it_is_over(stack: Stack) -> None:
    stack.kie.control.set_credits(0)
    begins, lasts = stack.run_dag(_dag="kie_ops"), stack.run_dag(_dag="kie_ops")
    assert (begins["state"], states(begins, "check"), states(begins, "notify")) == ("failed", ["failed"], ["success"])
    assert "connection kie_default has 0 credits left since " in begins["log"]
    assert "Posted: credits begins" in begins["log"]
    assert (lasts["state"], "Posted: " in lasts["log"]) == ("success", False)
    stack.kie.control.set_credits(1000)
    assert "Over after " not in stack.run_dag(_dag="kie_ops")["log"]
    assert "Posted: credits is over\nOver after " in stack.run_dag(_dag="kie_ops")["log"]
