"""KIE's callbacks to a real Airflow: a song of another program starts the chain, and a forged call starts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from song_stack import SongStack, eventually


def receiver(songs: SongStack) -> str:
    return f"{songs.airflow.url}/kie/callback/kie_default"


def answered(sent: Mapping[str, Any]) -> set[Any]:
    """Return what the receiver has answered to a callback; a machine may be too busy to answer each attempt in time."""
    return set(sent["statuses"]) - {"timeout"}


@dataclass(frozen=True)
class Called:
    """Songs of which callbacks tell: the one that is woken is in a run of its own, the others begin at once.

    :param foreign: a song of another program that names our receiver.
    :param woken: a song that an event told of; its cover takes long, and whoever reads it does not learn its end.
    :param held: the fault that keeps its end from whoever reads it.
    """

    foreign: str
    woken: str
    held: str


@pytest.fixture(scope="module")
def called(songs: SongStack) -> Called:
    [woken] = songs.songs("Woken")
    cover = {"kind": "cover", "source_id": woken}
    songs.running.simulator.add_fault("task", "takes", seconds=40_000, **cover)
    held = songs.running.simulator.add_fault("details", "unknown_state", state=7, times=-1, **cover)
    songs.send_event(woken)
    eventually(lambda: songs.event_runs(woken), "a run takes the song")  # with two others it would be in a batch
    [foreign] = songs.songs("From Elsewhere", state="PENDING", callback_url=receiver(songs))
    return Called(foreign, woken, held)


def test_a_song_of_another_program_that_names_our_receiver_gets_its_covers_and_no_more_when_it_is_called_again(
    songs: SongStack, called: Called
) -> None:
    song = called.foreign
    songs.wait_archived([song])
    assert len(songs.event_runs(song)) == 1
    assert songs.charges([song]) == {song: 1}
    sent = songs.running.simulator.send_callback(song, url=receiver(songs))  # KIE's comes again after the archive
    assert answered(sent) == {200}
    assert not songs.pending(song).exists()
    assert len(songs.event_runs(song)) == 1


def test_ten_callbacks_at_once_and_ten_more_after_the_archive_make_one_run_and_one_payment(songs: SongStack) -> None:
    [song] = songs.songs("Told Ten Times")

    def tell(_: int) -> set[Any]:
        return answered(songs.running.simulator.send_callback(song, url=receiver(songs)))

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(tell, range(10))) == [{200}] * 10
        songs.wait_archived([song])
        assert list(pool.map(tell, range(10))) == [{200}] * 10
    cover = songs.cover_task_of(song)
    assert answered(songs.running.simulator.send_callback(cover)) == {200}  # late: its task has long ended
    assert not songs.pending(song).exists()
    assert len(songs.event_runs(song)) == 1
    assert songs.charges([song]) == {song: 1}


def test_a_forged_callback_is_refused_and_leaves_no_trace(songs: SongStack) -> None:
    [song] = songs.songs("Forged")
    for signature in ("forged", "none"):
        sent = songs.running.simulator.send_callback(song, url=receiver(songs), signature=signature)
        assert answered(sent) == {401}  # KIE tries again after any refusal
    assert not songs.pending(song).exists()
    assert songs.event_runs(song) == []


def trigger_logs(songs: SongStack, run_id: str, map_index: int) -> list[Path]:
    """Return the log files of the triggers of a song's generate_cover; there is one once the triggerer runs it."""
    parts = (f"run_id={run_id}", "generate_cover", f"map_index={map_index}")
    found = songs.running.settings.home.rglob("*.trigger.*")
    return [path for path in found if all(part in str(path) for part in parts)]


def test_the_callback_of_a_cover_wakes_the_task_that_waits_for_it(songs: SongStack, called: Called) -> None:
    song, simulator = called.woken, songs.running.simulator
    (run,) = songs.event_runs(song)
    index = songs.map_index(run, song)
    eventually(
        lambda: songs.task(run, "generate_cover", index)["state"] == "deferred" and trigger_logs(songs, run, index),
        "the cover is paid for, and the triggerer waits for it: of a trigger that it has not begun nothing is logged",
    )
    cover = songs.cover_task_of(song)
    assert simulator.callbacks(cover) == []

    simulator.add_fault("task", "takes", kind="cover", source_id=song, seconds=1)  # since its beginning: it ends now

    log = songs.running.settings.logs / "api-server.log"
    words = f"KIE task {cover} has ended; its task reads the result now."
    eventually(lambda: words in log.read_text(errors="replace"), "the callback has woken the task")
    sent = eventually(lambda: [call for call in simulator.callbacks(cover) if answered(call)], "KIE has called back")
    assert [answered(call) for call in sent] == [{200}]
    simulator.clear_faults(called.held)
    songs.wait_archived([song])
    logged = "".join(path.read_text(errors="replace") for path in trigger_logs(songs, run, index))
    assert "cancel" not in logged.lower()


def test_nothing_else_of_the_receiver_is_public(songs: SongStack) -> None:
    with httpx.Client(trust_env=False, timeout=200) as client:
        for path in ("/kie/docs", "/kie/openapi.json", "/kie/", "/kie/callback"):
            assert client.get(songs.airflow.url + path).status_code == 404
