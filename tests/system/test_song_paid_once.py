"""What costs credits is paid for once on real processes: lists in another order, emptied states, killed workers.

A worker is killed exactly between KIE's answer and the ledger's entry for it. With callbacks the id comes back;
without, the request is in doubt until a person has looked at kie.ai/logs. Airflow empties the state of each task that
succeeds, and people change a connection while its songs are waited for. KIE's forms take turns: the tests of the
operators do the same in both of them.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from airflow_kie.client.errors import KieCreateInDoubt
from local_stack.environment import SIMULATOR_KEY
from local_stack.parts import airflow_command
from song_stack import SongStack, eventually

CONNECTIONS = {"unified": "kie_default", "dedicated": "kie_dedicated"}
"""Of one account, and called back: the first names no form, and asks in the unified one."""
PROMPTS = ["A tango for two robots", "A polka for three clocks"]
CALLED_BACK, IN_DOUBT, ANTHEM = "A march that is called back", "A march that nobody hears of", "The anthem"
ROTATED, MOVED = "A song whose key is rotated", "A song whose connection is changed"
QUIET = "kie_quiet"
"""A connection without callbacks."""
FORM_OF = {
    "paid_list": "dedicated",
    ANTHEM: "unified",
    CALLED_BACK: "dedicated",
    IN_DOUBT: "unified",
    ROTATED: "dedicated",
    MOVED: "unified",
}
"""The form in which KIE is asked by each run."""
STUDIO, NEW_KEY, ELSEWHERE = "sim-studio", "sim-studio-new", "sim-elsewhere"
"""Two keys of an account whose songs take long until they are let go, and one of another account."""


@dataclass(frozen=True)
class Asked:
    """Runs that were begun side by side.

    :param listed: of a mapped operator, and of one with a list of requests.
    :param anthems: two runs with one idempotency key.
    :param called_back: its worker is killed, and a callback names its song.
    :param in_doubt: its worker is killed, and no callback comes.
    :param rotated: the key of its connection is replaced while its song is waited for.
    :param moved: its connection is led to another account while its song is waited for.
    """

    listed: str
    anthems: tuple[str, str]
    called_back: str
    in_doubt: str
    rotated: str
    moved: str


@pytest.fixture(scope="module")
def asked(songs: SongStack) -> Iterator[Asked]:
    airflow, simulator = songs.airflow, songs.running.simulator
    keys = {ROTATED: STUDIO, MOVED: STUDIO}
    connections = {QUIET: (SIMULATOR_KEY, FORM_OF[IN_DOUBT])}
    connections |= {connection_of(prompt): (key, FORM_OF[prompt]) for prompt, key in keys.items()}
    for name, (key, form) in connections.items():
        connection = {"connection_id": name, "conn_type": "kie", "host": songs.running.state.urls["simulator"]}
        airflow.call("POST", "/connections", {**connection, "extra": json.dumps({"api": form}), "password": key})
    for key, account in ((STUDIO, None), (NEW_KEY, STUDIO), (ELSEWHERE, None)):
        simulator.accept_key(key, account)
    simulator.add_fault("task", "takes", account=STUDIO, seconds=100_000, times=len(keys))
    for dag_id in ("paid_list", "paid_for_all_runs", "paid_and_killed", "paid_for_a_while"):
        airflow.wait_for_dag(dag_id)
    rotated, moved = (
        songs.trigger("paid_for_a_while", {"prompt": prompt, "kie_conn_id": connection_of(prompt)})
        for prompt in (ROTATED, MOVED)
    )
    in_doubt = songs.trigger("paid_and_killed", {"prompt": IN_DOUBT, "kie_conn_id": QUIET})
    called = {"prompt": CALLED_BACK, "kie_conn_id": CONNECTIONS[FORM_OF[CALLED_BACK]]}
    called_back = songs.trigger("paid_and_killed", called)
    listed = songs.trigger("paid_list", {"kie_conn_id": CONNECTIONS[FORM_OF["paid_list"]]})
    anthem = {"kie_conn_id": CONNECTIONS[FORM_OF[ANTHEM]]}
    first, second = (songs.trigger("paid_for_all_runs", anthem) for _ in range(2))
    yield Asked(listed, (first, second), called_back, in_doubt, rotated, moved)
    for name in connections:
        airflow.call("DELETE", f"/connections/{name}")


def connection_of(prompt: str) -> str:
    """Return the connection of a run whose connection is changed."""
    return prompt.replace(" ", "_")


def forms_of(songs: SongStack, *prompts: str) -> set[str]:
    """Return the forms in which KIE was asked for the songs of prompts."""
    charges = songs.running.simulator.ledger("music")
    return {charge["form"] for charge in charges for prompt in prompts if repr(prompt) in str(charge["request"])}


def charged(songs: SongStack, *prompts: str, kind: str = "music") -> list[tuple[str, str]]:
    """Return what KIE has made, and charged, for prompts: each with the task's id."""
    made = ((str(charge["request"]), str(charge["task_id"])) for charge in songs.running.simulator.ledger(kind))
    return sorted((prompt, task_id) for text, task_id in made for prompt in prompts if repr(prompt) in text)


