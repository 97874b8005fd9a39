"""One read of a paid task's details is never final, whatever its code: two have to agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_connections import kie_connection
from airflow_kie.client import errors
from airflow_kie.client.answers.decode import Unreadable, decode_details
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.rules import Done, next_action
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_kie.sensors.suno import KieCoverSensor, KieMusicSensor
from airflow_kie.transfers.kie_to_s3 import KieCoverToS3Operator
from airflow_task import StoredFiles, TaskRun
from kie_answers import COVER_ID, MUSIC_ID, OTHER_ID, answer
from kie_simulator.server import SimulatorServer
from step_records import COVER, COVER_SENT, IMAGES, MUSIC_SENT, NOW, after, cover, failed, waits

REFUSALS = (400, 404, 413, 422, 451, 505)
ACCOUNT = (401, 402, 403, 433)
CREATED_HERE = TaskRecord.of_known_task("suno.cover", COVER_ID, source={"taskId": MUSIC_ID}, number=1, known_at=NOW)
EVERY_CODE = pytest.mark.parametrize("code", [*REFUSALS, *ACCOUNT])
both_modes = pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "sync"])


def coded(code: int, record: TaskRecord = COVER_SENT) -> Any:
    return decode_details(task_kind(record.kind), record.task_id or "", answer(None, code, "words"))


# --- the rules ---


@EVERY_CODE
@pytest.mark.parametrize("record", [COVER_SENT, MUSIC_SENT, CREATED_HERE], ids=["cover", "music", "created here"])
def test_one_read_is_not_final_whatever_its_code(record: TaskRecord, code: int) -> None:
    action = waits(after(record, (40, coded(code, record))))
    assert action.until == NOW + 70
    assert action.record.task_id == record.task_id


@EVERY_CODE
def test_two_reads_that_agree_are_believed(code: int) -> None:
    action = failed(after(COVER_SENT, (40, coded(code)), (70, coded(code))))
    assert action.error.facts.code == code
    assert action.record.task_id == COVER_ID


@EVERY_CODE
def test_a_refusal_that_is_over_when_the_task_is_read_again_changes_nothing(code: int) -> None:
    action = after(COVER_SENT, (40, coded(code)), (70, cover(1, IMAGES)))
    assert isinstance(action, Done)
    assert action.record.doubt is None


def test_two_refusals_that_differ_do_not_agree() -> None:
    assert waits(after(COVER_SENT, (40, coded(404)), (70, coded(422)))).until == NOW + 100


@pytest.mark.parametrize(("code", "error"), [(422, errors.KieTaskNotShown), (404, errors.KieFormGone)])
def test_a_task_that_was_created_here_and_cannot_be_read_stays_worth_a_retry_unless_the_address_is_gone(
    code: int, error: type[errors.KieError]
) -> None:
    action = failed(after(CREATED_HERE, (40, coded(code)), (70, coded(code))))
    assert type(action.error) is error
    assert action.error.facts.code == code
    assert "words" in str(action.error)


def test_a_retry_asks_twice_too() -> None:
    refused = failed(after(CREATED_HERE, (40, coded(404)), (70, coded(404))))
    assert waits(next_action(refused.record, NOW + 600, coded(404))).until == NOW + 630


def test_a_first_read_on_a_clock_that_was_ahead_delays_the_second_no_longer_than_any_other() -> None:
    ahead = waits(next_action(COVER_SENT, NOW + 3600, coded(404))).record
    again = waits(next_action(ahead, NOW, coded(404)))
    assert again.until == NOW + 30
    assert type(failed(next_action(again.record, NOW + 30, coded(404))).error) is errors.KieFormGone


def test_a_recovery_that_is_pending_is_waited_for_as_long_as_it_takes() -> None:
    recovery = TaskRecord.of_known_task("suno.recovery", "5" * 32, source={"task_id": MUSIC_ID}, known_at=NOW)
    pending = coded(201, recovery)
    assert waits(after(recovery, (100, pending), (600, pending))).until > NOW + 600


def test_a_cover_that_names_another_song_once_is_read_again() -> None:
    other = cover(1, IMAGES, parentTaskId=OTHER_ID)
    assert waits(after(COVER_SENT, (40, other))).until == NOW + 70
    assert isinstance(after(COVER_SENT, (40, other), (70, cover(1, IMAGES))), Done)
    assert type(failed(after(COVER_SENT, (40, other), (70, other))).error) is errors.KieWrongParent


@EVERY_CODE
def test_one_refused_read_at_the_deadline_is_no_more_final_than_another(code: int) -> None:
    class Refusing:
        def details(self, *of: Any) -> Any:
            return coded(code)

    clock = [NOW]

    def pause(record: TaskRecord, until: float) -> None:
        clock[0] = until

    def follow(deadline: float) -> errors.KieError:
        kie: Any = Refusing()
        with pytest.raises(errors.KieError) as told:
            TaskDriver(deadline=deadline, clock=lambda: clock[0]).follow(COVER_SENT, kie, pause)
        return told.value

    settled, too_late = follow(NOW), follow(NOW - 3600)
    assert (settled.facts.code, settled.remedy) == (code, errors.Remedy.PERSON)
    assert (type(too_late), too_late.facts.code) == (errors.KieWaitTimeout, code)


# --- what Airflow runs ---


def fault_once(kie: SimulatorServer, kind: str, code: int) -> None:
    kie.control.add_fault("details", "code", kind=kind, code=code, msg="A fault")


def song(kie: SimulatorServer) -> str:
    return kie.control.make_music("Velvet Harbour")[0].task_id


@both_modes
@pytest.mark.parametrize("code", [*REFUSALS, 401])
def test_a_paid_cover_is_fetched_although_one_read_was_refused(
    kie: SimulatorServer, bucket: str, archive: StoredFiles, code: int, deferrable: bool
) -> None:
    music = song(kie)
    kind: dict[str, Callable[[], Any]] = {
        "music": lambda: KieMusicSensor(task_id="music_complete", music_task_id=music, deferrable=deferrable),
        "cover": lambda: KieGenerateCoverOperator(
            task_id="generate_cover", music_task_id=music, deferrable=deferrable, poll_interval=0.05
        ),
    }
    fault_once(kie, "music", code)
    TaskRun(kind["music"]).attempt()
    fault_once(kie, "cover", code)
    made = TaskRun(kind["cover"]).attempt()
    fault_once(kie, "cover", code)
    TaskRun(lambda: KieCoverSensor(task_id="cover_details", cover_task_id=made, deferrable=deferrable)).attempt()
    fault_once(kie, "cover", code)
    fault_once(kie, "music", code)
    TaskRun(
        lambda: KieCoverToS3Operator(task_id="archive", music_task_id=music, cover_task_id=made, bucket=bucket)
    ).attempt()
    assert len(kie.control.ledger("cover")) == 1
    assert f"{music}/manifest.json" in archive.listed()


def test_a_key_that_stays_wrong_is_told_of_after_two_reads(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    music = song(kie)
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, password="wrong"))
    run = TaskRun(lambda: KieMusicSensor(task_id="music_complete", music_task_id=music, deferrable=True))
    with pytest.raises(errors.KieUnauthorized):
        run.attempt()


def test_a_connection_that_cannot_be_used_is_told_of_at_once() -> None:
    broken = Unreadable(errors.KieConnectionInvalid("no host"))
    assert type(failed(after(COVER, (0, broken))).error) is errors.KieConnectionInvalid
