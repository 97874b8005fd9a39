"""The sensors' three ways to wait come to the same: they read first, believe what KIE says, and know their deadline."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowRescheduleException,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferralTimeout,
    TaskDeferred,
)

from airflow_connections import kie_connection
from airflow_kie.client.errors import (
    KieContentRejected,
    KieError,
    KieInvalidRequest,
    KieNotSent,
    KieServerError,
    KieTaskUnknown,
    KieUnauthorized,
    KieWaitTimeout,
    KieWrongParent,
)
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.sensors.suno import KieCoverSensor, KieMusicSensor
from airflow_kie.sensors.task import KieTaskSensor
from airflow_task import TaskRun
from kie_simulator.server import SimulatorServer
from unused_ports import unused_port

WAYS: dict[str, dict[str, Any]] = {
    "defer": {"deferrable": True},
    "poke": {"deferrable": False, "mode": "poke"},
    "reschedule": {"deferrable": False, "mode": "reschedule"},
}
every_way = pytest.mark.parametrize("way", WAYS)


def music_run(song: str, way: str, **options: Any) -> TaskRun:
    settings: dict[str, Any] = {"poll_interval": 0.05, "timeout": 600} | WAYS[way] | options
    return TaskRun(lambda: KieMusicSensor(task_id="music_complete", music_task_id=song, **settings))


def cover_run(cover: str, way: str = "poke", **options: Any) -> TaskRun:
    settings: dict[str, Any] = {"poll_interval": 0.05, "timeout": 600} | WAYS[way] | options
    return TaskRun(lambda: KieCoverSensor(task_id="cover_details", cover_task_id=cover, **settings))


def outcome(run: TaskRun) -> Any:
    """Run a sensor until it succeeds or fails, however often it is rescheduled."""
    while True:
        try:
            return run.attempt()
        except AirflowRescheduleException as later:
            time.sleep(max(0.0, later.reschedule_date.timestamp() - time.time()))


def song(kie: SimulatorServer, **order: Any) -> str:
    return kie.control.make_music("Velvet Harbour", **order)[0].task_id


def a_cover(kie: SimulatorServer, music_task_id: str) -> str:
    """Have a cover drawn and return its task id."""
    import httpx

    answer = httpx.post(
        f"{kie.url}/api/v1/suno/cover/generate",
        json={"taskId": music_task_id, "callBackUrl": "https://callback.invalid"},
        headers={"Authorization": f"Bearer {kie.api_key}"},
        trust_env=False,
        timeout=200,
    )
    return str(answer.json()["data"]["taskId"])


@every_way
def test_a_finished_song_is_found_by_the_first_read(kie: SimulatorServer, way: str) -> None:
    run = music_run(song(kie), way)
    found = run.execute()
    assert (found["title"], found["tracks"]) == ("Velvet Harbour", 2)
    assert sum(kie.control.state()["reads"].values()) == 1


@every_way
def test_a_song_that_runs_is_waited_for(kie: SimulatorServer, way: str) -> None:
    kie.control.set(music_seconds=0.5)
    assert outcome(music_run(song(kie, state="PENDING"), way))["tracks"] == 2


@every_way
@pytest.mark.parametrize("state", ["TEXT_SUCCESS", "FIRST_SUCCESS"])
def test_text_or_a_first_track_does_not_finish_a_song(kie: SimulatorServer, way: str, state: str) -> None:
    kie.control.set(music_seconds=3600.0)
    with pytest.raises(KieWaitTimeout, match=state):
        outcome(music_run(song(kie, state=state), way, timeout=0.4))


@every_way
def test_an_undelivered_callback_with_all_files_is_success(kie: SimulatorServer, way: str) -> None:
    found = outcome(music_run(song(kie, state="CALLBACK_EXCEPTION"), way))
    assert found["tracks"] == 2


@every_way
@pytest.mark.parametrize("state", ["SENSITIVE_WORD_ERROR", "CREATE_TASK_FAILED", "GENERATE_AUDIO_FAILED"])
def test_every_documented_failure_fails_the_sensor(kie: SimulatorServer, way: str, state: str) -> None:
    with pytest.raises(KieError, match=state):
        outcome(music_run(song(kie, state=state), way))


@every_way
def test_a_state_that_no_page_documents_is_waited_out(kie: SimulatorServer, way: str) -> None:
    task_id = song(kie)
    kie.control.add_fault("details", "unknown_state", state="MASTERING", times=2)
    assert outcome(music_run(task_id, way))["tracks"] == 2


@every_way
def test_a_task_that_is_not_visible_yet_is_waited_for(kie: SimulatorServer, way: str) -> None:
    task_id = song(kie)
    kie.control.add_fault("details", "data_null", times=2)
    assert outcome(music_run(task_id, way))["tracks"] == 2


@every_way
@pytest.mark.parametrize("fault", ["reset_before", "html", "malformed", "empty"])
def test_a_read_that_fails_is_repeated(kie: SimulatorServer, way: str, fault: str) -> None:
    task_id = song(kie)
    kie.control.add_fault("details", fault)
    assert outcome(music_run(task_id, way))["tracks"] == 2


@pytest.mark.parametrize("tracks", [1, 2, 4])
def test_a_song_may_have_any_number_of_tracks(kie: SimulatorServer, tracks: int) -> None:
    assert music_run(song(kie, tracks=tracks), "poke").execute()["tracks"] == tracks


@pytest.mark.parametrize("images", [1, 2, 4])
def test_a_cover_may_have_any_number_of_images(kie: SimulatorServer, images: int) -> None:
    kie.control.set(cover_images=images)
    assert cover_run(a_cover(kie, song(kie))).execute()["images"] == images


@every_way
def test_a_cover_that_generates_with_flag_2_is_waited_for(kie: SimulatorServer, way: str) -> None:
    cover = a_cover(kie, song(kie))
    kie.control.add_fault("details", "unknown_state", state=2, times=2)
    assert outcome(cover_run(cover, way))["images"] == 2


def test_a_cover_of_another_song_is_refused(kie: SimulatorServer) -> None:
    cover = a_cover(kie, song(kie))
    with pytest.raises(KieWrongParent, match="another song"):
        cover_run(cover, music_task_id=song(kie)).execute()


@every_way
def test_any_task_is_waited_for_by_its_operation_and_id(kie: SimulatorServer, way: str) -> None:
    music = kie.control.make_music("Velvet Harbour")[0].task_id
    (track, *_) = KieHook().details("suno.music", music).details.tracks  # type: ignore[union-attr]
    make = {"task_id": "make", "operation": "suno.wav", "request": {"taskId": music, "audioId": track.audio_id}}
    wav = str(TaskRun(lambda: KieTaskOperator(**make, wait_for_completion=False)).attempt())
    kie.control.advance(600)
    settings: dict[str, Any] = {"operation": "suno.wav", "kie_task_id": f" {wav}\n", "poll_interval": 0.05}
    found = outcome(TaskRun(lambda: KieTaskSensor(task_id="wait", **settings, **WAYS[way])))
    assert datetime.fromisoformat(found.pop("expires_at")) > datetime.now(UTC)
    assert found == {
        "operation": "suno.wav",
        "task_id": wav,
        "kie_conn_id": "kie_default",
        "results": [{"role": "wav", "count": 1}],
    }


def test_a_sensor_of_an_operation_that_nobody_knows_names_those_that_there_are() -> None:
    with pytest.raises(KeyError, match=r"Unknown KIE task kind 'suno\.opera'\. Known: .*suno\.wav"):
        KieTaskSensor(task_id="wait", operation="suno.opera", kie_task_id="x")


# --- the deadline ----------------------------------------------------------------------------------------------------


@every_way
def test_the_deadline_names_the_task_and_its_last_state(kie: SimulatorServer, way: str) -> None:
    kie.control.set(music_seconds=3600.0)
    task_id = song(kie, state="PENDING")
    with pytest.raises(KieWaitTimeout, match=rf"{task_id}.*Last state: PENDING"):
        outcome(music_run(task_id, way, timeout=0.4))


@every_way
def test_a_time_limit_of_nothing_reads_once_and_does_not_mean_the_kinds_own(kie: SimulatorServer, way: str) -> None:
    kie.control.set(music_seconds=3600.0)
    task_id = song(kie, state="PENDING")
    with pytest.raises(KieWaitTimeout):
        music_run(task_id, way, timeout=0).execute()
    with pytest.raises(KieWaitTimeout):
        KieHook().wait("suno.music", task_id, wait_timeout=0)
    assert sum(kie.control.state()["reads"].values()) == 2


@every_way
def test_a_retry_keeps_the_deadline_and_a_clear_begins_a_new_one(kie: SimulatorServer, way: str) -> None:
    kie.control.set(music_seconds=3600.0)
    task_id = song(kie, state="PENDING")
    run = music_run(task_id, way, timeout=0.4)
    with pytest.raises(KieWaitTimeout):
        outcome(run)
    with pytest.raises(KieWaitTimeout):  # nothing is waited for: the deadline has passed
        run.retried().execute()
    # Who sleeps through the wait meets the new deadline too; the others leave before it, so it may be far away.
    renewed = music_run(task_id, way, timeout=0.4 if way == "poke" else 600)
    with pytest.raises(KieWaitTimeout if way == "poke" else (TaskDeferred, AirflowRescheduleException)):
        replace(run.cleared(), make=renewed.make).execute()
    deadline = run.store.record(f"deadline/music/{task_id}")
    assert deadline["max_tries"] == run.cleared().ti.max_tries


def test_a_retry_after_the_deadline_still_finds_a_song_that_has_ended(kie: SimulatorServer) -> None:
    kie.control.set(music_seconds=3600.0)
    run = music_run(song(kie, state="PENDING"), "poke", timeout=0.4)
    with pytest.raises(KieWaitTimeout):
        run.execute()
    kie.control.advance(3600)
    assert run.retried().execute()["tracks"] == 2


# --- soft_fail -------------------------------------------------------------------------------------------------------


@every_way
def test_soft_fail_skips_at_the_deadline(kie: SimulatorServer, way: str) -> None:
    kie.control.set(music_seconds=3600.0)
    with pytest.raises(AirflowSkipException, match="did not end before the deadline"):
        outcome(music_run(song(kie, state="PENDING"), way, timeout=0.4, soft_fail=True))


@every_way
def test_soft_fail_skips_a_song_that_failed(kie: SimulatorServer, way: str) -> None:
    with pytest.raises(AirflowSkipException, match="SENSITIVE_WORD_ERROR"):
        outcome(music_run(song(kie, state="SENSITIVE_WORD_ERROR"), way, soft_fail=True))


@every_way
def test_soft_fail_skips_a_song_that_fails_while_it_is_waited_for(kie: SimulatorServer, way: str) -> None:
    kie.control.set(music_seconds=0.4)
    kie.control.add_fault("task", "fail", kind="music", state="SENSITIVE_WORD_ERROR")
    with pytest.raises(AirflowSkipException, match="SENSITIVE_WORD_ERROR"):
        outcome(music_run(song(kie, state="PENDING"), way, soft_fail=True))


@every_way
def test_soft_fail_does_not_hide_a_bad_key(kie: SimulatorServer, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task_id = song(kie)
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, password="wrong"))
    with pytest.raises(KieUnauthorized):
        outcome(music_run(task_id, way, soft_fail=True))


@every_way
@pytest.mark.parametrize("soft_fail", [True, False])
def test_a_kie_that_is_down_until_the_deadline_fails_the_sensor_and_is_named(
    kie: SimulatorServer, way: str, soft_fail: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = kie_connection(kie, host=f"http://127.0.0.1:{unused_port()}")
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", nobody)
    with pytest.raises(KieNotSent, match="could not be reached"):
        outcome(music_run("0123456789abcdef0123456789abcdef", way, timeout=0.4, soft_fail=soft_fail))


@every_way
def test_a_kie_that_goes_down_while_a_song_runs_fails_the_sensor(
    kie: SimulatorServer, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kie.control.set(music_seconds=3600.0)
    task_id = song(kie, state="PENDING")
    kie.control.add_fault("details", "code", code=500, times=-1, skip=1)

    def clock() -> float:  # the deadline passes when KIE is down, however long the reads take
        (fault,) = kie.control.faults()
        return time.time() + (3600.0 if fault["struck"] else 0.0)

    for user in ("sensors.task", "triggers.task"):
        monkeypatch.setattr(f"airflow_kie.{user}.TaskDriver", partial(TaskDriver, clock=clock))
    monkeypatch.setattr("airflow_kie.triggers.task.time", SimpleNamespace(time=clock))
    with pytest.raises(KieServerError, match=task_id):
        outcome(music_run(task_id, way, soft_fail=True))


def test_a_triggerer_that_never_answers_is_no_reason_to_skip(kie: SimulatorServer) -> None:
    run = music_run(song(kie), "defer", soft_fail=True)
    with pytest.raises(TaskDeferralTimeout):
        run.wake("__fail__", {"error": "Trigger timeout"})


@pytest.mark.parametrize("reason", ["unexpected", "a reason of a newer version"])
def test_soft_fail_does_not_hide_an_error_that_nobody_foresaw(kie: SimulatorServer, reason: str) -> None:
    task_id = song(kie)
    failed = {"outcome": "failed", "reason": reason, "message": "TypeError in the triggerer", "task_id": task_id}
    with pytest.raises(KieError, match="TypeError in the triggerer"):
        music_run(task_id, "defer", soft_fail=True).wake("execute_complete", {"event": failed})


# --- never_fail ------------------------------------------------------------------------------------------------------


@every_way
def test_never_fail_skips_whatever_fails(kie: SimulatorServer, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirflowSkipException, match="SENSITIVE_WORD_ERROR"):
        outcome(music_run(song(kie, state="SENSITIVE_WORD_ERROR"), way, never_fail=True))
    task_id = song(kie)
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, password="wrong"))
    with pytest.raises(AirflowSkipException, match="KIE refused the API key"):
        outcome(music_run(task_id, way, never_fail=True))


@every_way
def test_never_fail_waits_as_ever(kie: SimulatorServer, way: str) -> None:
    kie.control.set(music_seconds=0.5)
    assert outcome(music_run(song(kie, state="PENDING"), way, never_fail=True))["tracks"] == 2


def test_never_fail_skips_what_airflow_ends_and_names_no_secret_of_it(kie: SimulatorServer) -> None:
    run = music_run(song(kie), "defer", never_fail=True)
    with pytest.raises(AirflowSkipException, match=r"^TaskDeferralTimeout, see the log$"):
        run.wake("__fail__", {"error": "Trigger timeout"})


@pytest.mark.parametrize(
    ("options", "ends_in"),
    [
        ({"soft_fail": True}, AirflowSkipException),
        ({"never_fail": True}, AirflowSkipException),
        ({}, AirflowTaskTimeout),
    ],
)
def test_an_execution_timeout_is_a_time_limit_as_in_airflows_own_sensors(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], ends_in: type[BaseException]
) -> None:
    def sleep(seconds: float) -> None:
        raise AirflowTaskTimeout("Timeout")

    kie.control.set(music_seconds=3600.0)
    monkeypatch.setattr("airflow_kie.durable.waiting.time", SimpleNamespace(time=time.time, sleep=sleep))
    with pytest.raises(ends_in):
        music_run(song(kie, state="PENDING"), "poke", **options).execute()


# --- arguments of Airflow's own sensors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [{"exponential_backoff": True}, {"max_wait": 60}, {"max_wait": timedelta(minutes=1)}, {"silent_fail": True}],
)
def test_what_a_sensor_does_not_have_is_refused_and_not_left_out(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"was given exponential_backoff, max_wait or silent_fail.* set poll_interval"):
        KieTaskSensor(task_id="wait", operation="suno.wav", kie_task_id="x", **given)


@pytest.mark.parametrize(
    ("given", "pause"),
    [
        ({}, None),
        ({"poke_interval": 30}, 30),
        ({"poke_interval": timedelta(minutes=2)}, 120),
        ({"poke_interval": 30, "poll_interval": 5}, 5),
    ],
)
def test_airflows_name_of_the_pause_between_reads_counts(given: dict[str, Any], pause: float | None) -> None:
    sensor = KieTaskSensor(task_id="wait", operation="suno.wav", kie_task_id="x", **given)
    assert sensor.poll_interval == pause


# --- believing -------------------------------------------------------------------------------------------------------


def test_a_rescheduled_sensor_remembers_the_first_of_two_reads_that_tell_of_a_failure(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__CONFIRM_FAILURE_SECONDS", "0.3")
    with pytest.raises(KieContentRejected):
        outcome(music_run(song(kie, state="SENSITIVE_WORD_ERROR"), "reschedule"))


def test_one_read_that_tells_of_a_failure_is_not_believed(kie: SimulatorServer) -> None:
    task_id = song(kie)
    kie.control.add_fault("details", "unknown_state", state="GENERATE_AUDIO_FAILED", times=1)
    assert music_run(task_id, "poke").execute()["tracks"] == 2


@every_way
def test_an_id_that_kie_never_shows_fails_as_unknown(
    kie: SimulatorServer, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_kie import settings
    from airflow_kie.lifecycle.rules import Rules

    monkeypatch.setattr(settings, "rules", lambda interval=None, api="": Rules(0.3, 0.0, 2, api=api))
    with pytest.raises(KieTaskUnknown, match="wrong account"):
        outcome(music_run("0123456789abcdef0123456789abcdef", way))


# --- what it says ----------------------------------------------------------------------------------------------------


def test_a_sensor_without_an_id_says_so_and_asks_nobody(kie: SimulatorServer) -> None:
    with pytest.raises(KieInvalidRequest, match="has no music_task_id; nothing was sent"):
        music_run("", "poke").execute()
    assert kie.control.state()["requests"] == {}


def test_a_music_sensor_returns_the_title_and_pushes_nothing_else(kie: SimulatorServer) -> None:
    run = music_run(song(kie), "poke")
    assert run.execute()["title"] == "Velvet Harbour"
    assert run.ti.pushed == {}  # each is a request to the api-server


def test_what_a_sensor_returns_holds_no_address_of_a_file(kie: SimulatorServer) -> None:
    music_task_id = song(kie)
    found = [music_run(music_task_id, "poke").execute(), cover_run(a_cover(kie, music_task_id)).execute()]
    assert "http" not in json.dumps(found)


def test_a_sensor_never_pays(kie: SimulatorServer) -> None:
    outcome(music_run(song(kie), "defer"))
    with pytest.raises(KieError):
        outcome(music_run(song(kie, state="CREATE_TASK_FAILED"), "defer"))
    assert kie.control.ledger() == []


def test_a_sensor_can_be_killed_without_a_word_of_its_own(kie: SimulatorServer, caplog: Any) -> None:
    caplog.set_level(logging.ERROR)
    music_run(song(kie), "poke").make().on_kill()
    assert caplog.records == []
