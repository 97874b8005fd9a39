"""KIE's callbacks to a real Airflow: a song of another program starts the chain, and a forged call starts nothing."""

from __future__ import annotations

import httpx

from song_stack import SongStack, eventually


def receiver(songs: SongStack) -> str:
    return f"{songs.airflow.url}/kie/callback/kie_default"


def test_a_song_of_another_program_that_names_our_receiver_gets_its_covers(songs: SongStack) -> None:
    [song] = songs.songs("From Elsewhere", state="PENDING", callback_url=receiver(songs))
    songs.wait_archived([song])
    assert len(songs.event_runs(song)) == 1
    assert songs.charges([song]) == {song: 1}


def test_a_callback_that_comes_again_after_the_archive_starts_nothing(songs: SongStack) -> None:
    [song] = songs.songs("Told Twice", state="PENDING", callback_url=receiver(songs))
    songs.wait_archived([song])
    sent = songs.running.simulator.send_callback(song, url=receiver(songs))
    assert sent["statuses"] == [200]
    assert not songs.pending(song).exists()
    assert len(songs.event_runs(song)) == 1


def test_a_forged_callback_is_refused_and_leaves_no_trace(songs: SongStack) -> None:
    [song] = songs.songs("Forged")
    for signature in ("forged", "none"):
        sent = songs.running.simulator.send_callback(song, url=receiver(songs), signature=signature)
        assert set(sent["statuses"]) == {401}  # KIE tries again after any refusal
    assert not songs.pending(song).exists()
    assert songs.event_runs(song) == []


def test_the_callback_of_a_cover_wakes_the_task_that_waits_for_it(songs: SongStack) -> None:
    [song] = songs.songs("Woken")
    songs.send_event(song)
    songs.wait_archived([song])
    cover = songs.cover_task_of(song)
    sent = eventually(lambda: songs.running.simulator.callbacks(cover), "KIE has called back")
    assert [call["statuses"] for call in sent] == [[200]]
    log = (songs.running.settings.logs / "api-server.log").read_text()
    assert f"KIE task {cover} has ended; its task looks now." in log


def test_nothing_else_of_the_receiver_is_public(songs: SongStack) -> None:
    with httpx.Client(trust_env=False) as client:
        for path in ("/kie/docs", "/kie/openapi.json", "/kie/", "/kie/callback"):
            assert client.get(songs.airflow.url + path).status_code == 404
