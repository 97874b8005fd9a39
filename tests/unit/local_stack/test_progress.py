"""What a person sees of the songs while they move."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from airflow_kie.archive import run_songs
from local_stack.airflow_api import TaskInstance
from local_stack.demo_progress import ALONE, STEPS, Progress

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def task(name: str, index: int, state: str, begin: float | None = None, end: float | None = None) -> TaskInstance:
    """Return a task of the run, with times in seconds from its start."""
    began = None if begin is None else START + timedelta(seconds=begin)
    ended = None if end is None else START + timedelta(seconds=end)
    return TaskInstance(f"song.{name}", index, "", state, 1, began, ended)


def plain() -> Console:
    """A console that is not a terminal."""
    return Console(file=io.StringIO(), force_terminal=False, width=120)


def test_without_a_terminal_each_change_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(["Paper Boats", "Été"], plain()) as progress:
        progress.observe([task("generate_cover", 1, "running", 0)])
        progress.observe([task("generate_cover", 1, "running", 0)])
        progress.observe([task("generate_cover", 1, "success", 0, 4.25)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("  ")[2] for line in map(str.strip, lines)] == [
        "song 2 Été: generate_cover running",
        "song 2 Été: generate_cover success after 4.2 s",
    ]


def test_a_song_is_named_by_its_place_in_the_list() -> None:
    progress = Progress(["a", "b"], plain())
    progress.observe([task("archive_to_s3", 1, "success", 0, 1)])
    assert progress.steps[1]["archive_to_s3"].state == "success"
    assert progress.steps[0]["archive_to_s3"].state == ""


def test_a_step_that_was_deferred_counts_from_its_first_start() -> None:
    progress = Progress(["a"], plain())
    progress.observe([task("generate_cover", 0, "deferred", 0)])
    progress.observe([task("generate_cover", 0, "success", 8, 9)])
    assert progress.steps[0]["generate_cover"].seconds == 9.0


def test_other_tasks_of_the_run_are_no_songs() -> None:
    progress = Progress(["a"], plain())
    progress.observe([task("report", -1, "success", 0, 1), task("generate_cover", 7, "success", 0, 1)])
    assert all(step.state == "" for step in progress.steps[0].values())


def test_on_a_terminal_the_table_shows_every_song_and_step() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    progress = Progress(["Paper Boats", "Neon Rain"], console)
    progress.observe([task("music_complete", 0, "success", 0, 1.5), task("generate_cover", 0, "up_for_retry", 2, 3)])
    sheet = Console(file=io.StringIO(), width=120)
    sheet.print(progress)
    text = sheet.file.getvalue()  # type: ignore[attr-defined]
    for expected in ("Paper Boats", "Neon Rain", *STEPS, "success 1.5 s", "up_for_retry"):
        assert expected in text


def test_of_many_songs_a_task_is_that_of_its_batch(capsys: pytest.CaptureFixture[str]) -> None:
    titles = [f"Song {number}" for number in range(1, 27)]
    progress = Progress(titles, plain())
    batch, last, unnamed = (task("generate_cover", index, "success", 0, 2) for index in (0, 1, 1))
    progress.observe([unnamed])  # its label is not rendered yet
    assert all(steps["generate_cover"].state == "" for steps in progress.steps)
    progress.observe([replace(batch, label="songs 1 to 25"), replace(last, label="Song 26")])
    assert [steps["generate_cover"].seconds for steps in progress.steps] == [2.0] * 26
    lines = [line.partition("  ")[2] for line in map(str.strip, capsys.readouterr().out.splitlines())]
    took = "generate_cover success after 2.0 s"
    assert lines == [f"songs 1 to 25: {took}", f"song 26 Song 26: {took}"]


def test_a_run_of_as_many_songs_as_the_progress_takes_for_single_ones_is_mapped_one_by_one() -> None:
    assert ALONE == run_songs.ALONE
