"""What people and Airflow do to tasks that are paid: clears, other orders, other keys, emptied stores. No second task.

KIE makes another task for each create here: what is not paid for again is not sent again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_connections import kie_connection
from airflow_kie.client.errors import KieFailedForGood, KieInvalidRequest, KieTaskUnknown, KieUnauthorized
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_kie.operators.task import KieTaskOperator
from airflow_task import FakeTaskStateStore, StoredFiles, TaskInstance, TaskRun
from kie_simulator.server import SimulatorServer
from paid_requests import Entries, InBucket, recorded

PaidIn = Callable[[TaskRun], Entries]
for_all_runs = pytest.mark.parametrize("paid_in", ["bucket", "database"], indirect=True)
MUSIC = {"customMode": False, "instrumental": False, "model": "V5"}


@pytest.fixture(autouse=True)
def every_create_makes_a_task(kie: SimulatorServer) -> None:
    kie.control.set(duplicate="none")


def song_run(prompt: str = "rain", *, run_id: str = "monday", map_index: int = -1, **options: Any) -> TaskRun:
    settings: dict[str, Any] = {"poll_interval": 0.05, "deferrable": True} | options
    return TaskRun(
        lambda: KieGenerateMusicOperator(task_id="generate", prompt=prompt, **settings),
        ti=TaskInstance(dag_id="songs", run_id=run_id, map_index=map_index),
    )


def cover_run(song: str, *, run_id: str = "monday", **options: Any) -> TaskRun:
    settings: dict[str, Any] = {"poll_interval": 0.05, "deferrable": True} | options
    return TaskRun(
        lambda: KieGenerateCoverOperator(task_id="cover", music_task_id=song, **settings),
        ti=TaskInstance(run_id=run_id),
    )


def song_of(kie: SimulatorServer) -> str:
    return kie.control.make_music("Velvet Harbour")[0].task_id


def paid(kie: SimulatorServer, kind: str = "music") -> list[str]:
    return [charge["task_id"] for charge in kie.control.ledger(kind)]


# --- another order ---


def mapped(prompts: Sequence[str], before: Sequence[TaskRun] | None = None) -> list[TaskRun]:
    """Return a mapped operator's task instances; each map index keeps its state, whatever it is asked for then."""
    runs = [song_run(prompt, map_index=index) for index, prompt in enumerate(prompts)]
    if before is None:
        return runs
    return [replace(run, store=old.store, ti=old.cleared().ti) for run, old in zip(runs, before, strict=True)]


@for_all_runs
@pytest.mark.parametrize("emptied", [False, True])
def test_a_mapped_task_that_is_cleared_with_its_list_reversed_pays_for_nothing(
    kie: SimulatorServer, paid_in: PaidIn, emptied: bool
) -> None:
    prompts = ["rain", "snow", "hail"]
    runs = mapped(prompts)
    songs = {prompt: run.attempt() for prompt, run in zip(prompts, runs, strict=True)}
    for order in (prompts[::-1], ["snow", "rain", "hail"]):
        if emptied:
            for run in runs:
                run.store.rows.clear()
        runs = mapped(order, runs)
        assert {prompt: run.attempt() for prompt, run in zip(order, runs, strict=True)} == songs
    assert sorted(paid(kie)) == sorted(songs.values())


@for_all_runs
def test_a_longer_list_pays_for_what_is_new(kie: SimulatorServer, paid_in: PaidIn) -> None:
    first = [run.attempt() for run in mapped(["rain", "snow"])]
    again = [run.attempt() for run in mapped(["hail", "rain", "snow"])]
    assert again[1:] == first
    assert paid(kie) == [*first, again[0]]


@for_all_runs
def test_equal_requests_of_two_map_indexes_share_a_task(kie: SimulatorServer, paid_in: PaidIn) -> None:
    one, other = (run.attempt() for run in mapped(["rain", "rain"]))
    assert one == other
    assert paid(kie) == [one]