def returned(songs: SongStack, run_id: str, dag_id: str = "paid_list") -> list[str]:
    """Return the ids that the songs' tasks of a run have returned, in the order of the list."""
    tasks = [task for task in songs.airflow.task_instances(dag_id, run_id) if task.task_id == "song"]
    indexes = sorted(task.map_index for task in tasks)
    return [songs.airflow.xcom(dag_id, run_id, "song", map_index=index) for index in indexes]


def task_state(songs: SongStack, dag_id: str, run_id: str, task_id: str = "song", method: str = "GET") -> Any:
    """Return what a task has stored, or delete it; of a mapped one, the first instance's."""
    path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}/state-store"
    return songs.airflow.call(method, path, map_index=0 if (dag_id, task_id) == ("paid_list", "song") else -1)


def test_a_list_that_is_cleared_in_another_order_and_with_an_emptied_state_is_not_paid_again(
    songs: SongStack, asked: Asked
) -> None:
    form = FORM_OF["paid_list"]
    prompts = [f"{prompt} of {CONNECTIONS[form]}" for prompt in PROMPTS]

    def paid() -> list[tuple[str, str]]:
        return charged(songs, *prompts) + charged(songs, *prompts, kind="jobs")

    run_id = asked.listed
    assert songs.ended("paid_list", run_id) == "success"
    once, in_order = paid(), returned(songs, run_id)
    assert [prompt for prompt, _ in once] == sorted(prompts) * 2
    assert dict(charged(songs, *prompts)) == dict(zip(prompts, in_order, strict=True))

    for task_id in ("song", "pictures_made"):  # `[state_store] clear_on_success`
        assert task_state(songs, "paid_list", run_id, task_id)["total_entries"] == 0
    songs.clear("paid_list", run_id)
    assert songs.ended("paid_list", run_id) == "success"
    assert returned(songs, run_id) == in_order[::-1]
    assert paid() == once
    rows = songs.airflow.xcom("paid_list", run_id, "pictures_made")
    assert [row["task_id"] for row in rows] == [dict(charged(songs, *prompts, kind="jobs"))[p] for p in prompts[::-1]]
    assert forms_of(songs, *prompts) == {form}


def test_two_runs_with_one_idempotency_key_share_one_song(songs: SongStack, asked: Asked) -> None:
    anthem = f"{ANTHEM} of {CONNECTIONS[FORM_OF[ANTHEM]]}"
    for run_id in asked.anthems:
        assert songs.ended("paid_for_all_runs", run_id) == "success"
    [(_, song)] = charged(songs, anthem)
    assert [returned(songs, run_id, "paid_for_all_runs") for run_id in asked.anthems] == [[song], [song]]
    assert forms_of(songs, anthem) == {FORM_OF[ANTHEM]}


def test_a_worker_killed_between_post_and_record_gets_its_song_back_by_a_callback(
    songs: SongStack, asked: Asked
) -> None:
    run_id = asked.called_back
    assert songs.ended("paid_and_killed", run_id) == "success"
    [(_, song)] = charged(songs, CALLED_BACK)
    assert returned(songs, run_id, "paid_and_killed") == [song]
    assert songs.task(run_id, "song", dag_id="paid_and_killed")["try_number"] > 1  # the first one was killed
    assert forms_of(songs, CALLED_BACK) == {FORM_OF[CALLED_BACK]}


