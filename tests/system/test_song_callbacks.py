"""KIE's callbacks to a real Airflow: a song of another program starts the chain, and a forged call starts nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

from song_stack import SongStack, eventually


def receiver(songs: SongStack) -> str:
    return f"{songs.airflow.url}/kie/callback/kie_default"


@dataclass(frozen=True)
class Called:
    """Songs of which callbacks tell, begun all at once.

    :param foreign: a song of another program that names our receiver.
    :param twice: another one.
    :param woken: a song that an event told of; its cover's callback is what counts.
    """

    foreign: str
    twice: str
    woken: str


@pytest.fixture(scope="module")
def called(songs: SongStack) -> Called:
    foreign, twice = songs.songs("From Elsewhere", "Told Twice", state="PENDING", callback_url=receiver(songs))
    [woken] = songs.songs("Woken")
    songs.send_event(woken)
    return Called(foreign, twice, woken)


def test_a_song_of_another_program_that_names_our_receiver_gets_its_covers(songs: SongStack, called: Called) -> None:
    song = called.foreign
    songs.wait_archived([song])
    assert len(songs.event_runs(song)) == 1
    assert songs.charges([song]) == {song: 1}


def test_a_callback_that_comes_again_after_the_archive_starts_nothing(songs: SongStack, called: Called) -> None:
    song = called.twice
    songs.wait_archived([song])
    sent = songs.running.simulator.send_callback(song, url=receiver(songs))
    assert sent["statuses"] == [200]
    assert not songs.pending(song).exists()
    assert len(songs.event_runs(song)) == 1


def test_ten_callbacks_at_once_and_ten_more_after_the_archive_make_one_run_and_one_payment(songs: SongStack) -> None:
    [song] = songs.songs("Told Ten Times")

    def tell(_: int) -> list[int]:
        return list(songs.running.simulator.send_callback(song, url=receiver(songs))["statuses"])

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(tell, range(10))) == [[200]] * 10
        songs.wait_archived([song])
        assert list(pool.map(tell, range(10))) == [[200]] * 10
    cover = songs.cover_task_of(song)
    assert songs.running.simulator.send_callback(cover)["statuses"] == [200]  # late: its task has long ended
    assert not songs.pending(song).exists()
    assert len(songs.event_runs(song)) == 1
    assert songs.charges([song]) == {song: 1}


def test_a_forged_callback_is_refused_and_leaves_no_trace(songs: SongStack) -> None:
    [song] = songs.songs("Forged")
    for signature in ("forged", "none"):
        sent = songs.running.simulator.send_callback(song, url=receiver(songs), signature=signature)
        assert set(sent["statuses"]) == {401}  # KIE tries again after any refusal
    assert not songs.pending(song).exists()
    assert songs.event_runs(song) == []


def test_the_callback_of_a_cover_wakes_the_task_that_waits_for_it(songs: SongStack, called: Called) -> None:
    song = called.woken
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
