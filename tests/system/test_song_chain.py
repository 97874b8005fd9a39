"""The chain on Airflow's real processes: by form, by event, by inbox, by prompt; cleared, reordered, asked for more."""

from __future__ import annotations

import json
from io import BytesIO

from PIL import Image

from song_stack import SongStack, eventually
from system.conftest import Begun, WithAudio


def test_two_songs_of_a_form_are_archived_while_the_third_one_fails_for_good(songs: SongStack, begun: Begun) -> None:
    assert songs.ended("music_cover", begun.form) == "failed"
    for song in begun.good:
        assert songs.archived(song).whole
        assert not songs.pending(song).exists()
    assert not songs.archived(begun.refused).manifest.exists()
    assert songs.charges([*begun.good, begun.refused]) == {begun.good[0]: 1, begun.good[1]: 1, begun.refused: 0}


def test_archived_covers_open_as_pictures_of_the_size_in_the_manifest(songs: SongStack, begun: Begun) -> None:
    songs.wait_archived(begun.good)
    for song in begun.good:
        files = [file for file in songs.manifest(song)["files"] if file["kind"] == "cover"]
        assert len(files) == 2
        for file in files:
            with Image.open(BytesIO((songs.bucket / file["key"]).read_bytes())) as picture:
                picture.load()
                assert (picture.format, picture.size) == ("PNG", (file["width"], file["height"]))


def test_the_report_says_in_words_what_failed_and_what_a_person_can_do(songs: SongStack, begun: Begun) -> None:
    songs.ended("music_cover", begun.form)
    log = songs.airflow.logs("music_cover", begun.form, "report")
    (verdict,) = {line[line.index("2 songs") :] for line in log.splitlines() if "2 songs are archived" in line}
    assert verdict.startswith("2 songs are archived, 1 failed: [")
    for sentence in (
        f"] KIE rejected the content (KIE task {begun.refused}): The prompt has sensitive words [code 500].",
        " Last state: SENSITIVE_WORD_ERROR. ",
        " No retry can help. Change the text that KIE names and generate a new song; the same text is rejected again.",
    ):
        assert sentence in verdict
    rows = songs.airflow.xcom("music_cover", begun.form, "report", key="table")
    told = {row["music_task_id"]: row["result"] for row in rows}
    assert told == {begun.good[0]: "archived", begun.refused: "failed at music_complete", begun.good[1]: "archived"}


def test_a_failed_song_stays_owed_with_its_reason_and_is_not_swept(songs: SongStack, begun: Begun) -> None:
    songs.ended("music_cover", begun.form)
    assert json.loads(songs.pending(begun.refused).read_text())["last_failure"]["reason"] == "content_rejected"
    songs.let_age([begun.refused], minutes=120)
    assert songs.look_into_inbox() == "success"
    assert songs.event_runs(begun.refused) == []


def test_a_cleared_run_whose_list_comes_back_reversed_gives_every_song_its_own_cover(
    songs: SongStack, begun: Begun
) -> None:
    eventually(lambda: set(songs.charges(begun.reordered).values()) == {1}, "every cover is paid for")
    songs.reorder(begun.reordered[::-1])
    songs.clear("reordered_songs", begun.reordered_run)
    for fault in begun.held:
        songs.running.simulator.clear_faults(fault)

    assert songs.ended("reordered_songs", begun.reordered_run) == "success"
    listed = songs.airflow.xcom("reordered_songs", begun.reordered_run, "song_list")
    assert [song["music_task_id"] for song in listed] == begun.reordered[::-1]
    assert set(songs.charges(begun.reordered).values()) == {1}
    for song in begun.reordered:
        cover = songs.cover_task_of(song)
        assert songs.archived(song).whole
        assert songs.manifest(song)["cover_task_ids"] == [cover]
        assert {file["task_id"] for file in songs.manifest(song)["files"]} == {cover}


def test_of_three_events_at_once_every_song_is_taken_by_one_run_and_archived(songs: SongStack, begun: Begun) -> None:
    songs.wait_archived(begun.with_events)
    assert [len(songs.event_runs(song)) for song in begun.with_events] == [1] * 3
    assert set(songs.charges(begun.with_events).values()) == {1}
    assert set(songs.forms(begun.with_events).values()) == {"dedicated"}  # the form that alone has shown them
    assert [songs.labels(song) for song in begun.with_events] == [
        {"our_id": f"E-{song[:4]}"} for song in begun.with_events
    ]