def list_run(prompts: Sequence[str], before: TaskRun | None = None, **options: Any) -> TaskRun:
    """Return a task with a list of requests, cleared if it has run before."""
    bodies = [{"prompt": prompt, **MUSIC} for prompt in prompts]
    settings: dict[str, Any] = {"poll_interval": 0.05, "deferrable": True} | options
    make = lambda: KieTaskOperator(task_id="make", operation="suno.music", requests=bodies, **settings)  # noqa: E731
    ti = before.cleared().ti if before else TaskInstance(dag_id="songs", run_id="monday")
    return TaskRun(make, before.store if before else FakeTaskStateStore(), ti)


@for_all_runs
@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("emptied", [False, True])
def test_a_list_that_is_cleared_in_another_order_gives_each_request_its_own_task(
    kie: SimulatorServer, paid_in: PaidIn, emptied: bool, deferrable: bool
) -> None:
    prompts = ["rain", "snow", "hail"]
    run = list_run(prompts, deferrable=deferrable)
    songs = {prompt: row["task_id"] for prompt, row in zip(prompts, run.attempt(), strict=True)}
    if emptied:
        run.store.rows.clear()
    again = list_run(prompts[::-1], run, deferrable=deferrable).attempt()
    assert {prompt: row["task_id"] for prompt, row in zip(prompts[::-1], again, strict=True)} == songs
    assert sorted(paid(kie)) == sorted(songs.values())
    prompted = {charge["request"]["prompt"]: charge["task_id"] for charge in kie.control.ledger("music")}
    assert prompted == songs


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_list_whose_requests_render_differently_in_each_leg_pays_once_a_try(
    kie: SimulatorServer, deferrable: bool
) -> None:
    """A template with a time in it is another text in each leg of a task, and in each retry."""
    rendered = iter(range(100))

    def make() -> KieTaskOperator:
        bodies = [{"prompt": f"rain at {next(rendered)}", **MUSIC}, {"prompt": "snow", **MUSIC}]
        return KieTaskOperator(
            task_id="make", operation="suno.music", requests=bodies, deferrable=deferrable, poll_interval=0.05
        )

    run = TaskRun(make)
    rows = run.attempt()
    assert run.retried().attempt() == rows
    assert sorted(paid(kie)) == sorted(row["task_id"] for row in rows)


@for_all_runs
def test_a_list_that_is_cleared_after_a_refusal_asks_for_what_was_refused_and_for_nothing_else(
    kie: SimulatorServer, paid_in: PaidIn
) -> None:
    from airflow_kie.client.errors import KieSomeFailed

    kie.control.add_fault("create", "code", kind="music", code=422, times=1)
    run = list_run(["rain", "snow", "hail"])
    with pytest.raises(KieSomeFailed):
        run.attempt()
    first = paid(kie)
    assert len(first) == 2
    rows = list_run(["rain", "snow", "hail"], run).attempt()
    assert {row["status"] for row in rows} == {"done"}
    assert len(paid(kie)) == 3
    assert {row["task_id"] for row in rows} == set(paid(kie))


# --- emptied stores ---


@for_all_runs
def test_a_task_whose_state_is_emptied_on_success_pays_for_nothing_when_it_is_cleared(
    kie: SimulatorServer, paid_in: PaidIn
) -> None:
    """`[state_store] clear_on_success` empties it."""
    run = song_run()
    song = run.attempt()
    for _ in range(3):
        run.store.rows.clear()
        run = run.cleared()
        assert run.attempt() == song
    assert paid(kie) == [song]


@for_all_runs
def test_a_task_whose_state_is_emptied_while_it_waits_goes_on_with_its_task(
    kie: SimulatorServer, paid_in: PaidIn
) -> None:
    kie.control.set(music_seconds=3600.0)
    run = song_run()
    with pytest.raises(TaskDeferred) as waiting:
        run.execute()
    run.store.rows.clear()
    with pytest.raises(TaskDeferred):
        run.wake(waiting.value.method_name, {**(waiting.value.kwargs or {}), "event": {"outcome": "called_back"}})
    assert len(paid(kie)) == 1


