"""Events to a paused DAG are dropped by Airflow; the songs are not lost."""

from __future__ import annotations

from song_stack import SongStack, eventually


def test_five_songs_that_arrive_while_music_cover_is_paused_are_archived_once_it_is_not(songs: SongStack) -> None:
    lost = songs.songs(*(f"While Paused {number}" for number in range(1, 6)))
    songs.airflow.pause("music_cover")
    for number, song in enumerate(lost):
        songs.drop(f"paused-{number}.json", f'{{"music_task_id": "{song}", "labels": {{"our_id": "P-{number}"}}}}')
    assert songs.look_into_inbox() == "success"
    assert [songs.event_runs(song) for song in lost] == [[]] * 5
    assert all(songs.pending(song).exists() for song in lost)

    songs.airflow.unpause("music_cover")
    songs.let_age(lost, minutes=11)
    assert songs.look_into_inbox() == "success"

    eventually(lambda: all(songs.event_runs(song) for song in lost), "the sweep hands every song on")
    songs.wait_archived(lost)
    assert [len(songs.event_runs(song)) for song in lost] == [1] * 5
    assert set(songs.charges(lost).values()) == {1}
    assert [songs.labels(song) for song in lost] == [{"our_id": f"P-{number}"} for number in range(5)]
