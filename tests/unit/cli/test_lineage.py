"""`airflow kie lineage`: from an archived file back to the prompt, by the events alone."""

from __future__ import annotations

import io
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from airflow_kie.cli.lineage import command

SONG, COVER, PROMPT = "5" * 32, "c" * 32, "a" * 64
KIE = "kie://api.kie.ai"


def dataset(name: str, namespace: str = KIE, **made: Any) -> dict[str, Any]:
    return {"namespace": namespace, "name": name, "outputFacets": {"kie": made} if made else {}}


def event(run: str, job: str, inputs: list[Any], outputs: list[Any], **more: Any) -> dict[str, Any]:
    airflow = {"dagRun": {"run_id": f"run of {job}"}, "taskInstance": {"try_number": 1}}
    facets = {"kie": more.pop("kie", {}), "airflow": airflow}
    return {
        "eventType": "COMPLETE",
        "eventTime": f"2026-11-22T10:00:{run:0>2}+00:00",
        "run": {"runId": run, "facets": facets},
        "job": {"name": job},
        "inputs": inputs,
        "outputs": outputs,
        **more,
    }


MADE = event(
    "1", "music_generate.generate_music", [dataset(f"suno/prompt/{PROMPT}")],
    [dataset(f"suno/music/{SONG}", kind="music")], kie={"model": "V5", "prompt": {"sha256": PROMPT, "length": 33}},
)  # fmt: skip
HEARD = event("2", "music_cover.music_complete", MADE["inputs"], MADE["outputs"])
DRAWN = event(
    "3", "music_cover.generate_cover", [dataset(f"suno/music/{SONG}")],
    [dataset(f"suno/cover/{COVER}", kind="cover")],
    kie={"attempts": 2, "failed_task_ids": ["f" * 32], "wait_seconds": 12.3, "heard": "callback"},
)  # fmt: skip
FILES = {
    name: dataset(
        f"songs/{SONG}/{name}", "s3://covers", kind=name[:5], size=1124444, made_from={"namespace": KIE, "name": source}
    )
    for name, source in (("cover-1.png", f"suno/cover/{COVER}"), ("track-1.mp3", f"suno/music/{SONG}"))
}
STORED = event(
    "4", "music_cover.archive_to_s3", [dataset(f"suno/music/{SONG}"), dataset(f"suno/cover/{COVER}")],
    list(FILES.values()),
)  # fmt: skip
TWICE = {**STORED, "eventType": "START"}, STORED, STORED
EVENTS = [DRAWN, MADE, *TWICE, HEARD]


def told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, what: str, events: list[Any] = EVENTS
) -> tuple[Any, list[str], str]:
    file = tmp_path / "events.json"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in events))
    with pytest.raises(SystemExit) as ended:
        command(Namespace(what=what, events=str(file)))
    printed = capsys.readouterr()
    return ended.value.code, printed.out.splitlines(), printed.err


@pytest.mark.parametrize("what", [f"songs/{SONG}/cover-1.png", f"s3://covers/songs/{SONG}/cover-1.png"])
def test_a_file_leads_back_over_cover_and_song_to_its_prompt(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, what: str
) -> None:
    code, lines, _ = told(capsys, tmp_path, what)
    assert code == 0
    assert lines == [
        f"s3://covers/songs/{SONG}/cover-1.png (1,124,444 bytes)",
        "  by music_cover.archive_to_s3 at 2026-11-22T10:00:04+00:00, run run of music_cover.archive_to_s3, try 1",
        f"  covers, cover task {COVER}",
        "    by music_cover.generate_cover at 2026-11-22T10:00:03+00:00, run run of music_cover.generate_cover, try 1, "
        f"2 tasks at KIE, failed: {'f' * 32}, waited 12.3 s, heard of by callback",
        f"    song, music task {SONG}",
        "      by music_generate.generate_music at 2026-11-22T10:00:01+00:00, "
        "run run of music_generate.generate_music, try 1, model V5, prompt of 33 characters",
        f"      prompt, SHA-256 {PROMPT}",
    ]


def test_a_track_comes_from_its_song_and_not_from_the_covers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, lines, _ = told(capsys, tmp_path, f"songs/{SONG}/track-1.mp3")
    assert not any("cover task" in line for line in lines)
    assert lines[-1].strip() == f"prompt, SHA-256 {PROMPT}"


def test_a_music_task_id_leads_to_every_file_of_the_song(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, lines, _ = told(capsys, tmp_path, SONG)
    starts = [line.partition(" (")[0] for line in lines if line.startswith("s3://")]
    assert (code, starts) == (0, [f"s3://covers/songs/{SONG}/{name}" for name in FILES])


def test_a_folder_with_a_file_for_each_event_is_read_as_one_file_would_be(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, lines, _ = told(capsys, tmp_path, SONG)
    folder = tmp_path / "events"
    folder.mkdir()
    for number, each in enumerate(EVENTS):
        (folder / f"{number}.json").write_text(json.dumps(each))
    with pytest.raises(SystemExit) as ended:
        command(Namespace(what=SONG, events=str(folder)))
    assert (ended.value.code, capsys.readouterr().out.splitlines()) == (0, lines)


def test_what_the_events_do_not_tell_of_is_exit_code_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, lines, said = told(capsys, tmp_path, "songs/elsewhere/cover-1.png")
    assert (code, lines) == (1, [])
    assert "None of the 6 events tells of songs/elsewhere/cover-1.png." in said


@pytest.mark.parametrize("text", ["no json", "[]", "{}"])
def test_what_is_no_file_of_events_is_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    for events in ("-", "/no/such/file"):
        with pytest.raises(SystemExit) as ended:
            command(Namespace(what=SONG, events=events))
        assert ended.value.code == 2
        assert "The events could not be read" in capsys.readouterr().err


def test_what_others_write_into_the_same_file_and_a_line_that_is_cut_short_hide_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    others = [
        {"eventTime": "2026-11-22T10:00:00Z", "dataset": {"namespace": "n", "name": "of no run"}},
        {"eventType": "COMPLETE", "run": {"runId": "o1", "facets": None}, "job": {"name": "j"}, "inputs": None,
         "outputs": [dataset("x") | {"outputFacets": None}]},
        {"eventType": "COMPLETE", "run": {"runId": "o2"}, "job": {"name": "j"}, "outputs": None},
    ]  # fmt: skip
    file = tmp_path / "events.json"
    lines = [json.dumps(each) for each in (*others, *EVENTS)]
    file.write_bytes("\n".join((*lines, "[]", json.dumps(STORED)[:50])).encode() + b"\xff")
    with pytest.raises(SystemExit) as ended:
        command(Namespace(what=f"songs/{SONG}/cover-1.png", events=str(file)))
    printed = capsys.readouterr()
    assert ended.value.code == 0
    assert f"prompt, SHA-256 {PROMPT}" in printed.out
    assert f"Lines that are no events were left aside: 2, the first is line {len(lines) + 1}." in printed.err