@for_all_runs
@pytest.mark.parametrize("damage", [{"failed_ids": 7}, {"kind": "suno.polka"}])
def test_a_task_whose_stored_record_is_damaged_goes_on_with_its_task(
    kie: SimulatorServer, paid_in: PaidIn, damage: dict[str, Any]
) -> None:
    run = song_run()
    song = run.attempt()
    (key,) = [name for name in run.store.rows if name.startswith("music/")]
    run.store.rows[key] = json.dumps(run.store.record(key) | damage)
    assert run.retried().attempt() == song
    assert paid(kie) == [song]


def test_a_song_whose_pending_record_is_deleted_is_not_paid_for_again(
    kie: SimulatorServer, bucket: str, archive: StoredFiles
) -> None:
    run = song_run(bucket=bucket, prefix="songs")
    song = run.attempt()
    cover = cover_run(song, bucket=bucket, prefix="songs").attempt()
    for key in [key for key in archive.listed() if "_pending/" in key]:
        archive.client.delete_object(Bucket=bucket, Key=key)
    run.store.rows.clear()
    assert run.cleared().attempt() == song
    assert cover_run(song, run_id="tuesday", bucket=bucket, prefix="songs").attempt() == cover
    assert (paid(kie), paid(kie, "cover")) == ([song], [cover])


# --- other runs ---


@for_all_runs
def test_a_second_run_with_the_same_key_uses_the_first_ones_task(kie: SimulatorServer, paid_in: PaidIn) -> None:
    song = song_run(idempotency_key="order-17").attempt()
    assert song_run("another text", run_id="tuesday", idempotency_key="order-17").attempt() == song
    assert paid(kie) == [song]
    other = song_run(run_id="tuesday", idempotency_key="order-18").attempt()
    assert paid(kie) == [song, other]


@for_all_runs
def test_a_second_run_without_a_key_is_another_song_and_another_cover_is_not(
    kie: SimulatorServer, paid_in: PaidIn
) -> None:
    first, second = song_run().attempt(), song_run(run_id="tuesday").attempt()
    assert paid(kie) == [first, second]
    cover = cover_run(first).attempt()
    assert cover_run(first, run_id="tuesday").attempt() == cover
    assert paid(kie, "cover") == [cover]


@for_all_runs
def test_a_template_of_nothing_is_no_key_no_id_and_no_wish_for_a_new_one(kie: SimulatorServer, paid_in: PaidIn) -> None:
    nothing = dict.fromkeys(("idempotency_key", "adopt_task_id", "force_new"), "None")
    songs = [song_run(run_id=run_id, **nothing).attempt() for run_id in ("monday", "tuesday")]
    assert paid(kie) == songs
    with pytest.raises(KieInvalidRequest, match="has no music_task_id"):
        cover_run("None").attempt()


@for_all_runs
def test_force_new_buys_one_more_and_its_clears_do_not(kie: SimulatorServer, paid_in: PaidIn) -> None:
    first = song_run(idempotency_key="order-17").attempt()
    run = song_run(idempotency_key="order-17", force_new="once more")
    second = run.attempt()
    run.store.rows.clear()
    assert run.cleared().attempt() == run.retried().attempt() == second
    assert paid(kie) == [first, second]


@for_all_runs
def test_what_failed_three_times_in_one_run_is_not_paid_for_by_another(kie: SimulatorServer, paid_in: PaidIn) -> None:
    kie.control.add_fault("task", "fail", kind="music", times=-1)
    for run_id in ("monday", "tuesday", "wednesday"):
        with pytest.raises(KieFailedForGood, match="3 tasks failed"):
            song_run(run_id=run_id, idempotency_key="order-17").attempt()
    assert len(paid(kie)) == 3


# --- other connections ---


def connect(monkeypatch: pytest.MonkeyPatch, kie: SimulatorServer, name: str = "kie_default", **changes: Any) -> None:
    extra = {"rate_limit": 1000} | changes.pop("extra", {})
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", kie_connection(kie, extra=extra, **changes))


