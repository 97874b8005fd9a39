"""The driver between the ledger and KIE: what it does not send, and when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from airflow_kie.archive.s3.errors import S3AccessDenied
from airflow_kie.client.answers.decode import CreateAnswer, Created
from airflow_kie.client.errors import KieCreateInDoubt, KieSpendingStopped
from airflow_kie.lifecycle import crash_points
from airflow_kie.lifecycle.claims import SEND_WITHIN, AlreadyMade, Intent, RequestId
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.ledger import Ledger, PaidRequest
from airflow_kie.lifecycle.many import SENDING, Outcome, follow_many
from airflow_kie.lifecycle.record import TaskRecord
from ledgers import MemoryLedgerStore

REQUEST = RequestId("kie", "suno.music", "0" * 32)


@dataclass
class World:
    """A clock, a ledger, and a KIE that makes a task for each request."""

    now: float = 1_776_862_600.0
    store: MemoryLedgerStore = field(default_factory=MemoryLedgerStore)
    made: list[str] = field(default_factory=list)
    given_back: int = 0
    permit: Callable[[], None] = lambda: None

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.store, lambda: self.now)

    def create(self, record: TaskRecord, nonce: str) -> CreateAnswer:
        self.made.append(f"task-{len(self.made) + 1}")
        return Created(self.made[-1])

    def give_back(self) -> None:
        self.given_back += 1

    def make(self) -> str | None:
        """Drive a new record until KIE has named its task."""
        driver = TaskDriver(
            paid=PaidRequest(lambda: self.ledger, REQUEST, Intent.made_at),
            create=self.create,
            permit=self.permit,
            give_back=self.give_back,
            clock=lambda: self.now,
        )
        record, nothing = TaskRecord("suno.music", digest=REQUEST.digest), cast("Any", None)
        return driver.follow(record, nothing, nothing, to_the_end=False).record.task_id

    @property
    def names(self) -> list[str]:
        return sorted(key.removeprefix(REQUEST.folder) for key in self.store.objects)


@pytest.fixture(autouse=True)
def no_points() -> Iterator[None]:
    yield
    crash_points.at("before post", None)


@pytest.mark.parametrize(("seconds", "attempt"), [(SEND_WITHIN - 1, 1), (SEND_WITHIN, 2)])
def test_a_process_that_was_frozen_too_long_after_its_intent_does_not_send_it(seconds: float, attempt: int) -> None:
    world = World()

    def freeze() -> None:
        crash_points.at("before post", None)
        assert world.made == []
        world.now += seconds

    crash_points.at("before post", freeze)
    assert world.make() == "task-1"
    assert f"{attempt}.task.task-1" in world.names
    assert ("1.refused" in world.names, world.given_back) == (attempt == 2, attempt - 1)
    assert attempt == 1 or b"too late to send it" in world.store.objects[f"{REQUEST.folder}1.refused"]


def test_nothing_is_sent_where_the_intent_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def denied(key: str, body: bytes) -> bool:
        raise S3AccessDenied(f"PutObject {key}")

    monkeypatch.setattr(world.store, "create", denied)
    with pytest.raises(S3AccessDenied):
        world.make()
    assert (world.made, world.given_back) == ([], 1)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_permit_of_what_is_not_sent_is_given_back_whatever_ends_it(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    world = World()
    monkeypatch.setattr(world.store, "create", Mock(side_effect=error))
    with pytest.raises(error):
        world.make()
    assert (world.made, world.given_back) == ([], 1)


@pytest.mark.parametrize("leaves", ["while it is taken", "once it is taken"])
def test_the_permit_of_a_list_that_ends_meanwhile_is_given_back(leaves: str) -> None:
    world, asked, may_go_on = World(), threading.Event(), threading.Event()

    def permit() -> None:
        asked.set()
        may_go_on.wait(60)

    paid = PaidRequest(lambda: world.ledger, REQUEST, Intent.made_at)
    driver = TaskDriver(paid=paid, create=world.create, permit=permit, give_back=world.give_back)
    record = TaskRecord("suno.music", digest=REQUEST.digest)

    async def ended() -> None:
        following = asyncio.create_task(driver.afollow(record, cast("Any", None), to_the_end=False))
        await asyncio.to_thread(asked.wait, 60)
        if leaves == "while it is taken":
            following.cancel()
            await asyncio.wait([following])
        may_go_on.set()
        following.cancel()
        await asyncio.wait([following])

    asyncio.run(ended())  # which waits for its threads
    assert (world.made, world.given_back) == ([], 1)


def test_a_doubt_is_recorded_for_a_person_also_while_nothing_may_be_sent() -> None:
    def refuse() -> None:
        raise KieSpendingStopped("a loop")

    world = World(permit=refuse)
    world.ledger.claim(REQUEST, Intent.made_at(world.now))
    world.now += 3600
    with pytest.raises(KieCreateInDoubt):
        world.make()
    assert [request for request, _ in world.ledger.doubts(REQUEST.account)] == [REQUEST]


def test_requests_that_others_are_sending_hold_no_third_one_back() -> None:
    world = World()
    ledger = Ledger(world.store, lambda: world.now)
    names = [f"{number:032x}" for number in range(SENDING + 1)]
    requests = {name: replace(REQUEST, digest=name) for name in names}
    for name in names[:SENDING]:
        ledger.claim(requests[name], Intent.made_at(world.now))

    def driver(name: str) -> TaskDriver:
        paid = PaidRequest(lambda: ledger, requests[name], Intent.made_at)
        return TaskDriver(paid=paid, create=world.create, clock=lambda: world.now)

    async def first() -> str:
        records = {name: TaskRecord("suno.music", digest=name) for name in names}
        outcomes = follow_many(records, driver, Mock(), to_the_end=False)
        async with aclosing(cast("AsyncGenerator[Outcome]", outcomes)):
            return (await anext(outcomes)).key

    assert asyncio.run(first()) == names[-1]


def test_an_event_loop_is_not_what_records_that_a_task_is_used_which_was_made_before() -> None:
    world, told = World(), []  # it reads connections, which Airflow refuses within an event loop, and writes to S3
    assert world.make() == "task-1"

    def adopted(_: AlreadyMade) -> None:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        told.append(threading.current_thread() is not threading.main_thread())

    paid = PaidRequest(lambda: world.ledger, REQUEST, Intent.made_at, adopted=adopted)
    driver = TaskDriver(paid=paid, create=world.create, permit=world.permit, clock=lambda: world.now)
    record = TaskRecord("suno.music", digest=REQUEST.digest)
    followed = asyncio.run(driver.afollow(record, cast("Any", None), to_the_end=False))
    assert (followed.record.task_id, world.made, told) == ("task-1", ["task-1"], [True])