def test_a_second_event_about_an_archived_song_wakes_a_run_that_does_nothing_with_it(
    songs: SongStack, begun: Begun
) -> None:
    song = begun.with_events[0]
    songs.wait_archived([song])
    before = songs.contents(song)

    songs.send_event(song)

    eventually(lambda: len(songs.event_runs(song)) == 2, "the second event makes a run")
    second = songs.event_runs(song)[1]
    assert songs.ended("music_cover", second) == "success"
    rows = songs.airflow.xcom("music_cover", second, "report")
    assert (song, "archived already") in [(row["music_task_id"], row["result"]) for row in rows]
    assert songs.contents(song) == before
    assert songs.charges([song]) == {song: 1}


def test_songs_from_the_inbox_are_archived_with_their_labels(songs: SongStack, begun: Begun) -> None:
    songs.wait_archived(begun.in_inbox)
    labels = [songs.labels(song) for song in begun.in_inbox]
    assert labels == [
        {"our_id": "A-1"},
        {"our_id": "L-1"},
        {"our_id": "L-2"},
        {"album": "Red"},
    ]
    assert set(songs.charges(begun.in_inbox).values()) == {1}


def test_inbox_objects_are_put_away_and_an_unreadable_one_is_rejected_with_its_reason(
    songs: SongStack, begun: Begun
) -> None:
    assert songs.ended("cover_inbox", begun.inbox_run) == "success"
    inbox = songs.bucket / "inbox"
    readable = {"alone.json", "lines.jsonl", "rows.csv"}
    done = {path.name for path in (inbox / "done").iterdir()}  # with those of other tests
    assert {path.name for path in inbox.iterdir()} & {*readable, "broken.json"} == set()
    assert done & {*readable, "broken.json"} == readable
    assert (inbox / "rejected" / "broken.json").read_text() == '{"music_task_id": '
    reason = (inbox / "rejected" / "broken.json.reason.txt").read_text()
    assert "is not JSON: Expecting value" in reason.splitlines()[0]
    assert "No song of this object was accepted." in reason


def test_songs_handed_on_twice_by_the_inbox_cost_and_change_nothing(songs: SongStack, begun: Begun) -> None:
    twice = begun.in_inbox[:3]
    songs.wait_archived(twice)
    before = [songs.contents(song) for song in twice]
    runs = len(songs.airflow.runs("music_cover"))
    songs.drop("again.json", json.dumps({"music_task_id": twice[0], "labels": {"our_id": "A-1"}}))
    songs.drop("again.csv", f"music_task_id,our_id\n{twice[1]},L-1\n{twice[2]},L-2\n")

    assert songs.look_into_inbox() == "success"

    eventually(lambda: len(songs.airflow.runs("music_cover")) >= runs + 2, "both objects make a run")
    for run in songs.airflow.runs("music_cover")[runs:]:
        assert songs.ended("music_cover", run["dag_run_id"]) == "success"
    assert [songs.contents(song) for song in twice] == before
    assert set(songs.charges(twice).values()) == {1}
    assert not any(songs.pending(song).exists() for song in twice)


def test_audio_asked_for_later_is_added_and_the_covers_stay_as_they_are(
    songs: SongStack, with_audio: WithAudio
) -> None:
    song, before = with_audio.songs[0], with_audio.before
    after = songs.contents(song)
    assert sorted(after) == ["cover-1.png", "cover-2.png", "manifest.json", "track-1.mp3", "track-2.mp3"]
    assert [after[name] for name in ("cover-1.png", "cover-2.png")] == [before["cover-1.png"], before["cover-2.png"]]
    assert songs.archived(song).whole
    assert [file["kind"] for file in songs.manifest(song)["files"]] == ["cover", "cover", "track", "track"]
    assert songs.charges([song]) == {song: 1}


def test_an_empty_form_fails_at_once_with_a_sentence(songs: SongStack) -> None:
    run = songs.trigger("music_cover", {"music_task_ids": [" , "]})
    assert songs.ended("music_cover", run) == "failed"
    task = songs.task(run, "song_list")
    assert task["try_number"] <= task["max_tries"]  # it has retries, and they are not used up
    log = songs.airflow.logs("music_cover", run, "song_list")
    assert "No music task ids were given: paste them from kie.ai/logs, one per line." in log