@for_all_runs
def test_a_key_that_is_rotated_in_the_middle_of_a_run_changes_nothing(
    kie: SimulatorServer, paid_in: PaidIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    kie.control.set(music_seconds=0.5)
    run = song_run()
    with pytest.raises(TaskDeferred) as waiting:
        run.execute()
    kie.control.accept_key("sim-new-key", kie.api_key)
    kie.control.revoke_key(kie.api_key)
    with pytest.raises(KieUnauthorized):
        run.resume(waiting.value)
    connect(monkeypatch, kie, password="sim-new-key")
    run.store.rows.clear()
    song = run.cleared().attempt()
    assert paid(kie) == [song]


@for_all_runs
def test_another_connection_of_the_same_account_knows_what_is_paid(
    kie: SimulatorServer, paid_in: PaidIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, kie, "kie_default", extra={"account": "studio"})
    connect(monkeypatch, kie, "kie_second", extra={"account": "studio"})
    song = song_run(idempotency_key="order-17").attempt()
    cover = cover_run(song).attempt()
    second = {"kie_conn_id": "kie_second"}
    assert song_run(run_id="tuesday", idempotency_key="order-17", **second).attempt() == song
    assert cover_run(song, run_id="tuesday", **second).attempt() == cover
    assert (paid(kie), paid(kie, "cover")) == ([song], [cover])


@for_all_runs
def test_a_run_whose_connection_is_changed_to_another_of_the_same_account_goes_on(
    kie: SimulatorServer, paid_in: PaidIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, kie, "kie_default", extra={"account": "studio"})
    connect(monkeypatch, kie, "kie_second", extra={"account": "studio"})
    run = song_run()
    song = run.attempt()
    for emptied in (False, True):
        if emptied:
            run.store.rows.clear()
        cleared = replace(run.cleared(), make=song_run(kie_conn_id="kie_second").make)
        assert cleared.attempt() == song
    assert paid(kie) == [song]


@for_all_runs
def test_two_accounts_have_a_ledger_each(
    kie: SimulatorServer, paid_in: PaidIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, kie, "kie_default", extra={"account": "studio"})
    connect(monkeypatch, kie, "kie_second", extra={"account": "label"})
    song = song_run(idempotency_key="order-17").attempt()
    other = song_run(run_id="tuesday", idempotency_key="order-17", kie_conn_id="kie_second").attempt()
    assert paid(kie) == [song, other]
    assert {key.split("_paid/")[-1].split("/")[0] for key in paid_in(song_run()).read() if key[0] != "_"} == {
        "studio",
        "label",
    }


# --- what a person says ---


@for_all_runs
def test_a_task_that_a_person_gives_is_that_of_every_run(kie: SimulatorServer, paid_in: PaidIn) -> None:
    made_elsewhere = song_run("elsewhere", run_id="sunday").attempt()
    given = song_run(idempotency_key="order-17", adopt_task_id=made_elsewhere)
    assert given.attempt() == made_elsewhere
    assert song_run(run_id="tuesday", idempotency_key="order-17").attempt() == made_elsewhere
    assert paid(kie) == [made_elsewhere]


@for_all_runs
def test_an_id_that_kie_does_not_know_pays_for_nothing(
    kie: SimulatorServer, paid_in: PaidIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_kie.lifecycle.rules import Rules

    monkeypatch.setattr("airflow_kie.settings.rules", lambda interval=None, api="": Rules(0.0, 0.0, interval, api=api))
    run = song_run(adopt_task_id="0" * 32)
    for attempt in (run, run.retried(), run.cleared()):
        with pytest.raises(KieTaskUnknown):
            attempt.attempt()
    assert paid(kie) == []


def test_no_prompt_title_or_address_is_in_the_ledger(kie: SimulatorServer, bucket: str, archive: StoredFiles) -> None:
    song_run("a secret prompt", title="a secret title", style="a secret style", custom_mode=True).attempt()
    body = {"uploadUrl": "https://uploads.example.com/secret.mp3?sig=secret", "prompt": "a secret prompt", **MUSIC}
    TaskRun(
        lambda: KieTaskOperator(
            task_id="t", operation="suno.upload_cover", request=body, deferrable=False, wait_for_completion=False
        )
    ).attempt()
    entries = InBucket(archive)
    assert len([name for name in recorded(entries) if name == "1.intent"]) == 2
    text = json.dumps({key: body.decode() for key, body in entries.read().items()})
    assert "secret" not in text