def kie(songs: SongStack, *arguments: str) -> str:
    """Return what ``airflow kie …`` prints of the connection without callbacks."""
    command = airflow_command("kie", *arguments, "--kie-conn-id", QUIET)
    ran = subprocess.run(command, env=songs.running.env, capture_output=True, text=True, check=False, timeout=900)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_without_callbacks_it_is_in_doubt_until_a_person_has_named_the_song(songs: SongStack, asked: Asked) -> None:
    run_id, prompt = asked.in_doubt, IN_DOUBT
    assert songs.ended("paid_and_killed", run_id) == "failed"
    [(_, song)] = charged(songs, prompt)
    log = eventually(
        lambda: songs.airflow.logs("paid_and_killed", run_id, "song", try_number=2), "the second try is logged"
    )
    assert KieCreateInDoubt.what in log
    doubts = kie(songs, "doubts")
    [request] = re.findall(r"suno\.music/[0-9a-f]{32}", doubts)
    assert run_id in doubts
    assert request in log

    assert song in kie(songs, "adopt", request, song)
    songs.clear("paid_and_killed", run_id)
    assert songs.ended("paid_and_killed", run_id) == "success"
    assert returned(songs, run_id, "paid_and_killed") == [song]
    assert charged(songs, prompt) == [(prompt, song)]
    assert forms_of(songs, prompt) == {FORM_OF[IN_DOUBT]}


def waits_and_is_paid(songs: SongStack, run_id: str, prompt: str) -> None:
    """Wait until a run waits for its song."""
    eventually(
        lambda: charged(songs, prompt) and songs.task(run_id, "song", dag_id="paid_for_a_while")["state"] == "deferred",
        f"{prompt} is paid for and waited for",
    )


def change_key(songs: SongStack, connection_id: str, key: str) -> None:
    """Change a connection's API key, as a person does."""
    connection = {"connection_id": connection_id, "conn_type": "kie", "password": key}
    songs.airflow.call("PATCH", f"/connections/{connection_id}", connection, update_mask="password")


def ends_with_the_one_song(songs: SongStack, run_id: str, prompt: str) -> None:
    """Let KIE end a song, clear its run, and see that it is the one that was paid for."""
    [(_, song)] = charged(songs, prompt)
    songs.running.simulator.add_fault("task", "takes", task_id=song, seconds=1)
    songs.clear("paid_for_a_while", run_id)
    assert songs.ended("paid_for_a_while", run_id) == "success"
    assert returned(songs, run_id, "paid_for_a_while") == [song]
    assert charged(songs, prompt) == [(prompt, song)]
    assert forms_of(songs, prompt) == {FORM_OF[prompt]}


@pytest.fixture(scope="module")
def revoked(songs: SongStack, asked: Asked) -> None:
    """Let KIE accept the key no longer with which two songs are waited for; one connection has a new one."""
    for run_id, prompt in ((asked.rotated, ROTATED), (asked.moved, MOVED)):
        waits_and_is_paid(songs, run_id, prompt)
    change_key(songs, connection_of(MOVED), NEW_KEY)
    songs.running.simulator.revoke_key(STUDIO)


@pytest.mark.usefixtures("revoked")
def test_a_key_that_is_rotated_while_a_song_is_waited_for_pays_for_nothing(songs: SongStack, asked: Asked) -> None:
    run_id = asked.rotated
    assert songs.ended("paid_for_a_while", run_id) == "failed"  # KIE refuses the old key
    change_key(songs, connection_of(ROTATED), NEW_KEY)
    task_state(songs, "paid_for_a_while", run_id, method="DELETE")
    ends_with_the_one_song(songs, run_id, ROTATED)


@pytest.mark.usefixtures("revoked")
def test_a_connection_that_is_led_to_another_account_while_a_song_is_waited_for_pays_for_nothing(
    songs: SongStack, asked: Asked
) -> None:
    simulator, run_id, prompt = songs.running.simulator, asked.moved, MOVED
    [(_, song)] = charged(songs, prompt)
    read = simulator.add_fault("details", "slow", account=ELSEWHERE, task_id=song, seconds=0, times=-1)
    change_key(songs, connection_of(MOVED), ELSEWHERE)
    songs.clear("paid_for_a_while", run_id)
    eventually(
        lambda: next(fault["struck"] for fault in simulator.faults() if fault["id"] == read),
        "the song is looked for in the other account",
    )
    change_key(songs, connection_of(MOVED), NEW_KEY)
    ends_with_the_one_song(songs, run_id, prompt)
    assert [charge for charge in simulator.ledger() if charge["account"] == ELSEWHERE] == []
