"""What the driver writes down of a request, and when: the ledger, the record, the credits, and the end of a wait."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from airflow_kie.archive.s3.errors import S3AccessDenied
from airflow_kie.client.answers.decode import Created, Ended, Lost, Refused
from airflow_kie.client.answers.inline import kept_id
from airflow_kie.client.errors import (
    KieContentRejected,
    KieCreateInDoubt,
    KieFailedForGood,
    KieGenerationFailed,
    KieInvalidRequest,
    KieServerError,
    KieSpendingStopped,
    KieTaskNotShown,
    KieThrottled,
    KieWaitTimeout,
)
from airflow_kie.lifecycle.claims import Intent
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.ledger import MOST_FAILED
from airflow_kie.lifecycle.record import TaskRecord
from driver_world import DONE, FAILED, REJECTED, REQUEST, RUNNING, World, refuse


def test_a_task_that_the_ledger_does_not_take_is_named_as_made(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World([Created("task-1")])
    refuse(world, ".task.", monkeypatch)
    with pytest.raises(S3AccessDenied, match="KIE task task-1 exists and is not paid for again"):
        world.go()
    assert [(one.task_id, one.unrecorded, one.known_at) for one in world.saved] == [("task-1", True, world.now)]


def test_an_answer_that_is_the_result_itself_is_kept_and_goes_by_its_name_from_then_on() -> None:
    world = World([Created("", answer={"data": ["a line"]})])
    assert world.go(to_the_end=False).task_id == kept_id(REQUEST.digest, 1)
    assert b"a line" in (world.ledger.kept_answers.read(REQUEST, 1) or b"")
    assert f"1.task.{kept_id(REQUEST.digest, 1)}" in world.names


def test_a_result_that_cannot_be_kept_is_said_to_have_been_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World([Created("", answer={"data": ["a line"]})])
    refuse(world, "_answers/", monkeypatch)
    with pytest.raises(S3AccessDenied, match="KIE answered with the result itself, and may have charged for it"):
        world.go()


def test_a_lost_answer_that_cannot_be_written_down_is_said_to_have_been_charged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World([Lost(KieServerError("bad", code=500))])
    refuse(world, ".unanswered", monkeypatch)
    with pytest.raises(S3AccessDenied, match="KIE may have created and charged one task"):
        world.go()


def test_an_answer_that_was_lost_is_written_down_with_its_reason_and_its_code() -> None:
    world = World([Lost(KieServerError("bad", code=500))])
    with pytest.raises(KieCreateInDoubt, match="answered with code 500"):
        world.go()
    assert b'"reason": "server_error"' in world.store.objects[f"{REQUEST.folder}1.unanswered"]


@pytest.mark.parametrize(("operation", "listed"), [("suno.music", 1), ("suno.cover", 0)])
def test_a_lost_answer_to_what_costs_credits_is_listed_although_its_task_fails_before_the_callbacks_time_is_over(
    operation: str, listed: int
) -> None:
    world = World([Lost(KieServerError("bad", code=500))], request=replace(REQUEST, operation=operation))
    world.new_intent = lambda now, form="": Intent.made_at(now, form, callback_by=now + 420)  # type: ignore[method-assign]
    with pytest.raises(KieWaitTimeout):
        world.go(deadline=world.now + 60.0)
    assert world.ledger.doubts("kie") == []
    world.now += 420
    assert len(world.ledger.doubts("kie")) == listed


def expected(world: World) -> list[str]:
    """Return what the listing of doubts has to look at."""
    return [key for key in world.store.objects if key.startswith("_doubt/")]


def test_what_costs_credits_is_listed_while_it_is_sent_and_no_longer() -> None:
    answers = [Created("task-1"), Refused(KieInvalidRequest("no"))]
    for request in (REQUEST, replace(REQUEST, digest="1" * 32)):
        world = World([answers.pop(0)], request=request)
        send, seen = world.create, list[str]()

        def create(record: TaskRecord, nonce: str, world: World = world, send: Any = send, seen: Any = seen) -> Any:
            seen += expected(world)
            return send(record, nonce)

        world.create = create  # type: ignore[method-assign]
        with contextlib.suppress(KieInvalidRequest):
            world.go(to_the_end=False)
        assert len(seen) == 1 and not expected(world)


def test_what_is_free_is_not_listed_while_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World([Created("task-1")], request=replace(REQUEST, operation="suno.cover"))
    refuse(world, "_doubt/", monkeypatch)
    monkeypatch.setattr(world.store, "delete", None)
    assert world.go(to_the_end=False).task_id == "task-1"


def test_a_listing_of_doubts_that_cannot_be_written_stops_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World([Created("task-1")])
    refuse(world, "_doubt/", monkeypatch)
    assert world.go(to_the_end=False).task_id == "task-1"


@pytest.mark.parametrize("settled", ["task.task-1", "released"])
def test_a_doubt_that_is_settled_is_looked_at_no_more(settled: str) -> None:
    world = World([Lost(KieServerError("bad"))])
    with pytest.raises(KieCreateInDoubt):
        world.go()
    assert len(world.ledger.doubts("kie")) == 1 and expected(world)
    world.ledger.record(REQUEST, 1, settled, by="anna")
    assert world.ledger.doubts("kie") == [] and not expected(world)


@pytest.mark.parametrize("key", ["_doubt/kie/", "_doubt/kie/x", "_doubt/kie/a/b/c/1"])
def test_an_object_that_names_no_request_hides_no_doubt(key: str) -> None:
    world = World([Lost(KieServerError("bad"))])
    world.store.objects[key] = b""  # such as a folder that a person has made in a console
    with pytest.raises(KieCreateInDoubt):
        world.go()
    assert [request for request, _ in world.ledger.doubts("kie")] == [REQUEST]


def test_a_doubt_is_recorded_with_what_is_left_on_the_account() -> None:
    world = World([Lost(KieServerError("bad", code=500))])
    with pytest.raises(KieCreateInDoubt):
        world.go()
    ((_, doubt),) = world.ledger.doubts("kie")
    assert doubt.balance == 7.0


def test_a_request_that_another_one_sends_is_waited_for_and_no_doubt_is_recorded() -> None:
    world = World()
    world.ledger.claim(REQUEST, Intent.made_at(world.now))
    ends_at = world.now + 60.0
    with pytest.raises(KieWaitTimeout, match="It is not known yet whether KIE created it"):
        world.go(deadline=ends_at)
    assert max(world.pauses) == ends_at
    assert world.ledger.doubts("kie") == []


def test_who_only_wants_the_task_named_waits_while_another_one_sends() -> None:
    world = World()
    world.ledger.claim(REQUEST, Intent.made_at(world.now))
    world.meanwhile = lambda: world.ledger.record_task(REQUEST, 1, "task-1")
    assert world.go(to_the_end=False).task_id == "task-1"


def test_a_new_task_s_record_has_its_form_and_all_that_have_failed_before() -> None:
    world = World([Created("task-2")], form="unified")
    world.ledger.claim(REQUEST, Intent.made_at(world.now))
    world.ledger.record_task(REQUEST, 1, "task-1")
    world.ledger.record(REQUEST, 1, "failed")
    record = world.go(replace(world.new, failed_ids=("task-0",)), to_the_end=False)
    assert (record.form, record.failed_ids, record.number) == ("unified", ("task-0", "task-1"), 2)


def no_permit() -> None:
    raise KieThrottled("later")


def test_without_a_permit_nothing_is_sent() -> None:
    world = World([Created("task-1")], permit=no_permit)
    with pytest.raises(KieThrottled):
        world.go()
    assert (world.names, world.given_back) == ([], 0)


def test_what_is_stopped_in_the_last_moment_is_not_sent_and_may_be_sent_later() -> None:
    world = World([KieSpendingStopped("jane"), Created("task-1")])
    with pytest.raises(KieSpendingStopped):
        world.go()
    assert (world.names, world.given_back) == (["1.intent", "1.refused"], 1)
    assert world.go().number == 2


@pytest.mark.parametrize(("permit", "given_back"), [(no_permit, 0), (lambda: None, 1)])
def test_what_is_made_is_used_with_and_without_a_permit_which_is_given_back(permit: Any, given_back: int) -> None:
    world = World(permit=permit)
    world.ledger.claim(REQUEST, Intent.made_at(world.now))
    world.ledger.record_task(REQUEST, 1, "task-1")
    assert world.go().task_id == "task-1"
    assert (world.adopted, world.given_back) == (["task-1"], given_back)


def test_what_is_free_is_sent_once_more_after_a_doubt_and_then_a_person_is_asked() -> None:
    lost = Lost(KieServerError("bad", code=500))
    world = World([lost, Created("task-1")], request=replace(REQUEST, operation="suno.cover"))
    record = world.go(to_the_end=False)
    assert (record.task_id, record.repeated, record.number) == ("task-1", True, 2)
    assert world.ledger.doubts("kie") == []
    world = World([lost, lost], request=world.request)
    with pytest.raises(KieCreateInDoubt, match="already sent twice"):
        world.go(to_the_end=False)
    assert len(world.ledger.doubts("kie")) == 1


def test_what_has_failed_too_often_is_sent_no_more_and_is_no_doubt() -> None:
    world = World()
    for number in range(1, MOST_FAILED + 1):
        world.ledger.claim(REQUEST, Intent.made_at(world.now))
        world.ledger.record_task(REQUEST, number, f"task-{number}")
        world.ledger.record(REQUEST, number, "failed")
    with pytest.raises(KieFailedForGood, match="task-1, task-2, task-3"):
        world.go()
    assert world.ledger.doubts("kie") == []


@pytest.mark.parametrize("given", ["paid", "create"])
def test_who_may_not_pay_sends_nothing(given: str) -> None:
    world = World()
    known: dict[str, Any] = {"paid": world.paid, "create": world.create}
    with pytest.raises(AssertionError, match="may pay"):
        TaskDriver(**{given: known[given]}).follow(TaskRecord("suno.music"), world, world.pause)
    assert world.names == []


def test_no_pause_is_longer_than_the_wait() -> None:
    world = World([Created("task-1")], [RUNNING])
    ends_at = world.now + 25.0
    with pytest.raises(KieWaitTimeout):
        world.go(deadline=ends_at)
    assert len(world.pauses) == 2 and world.pauses[-1] == ends_at


def test_what_a_task_has_used_is_counted_once_it_is_done_and_nothing_where_it_has_failed() -> None:
    world = World([Created("task-1"), Created("task-2")], [FAILED, FAILED, {**DONE, "creditsConsumed": 12}])
    assert world.go().task_id == "task-2"
    assert [task_id for task_id, _ in world.settled] == ["task-1", "task-2"]
    assert world.settled[0][1] == 0.0
    assert "1.failed" in world.names and "2.failed" not in world.names
    said = json.loads(world.store.objects[f"{REQUEST.folder}1.failed"])
    assert said == {"task_id": "task-1", "reason": "generation_failed"}


def test_a_task_that_kie_rejects_has_used_nothing_and_is_not_made_again() -> None:
    world = World([Created("task-1")], [REJECTED])
    with pytest.raises(KieContentRejected):
        world.go()
    assert world.settled == [("task-1", 0.0)]
    assert [name for name in world.names if name.endswith(".failed")] == []


def test_of_a_task_that_kie_does_not_show_nobody_says_that_it_has_used_nothing() -> None:
    world = World([Created("task-1")], [None])
    with pytest.raises(KieTaskNotShown):
        world.go()
    assert world.settled == []


def test_a_wait_that_ends_while_kie_is_down_says_so() -> None:
    world = World([Created("task-1")], [500])
    with pytest.raises(KieServerError):
        world.go(deadline=world.now + 60.0)


@pytest.mark.parametrize("pays", [True, False])
def test_of_a_task_that_was_not_asked_for_here_nothing_is_counted(pays: bool) -> None:
    world = World()
    record = world.go(TaskRecord("suno.music", digest=REQUEST.digest, task_id="given"), pays=pays)
    assert (record.task_id, record.repeated) == ("given", False)
    assert world.settled == [] and world.names == []


def test_of_a_task_that_was_given_and_has_failed_the_ledger_says_nothing() -> None:
    world = World([Created("task-1")], [FAILED, FAILED, DONE])
    assert world.go(TaskRecord("suno.music", digest=REQUEST.digest, task_id="given")).task_id == "task-1"
    assert world.names == ["1.intent", "1.task.task-1"]


def test_who_may_not_pay_leaves_a_task_that_has_failed_by_its_error() -> None:
    world = World(reads=[FAILED])
    with pytest.raises(KieGenerationFailed):
        world.go(TaskRecord("suno.music", task_id="given"), pays=False)


def test_how_another_task_has_ended_says_nothing_of_this_one() -> None:
    world = World()
    record = replace(world.new, number=1, task_id="task-2")
    assert world.go(record, Ended("task-1", KieGenerationFailed("?"))).task_id == "task-2"
    with pytest.raises(KieContentRejected):
        world.go(record, Ended("task-2", KieContentRejected("words")))


def test_a_refusal_is_written_down_and_the_next_attempt_may_follow() -> None:
    world = World([Refused(KieInvalidRequest("no")), Created("task-1")])
    with pytest.raises(KieInvalidRequest):
        world.go()
    assert b'"reason": "invalid_request"' in world.store.objects[f"{REQUEST.folder}1.refused"]
    assert world.go().number == 2


def test_a_refusal_after_which_a_new_task_may_help_ends_this_attempt() -> None:
    world = World([Refused(KieGenerationFailed("busy")), Created("task-1")])
    with pytest.raises(KieGenerationFailed):
        world.go()
    assert world.names == ["1.intent", "1.refused"]


def test_an_id_that_the_ledger_lacks_is_written_first_and_once() -> None:
    world = World()
    world.ledger.claim(REQUEST, Intent.made_at(world.now))
    record = TaskRecord("suno.music", digest=REQUEST.digest, number=1, task_id="task-1", unrecorded=True)
    assert not world.go(record).unrecorded
    assert "1.task.task-1" in world.names
    assert {one.unrecorded for one in world.saved} == {False}


def test_a_new_state_of_the_task_is_logged_where_it_can_be_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    World([Created("task-1")]).go()
    assert {record.levelno for record in caplog.records if "task-1" in record.getMessage()} == {logging.INFO}
