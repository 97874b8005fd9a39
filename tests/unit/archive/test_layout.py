"""The names of the keys are fixed, and no text from outside can leave its folder."""

from __future__ import annotations

import pytest

from airflow_kie.archive.layout import (
    MAX_KEY_BYTES,
    MAX_PREFIX_BYTES,
    ArchiveKeys,
    SongKeys,
    inbox_done_key,
    inbox_rejected_keys,
    is_waiting_in_inbox,
)
from airflow_kie.client.task_ids import KeyRefused

ID = "5c79be8e4d3f4b6a8e0d1c2b3a495867"


def test_the_keys_of_a_song_have_the_published_names() -> None:
    keys = SongKeys("music", ID)
    assert keys.file("cover", 1, "png") == f"music/{ID}/cover-1.png"
    assert keys.file("track", 2, "mp3") == f"music/{ID}/track-2.mp3"
    assert keys.file("lyrics", 2, "txt") == f"music/{ID}/lyrics-2.txt"
    assert keys.manifest == f"music/{ID}/manifest.json"
    assert keys.choice == f"music/{ID}/choice.json"
    assert keys.pending == f"music/_pending/{ID}.json"
    assert ArchiveKeys("music").probe == "music/_probe"
    assert ArchiveKeys("music").raw("team/../a", "suno.cover") == "music/_raw/suno.cover.team%2F..%2Fa.json"


def test_an_empty_prefix_means_the_root_of_the_bucket() -> None:
    assert SongKeys("", ID).manifest == f"{ID}/manifest.json"
    assert ArchiveKeys("/").pending == "_pending/"


def test_slashes_around_a_prefix_do_not_matter() -> None:
    assert SongKeys("/team a/Müsik/", ID) == SongKeys("team a/Müsik", ID)


@pytest.mark.parametrize("task_id", [ID, "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "veo_task_abc123", "a.b"])
def test_every_form_of_a_kie_id_is_taken(task_id: str) -> None:
    assert SongKeys("p", task_id).manifest == f"p/{task_id}/manifest.json"


@pytest.mark.parametrize(
    "task_id",
    ["", "..", "a..b", "a/b", "../x", "_pending", ".hidden", "a b", "a\nb", "a\x00", "ä", "x" * 129, "a\\b", "a\n"],
)
def test_a_text_that_could_leave_the_folder_is_no_task_id(task_id: str) -> None:
    with pytest.raises(KeyRefused):
        SongKeys("p", task_id)


@pytest.mark.parametrize(
    "prefix",
    [
        "a/../b",
        "..",
        "a//b",
        "a/./b",
        "a\\b",
        "a\nb",
        "a/_pending",
        "a/_raw",
        "_inbox/a",
        "_mine",
        "inbox",
        "inbox/x",
        " a",
        "a /b",
        "x" * 513,
    ],
)
def test_a_prefix_that_means_something_else_is_refused_with_a_sentence(prefix: str) -> None:
    with pytest.raises(KeyRefused, match=r"prefix .*\.$"):
        SongKeys(prefix, ID)


def test_a_song_called_inbox_cannot_stand_where_the_inbox_is() -> None:
    with pytest.raises(KeyRefused):
        SongKeys("", "inbox")
    assert SongKeys("music", "inbox").manifest == "music/inbox/manifest.json"


@pytest.mark.parametrize("n", [0, -1])
def test_positions_start_at_one(n: int) -> None:
    with pytest.raises(KeyRefused):
        SongKeys("p", ID).file("cover", n, "png")


@pytest.mark.parametrize("extension", ["", "PNG", "p/g", "../x", "longer"])
def test_an_extension_is_a_few_small_letters(extension: str) -> None:
    with pytest.raises(KeyRefused):
        SongKeys("p", ID).file("cover", 1, extension)


def test_the_ids_of_pending_songs_are_read_from_their_keys_and_strays_are_passed_over() -> None:
    archive = ArchiveKeys("music")
    keys = [f"music/_pending/{ID}.json", "music/_pending/", "music/_pending/x.txt", "other/_pending/a.json"]
    assert [archive.pending_song(key) for key in keys] == [SongKeys("music", ID), None, None, None]


def test_what_was_put_away_does_not_wait_in_the_inbox() -> None:
    assert is_waiting_in_inbox("inbox/monday.json")
    for key in ("inbox/", "inbox/done/a.json", "inbox/rejected/a.json", "music/a.json"):
        assert not is_waiting_in_inbox(key)


def test_an_inbox_object_is_put_away_under_its_own_name() -> None:
    assert inbox_done_key("inbox/a/b.json") == "inbox/done/a/b.json"
    assert inbox_rejected_keys("inbox/b.csv") == ("inbox/rejected/b.csv", "inbox/rejected/b.csv.reason.txt")


def test_the_folder_of_a_list_leaves_room_for_its_objects_however_long_the_names_are() -> None:
    prefix, names = "p" * MAX_PREFIX_BYTES, ["歌" * 250, "manual__2026-11-30T10:00:00+00:00" * 7, "x" * 250, "12"]
    folder = ArchiveKeys(prefix).list_of(*names)
    assert len(f"{folder}rows/{'0' * 20}-{'0' * 8}.jsonl".encode()) <= MAX_KEY_BYTES
    assert folder != ArchiveKeys(prefix).list_of("歌" * 249, *names[1:])
    assert ArchiveKeys("media").list_of("a/b", "monday") == "media/_lists/a%2Fb/monday/"
