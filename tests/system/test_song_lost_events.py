"""Events only wake: those to a paused DAG are dropped by Airflow, and the songs are not lost."""

from __future__ import annotations

from song_stack import SongStack, eventually


def test_songs_of_the_inbox_and_of_events_that_come_while_music_cover_is_paused_are_archived_once_it_is_not(
    songs: SongStack,
) -> None:
    [in_inbox, named] = songs.songs("While Paused", "Named While Paused")
    songs.airflow.pause("music_cover")
    songs.drop("paused.json", f'{{"music_task_id": "{in_inbox}", "labels": {{"our_id": "P-0"}}}}')
    songs.send_event(named, labels={"our_id": "P-1"})  # it alone names the song: nothing of it is in the bucket
    assert songs.look_into_inbox() == "success"
    lost = [in_inbox, named]
    assert [songs.event_runs(song) for song in lost] == [[]] * 2
    assert [songs.pending(song).exists() for song in lost] == [True, False]

    songs.airflow.unpause("music_cover")
    songs.let_age([in_inbox], minutes=11)
    assert songs.look_into_inbox() == "success"

    eventually(lambda: all(songs.event_runs(song) for song in lost), "a run takes every song")
    songs.wait_archived(lost)
    assert [len(songs.event_runs(song)) for song in lost] == [1] * 2
    assert set(songs.charges(lost).values()) == {1}
    assert [songs.labels(song) for song in lost] == [{"our_id": f"P-{number}"} for number in range(2)]
