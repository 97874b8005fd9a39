"""KieTaskTrigger: one event whatever happens, nothing secret in what Airflow stores, and a loop that never blocks."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import ExitStack
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseXCom

from airflow_connections import kie_connection
from airflow_kie.client.http import transport
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle import polling
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.triggers import task as task_module
from airflow_kie.triggers.event import ENDED_KEY
from airflow_kie.triggers.task import KieTaskTrigger, _Waiting
from airflow_task import close_shared_clients, run_trigger
from answering_server import Seen, serving, success
from kie_answers import MUSIC_ID, music_data, track_data
from kie_simulator.server import SimulatorServer
from unused_ports import unused_port


def waiting_for(task_id: str, *, seconds: float = 600.0, kind: str = "suno.music", **changes: Any) -> KieTaskTrigger:
    record = TaskRecord.of_known_task(kind, task_id, connection="kie_default")
    arguments: dict[str, Any] = {
        "kie_conn_id": "kie_default",
        "record": record.to_json(),
        "deadline": time.time() + seconds,
        "poll_interval": 0.05,
    }
    return KieTaskTrigger(**arguments | changes)


def song(kie: SimulatorServer, **order: Any) -> str:
    return kie.control.make_music("Velvet Harbour", **order)[0].task_id


# --- what Airflow stores ------------------------------------------------------------------------------------------


def test_a_trigger_is_the_same_after_it_was_stored() -> None:
    trigger = waiting_for(MUSIC_ID, first_read=1.5)
    path, arguments = trigger.serialize()
    again = KieTaskTrigger(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (path, arguments)
    assert path == "airflow_kie.triggers.task.KieTaskTrigger"


def test_the_names_of_the_arguments_are_fixed() -> None:
    _, arguments = waiting_for(MUSIC_ID).serialize()
    of_one = {"kie_conn_id", "record", "deadline", "poll_interval", "first_read"}
    assert set(arguments) == {*of_one, "records", "timeout", "linger"}


def test_arguments_of_a_newer_version_are_left_aside(kie: SimulatorServer) -> None:
    trigger = waiting_for(song(kie), wake_on="callback", record={"shape": "newer", **waiting_for(song(kie)).record})
    assert run_trigger(trigger)["outcome"] == "done"


def test_airflow_encodes_the_arguments_of_a_task_that_was_replaced() -> None:
    from airflow.models.trigger import Trigger

    record = TaskRecord("suno.cover", {"taskId": MUSIC_ID}, task_id="x", number=3, failed_ids=("a", "b"))
    _, arguments = waiting_for(MUSIC_ID, record=record.to_json()).serialize()
    stored = Trigger._decrypt_kwargs(Trigger.encrypt_kwargs(arguments))
    assert TaskRecord.from_json(stored["record"]) == record


def test_nothing_secret_is_stored_or_told(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_KIE_DEFAULT",
        kie_connection(
            kie,
            password="secret-key",
            extra={"webhook_secret": "secret-hmac", "callback_url": "https://x.test/?s=secret"},
        ),
    )
    trigger = waiting_for(song(kie))
    event = run_trigger(trigger)
    assert event["reason"] == "unauthorized"
    assert "secret-" not in json.dumps([trigger.serialize(), event])


# --- one event ----------------------------------------------------------------------------------------------------


def test_a_finished_task_ends_in_the_event_done(kie: SimulatorServer) -> None:
    task_id = song(kie)
    assert run_trigger(waiting_for(task_id)) == {"outcome": "done", "task_id": task_id, "last_state": "SUCCESS"}


def test_a_failed_task_ends_in_an_event_that_says_why(kie: SimulatorServer) -> None:
    task_id = song(kie, state="SENSITIVE_WORD_ERROR", error_message="the word X")
    event = run_trigger(waiting_for(task_id))
    assert (event["outcome"], event["reason"], event["task_id"]) == ("failed", "content_rejected", task_id)
    assert "the word X" in event["message"]


def test_a_deadline_ends_in_an_event_with_the_last_state(kie: SimulatorServer) -> None:
    kie.control.set(music_seconds=3600.0)
    event = run_trigger(waiting_for(song(kie, state="PENDING"), seconds=0.3))
    assert (event["outcome"], event["reason"], event["last_state"]) == ("timeout", "timeout", "PENDING")


def test_a_task_that_ended_while_no_triggerer_ran_is_found_after_the_deadline(kie: SimulatorServer) -> None:
    assert run_trigger(waiting_for(song(kie), seconds=-60))["outcome"] == "done"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kie_conn_id": "nobody"}, "wrong_connection"),
        ({"record": {"kind": "suno.polka", "task_id": "x"}}, "unexpected"),
        ({"record": {}}, "unexpected"),
        ({"record": {"kind": "suno.music", "task_id": "x", "known_at": "yesterday"}}, "unexpected"),
        ({"record": {"kind": "suno.music", "task_id": "x", "source": "a song"}}, "unexpected"),
    ],
)
def test_what_nobody_foresaw_is_an_event_too(kie: SimulatorServer, changes: dict[str, Any], reason: str) -> None:
    event = run_trigger(waiting_for(MUSIC_ID, seconds=0.5, **changes))
    assert (event["outcome"], event["reason"]) == ("failed", reason)


@pytest.mark.parametrize("fault", ["reset_before", "html", "malformed", "empty", "missing_fields"])
def test_reads_that_fail_in_passing_are_repeated(kie: SimulatorServer, fault: str) -> None:
    task_id = song(kie)
    kie.control.add_fault("details", fault, times=4)
    assert run_trigger(waiting_for(task_id))["outcome"] == "done"


def test_a_read_that_failed_is_told_in_the_log(kie: SimulatorServer, caplog: pytest.LogCaptureFixture) -> None:
    task_id = song(kie)
    kie.control.add_fault("details", "html")
    run_trigger(waiting_for(task_id))
    assert f"KIE task {task_id} could not be read (server_error); it is read again." in caplog.text


@pytest.mark.parametrize("code", [429, 455, 500, 408])
def test_passing_codes_are_waited_out(kie: SimulatorServer, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_kie.lifecycle import rules

    monkeypatch.setattr(rules, "RATE_WINDOW", 0.0)
    task_id = song(kie)
    kie.control.add_fault("details", "code", code=code, times=3)
    assert run_trigger(waiting_for(task_id))["outcome"] == "done"


def test_a_kie_that_is_down_is_named_at_the_deadline(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, host=f"http://127.0.0.1:{unused_port()}"))
    event = run_trigger(waiting_for(MUSIC_ID, seconds=0.3))
    assert (event["outcome"], event["reason"]) == ("timeout", "not_sent")


def test_after_a_401_the_connection_is_looked_up_again(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    kie.control.set(music_seconds=0.5)
    task_id = song(kie, state="PENDING")
    new = kie_connection(kie)
    keys: list[str] = []

    def reply(seen: Seen) -> Any:
        keys.append(seen.headers["authorization"])
        if keys[-1] == "Bearer old":
            monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", new)  # a person changes the key
            return 200, {}, b'{"code": 401, "msg": "bad key", "data": null}'
        raise AssertionError

    with serving(reply) as old:
        monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, host=old.url, password="old"))
        assert run_trigger(waiting_for(task_id))["outcome"] == "done"
    assert keys == ["Bearer old"]


def test_a_key_that_stays_wrong_ends_the_wait_and_each_read_looks_the_connection_up_again(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []
    look_up = KieHook.aget_connection

    async def counted(conn_id: str) -> Any:
        looked_up.append(conn_id)
        return await look_up(conn_id)

    monkeypatch.setattr(KieHook, "aget_connection", staticmethod(counted))
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, password="wrong"))
    assert run_trigger(waiting_for(song(kie)))["reason"] == "unauthorized"
    assert len(looked_up) == 3


def test_a_cancelled_trigger_sends_no_event(kie: SimulatorServer) -> None:
    kie.control.set(music_seconds=3600.0)
    trigger = waiting_for(song(kie, state="PENDING"))
    events: list[Any] = []

    async def watch() -> None:
        async for event in trigger.run():
            events.append(event)

    async def cancelled() -> None:
        task = asyncio.create_task(watch())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await close_shared_clients()

    asyncio.run(cancelled())
    assert events == []


def test_killing_a_trigger_says_that_kie_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(waiting_for(MUSIC_ID).on_kill())
    assert (
        f"the Airflow task that waited for KIE task {MUSIC_ID}. KIE cannot cancel a task: it continues" in caplog.text
    )


def cancelled_by_airflow(trigger: KieTaskTrigger, times: int = 1) -> list[dict[str, Any]]:
    """Return the events of a trigger that the triggerer cancels, as it does when its row is gone; killed where it must.

    Airflow 3.3.2: `TriggerRunner.cancel_triggers` and `run_trigger`.
    """
    events: list[dict[str, Any]] = []

    async def run_trigger() -> None:
        try:
            async for event in trigger.run():
                events.append(event.payload)
        except asyncio.CancelledError as cancelled:
            if cancelled.args == ("__airflow_user_action__",):
                await trigger.on_kill()
            raise

    async def cancelled() -> None:
        task = asyncio.create_task(run_trigger())
        await asyncio.sleep(0.2)
        for _ in range(times):
            task.cancel("__airflow_user_action__")
            await asyncio.sleep(0)
        await asyncio.wait([task])
        await close_shared_clients()

    asyncio.run(cancelled())
    return events


@pytest.mark.parametrize("state", ["scheduled", "queued", "running", "deferred", "success"])
def test_a_wait_that_a_callback_has_ended_does_not_read_like_a_kill(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    kie.control.set(music_seconds=3600.0)
    task_id = song(kie, state="PENDING")
    task_in(state, monkeypatch)
    (event,) = cancelled_by_airflow(waiting_for(task_id))
    assert (event["outcome"], event["task_id"]) == ("resumed", task_id)
    assert "cannot cancel" not in caplog.text


@pytest.mark.parametrize("state", ["failed", "skipped", "removed", None])
def test_a_task_that_a_person_has_ended_is_told_what_becomes_of_kies(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, state: str | None
) -> None:
    kie.control.set(music_seconds=3600.0)
    task_in(state, monkeypatch)
    assert cancelled_by_airflow(waiting_for(song(kie, state="PENDING"))) == []
    assert "KIE cannot cancel a task" in caplog.text


def test_airflow_may_cancel_again_while_the_state_is_looked_up(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kie.control.set(music_seconds=3600.0)

    async def slow(task_instance: Any) -> str:
        await asyncio.sleep(0.2)
        return "running"

    monkeypatch.setattr("airflow_kie._airflow_private.process.state_of", slow, raising=False)
    (event,) = cancelled_by_airflow(waiting_for(song(kie, state="PENDING")), times=5)
    assert event["outcome"] == "resumed"
    assert "cannot cancel" not in caplog.text


def test_a_state_that_cannot_be_looked_up_in_time_is_taken_for_a_kill(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kie.control.set(music_seconds=3600.0)

    async def never(task_instance: Any) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr("airflow_kie._airflow_private.process.state_of", never)
    monkeypatch.setattr("airflow_kie.triggers.task.STATE_SECONDS", 0.1)
    assert cancelled_by_airflow(waiting_for(song(kie, state="PENDING"))) == []
    assert "KIE cannot cancel a task" in caplog.text


def task_in(state: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def state_of(task_instance: Any) -> str | None:
        return state

    monkeypatch.setattr("airflow_kie._airflow_private.process.state_of", state_of, raising=False)


@pytest.mark.parametrize(("map_index", "name"), [(-1, "wait"), (3, "wait_3")])
def test_the_state_of_a_triggers_task_is_looked_up_in_airflow(
    monkeypatch: pytest.MonkeyPatch, map_index: int, name: str
) -> None:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    from airflow_kie._airflow_private import process
    from airflow_task import TaskInstance

    states = {"manual__1": {name: "running", "wait_4": "failed"}}
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(lambda **_: states))
    known = TaskInstance(run_id="manual__1", task_id="wait", map_index=map_index)
    assert asyncio.run(process.state_of(known)) == "running"
    assert asyncio.run(process.state_of(None)) is None


# --- many of them -------------------------------------------------------------------------------------------------


async def gathered(triggers: list[KieTaskTrigger]) -> list[dict[str, Any]]:
    async def one(trigger: KieTaskTrigger) -> dict[str, Any]:
        (event,) = [event.payload async for event in trigger.run()]
        return dict(event)

    return list(await asyncio.gather(*(one(trigger) for trigger in triggers)))


def test_200_waiting_triggers_share_one_client_and_no_thread_of_theirs_reads(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading_threads = set()
    ready = time.time() + 1.0

    def reply(seen: Seen) -> Any:
        done = time.time() >= ready
        data = music_data("SUCCESS" if done else "PENDING", [track_data()] if done else [], taskId=None)
        return success(data)(seen)

    send = transport.KieAsyncTransport.send

    async def watched(self: Any, request: Any) -> Any:
        reading_threads.add(threading.current_thread())
        return await send(self, request)

    make, made = transport.KieAsyncTransport.__init__, []

    def counted(self: Any, account: Any) -> None:
        made.append(account)
        make(self, account)

    async def all_of_them() -> list[dict[str, Any]]:
        events = await gathered([waiting_for(f"{number:032x}") for number in range(200)])
        await close_shared_clients()
        return events

    monkeypatch.setattr(polling, "READS_PER_SECOND", 100.0)  # or they would be read every 20 s
    monkeypatch.setattr(transport.KieAsyncTransport, "__init__", counted)
    monkeypatch.setattr(transport.KieAsyncTransport, "send", watched)
    monkeypatch.setattr(transport.KieTransport, "send", None)  # whoever blocks fails
    with serving(reply) as fake:
        monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, host=fake.url))
        events = asyncio.run(all_of_them())
    assert [event["outcome"] for event in events] == ["done"] * 200
    assert (len(made), reading_threads) == (1, {threading.main_thread()})


def test_the_loop_runs_on_while_kie_does_not_answer(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    loop: asyncio.AbstractEventLoop

    def reply(seen: Seen) -> Any:
        loop.call_soon_threadsafe(answer.set)  # only a loop that is not blocked gets there
        assert answer.wait(30)
        return success(music_data("SUCCESS", [track_data()]))(seen)

    async def waited() -> list[dict[str, Any]]:
        nonlocal loop
        loop = asyncio.get_running_loop()
        events = await gathered([waiting_for(MUSIC_ID)])
        await close_shared_clients()
        return events

    with serving(reply) as fake:
        monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, host=fake.url))
        (event,) = asyncio.run(waited())
    assert event["outcome"] == "done"


def test_the_more_tasks_wait_the_slower_each_is_read() -> None:
    from airflow_kie.client.operations.suno import MUSIC
    from airflow_kie.lifecycle.polling import seconds_to_next_read

    def pause_of(*tasks: int) -> float:
        with ExitStack() as stack:
            waits = [stack.enter_context(_Waiting("studio", count)) for count in tasks]
            assert {wait.count for wait in waits} == {sum(tasks)}
            return seconds_to_next_read(MUSIC.timing, 60, seed="x", waiting=waits[-1].count, interval=1.0)

    assert pause_of(*[1] * 200) == pause_of(200) > 10 * pause_of(1)


def test_a_task_of_many_that_has_ended_is_no_longer_counted() -> None:
    with _Waiting("studio", 3) as waiting:
        waiting.change(-1)
        assert waiting.count == 2
    assert _Waiting._counts["studio"] == 0


# --- many tasks -----------------------------------------------------------------------------------------------------


def test_many_tasks_end_in_one_event_that_tells_of_each(kie: SimulatorServer) -> None:
    kie.control.set(music_seconds=3600.0)
    made, running = song(kie), song(kie, state="PENDING")
    refused = song(kie, state="SENSITIVE_WORD_ERROR", error_message="the word X")
    records = {
        name: TaskRecord.of_known_task("suno.music", task_id, connection="kie_default").to_json()
        for name, task_id in {"made": made, "running": running, "refused": refused, "broken": "x"}.items()
    }
    records["broken"]["known_at"] = "yesterday"
    event = run_trigger(KieTaskTrigger("kie_default", deadline=time.time() + 0.5, poll_interval=0.05, records=records))
    told = {name: (each["outcome"], each["task_id"], each.get("reason")) for name, each in event["tasks"].items()}
    assert event["outcome"] == "done"
    assert told == {
        "made": ("done", made, None),
        "running": ("timeout", running, "timeout"),
        "refused": ("failed", refused, "content_rejected"),
        "broken": ("failed", "x", "unexpected"),
    }


@pytest.mark.parametrize(
    ("damaged", "about"),
    [
        ("no record", None),
        ({}, None),
        ({"kind": "suno.polka", "task_id": "x"}, "x"),
        ({"kind": "suno.music", "task_id": "x", "failed_ids": None}, "x"),
        ({"kind": "suno.music", "task_id": "x", "source": "a song"}, "x"),
        ({"kind": "suno.music", "task_id": "x", "known_at": "yesterday"}, "x"),
    ],
)
def test_one_damaged_record_of_many_gets_a_sentence_of_its_own_and_the_others_are_waited_for(
    kie: SimulatorServer, damaged: Any, about: str | None
) -> None:
    good = TaskRecord.of_known_task("suno.music", song(kie), connection="kie_default").to_json()
    records = {"damaged": damaged, "good": good}
    trigger = KieTaskTrigger("kie_default", deadline=time.time() + 600, records=records, timeout=600)
    tasks = run_trigger(trigger)["tasks"]
    assert {name: event["outcome"] for name, event in tasks.items()} == {"damaged": "failed", "good": "done"}
    assert (tasks["damaged"]["reason"], tasks["damaged"]["task_id"]) == ("unexpected", about)
    assert "what Airflow has stored of it cannot be read" in tasks["damaged"]["message"]


@pytest.mark.parametrize("refused", [False, True])
def test_while_many_are_waited_for_an_xcom_says_which_have_ended(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, *, refused: bool
) -> None:
    done, goes_on = song(kie), song(kie, state="PENDING")
    kie.control.add_fault("task", "takes", kind="music", task_id=goes_on, seconds=3600)
    records = {
        name: TaskRecord.of_known_task("suno.music", task_id, connection="kie_default").to_json()
        for name, task_id in {"a": done, "b": goes_on}.items()
    }
    trigger = KieTaskTrigger("kie_default", deadline=time.time() + 600, poll_interval=0.05, records=records)
    trigger.task_instance = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=3)
    reported: list[Any] = []

    def clock() -> float:  # the deadline passes after the report, however long the reads take
        return time.time() + (3600.0 if reported else 0.0)

    async def aset(key: str, value: Any, **where: Any) -> None:
        reported.append((key, value, where))
        if refused:
            raise RuntimeError("the database is gone")

    monkeypatch.setattr(task_module, "TaskDriver", partial(TaskDriver, clock=clock))
    monkeypatch.setattr(task_module, "REPORT_EVERY", 0.05)
    monkeypatch.setattr(BaseXCom, "aset", aset)
    event = run_trigger(trigger)
    assert {name: known["outcome"] for name, known in event["tasks"].items()} == {"a": "done", "b": "timeout"}
    where = {"dag_id": "d", "task_id": "t", "run_id": "r", "map_index": 3}
    assert reported == [(ENDED_KEY, ["a"], where)]


def test_a_connection_that_is_gone_ends_the_wait_for_many_in_one_event(kie: SimulatorServer) -> None:
    record = TaskRecord.of_known_task("suno.music", song(kie)).to_json()
    event = run_trigger(KieTaskTrigger("nobody", deadline=time.time() + 9, records={"a": record}))
    assert (event["outcome"], event["reason"]) == ("failed", "wrong_connection")
