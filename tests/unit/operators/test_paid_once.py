"""A request is paid for once although KIE repeats no answer: each create makes, and charges, another task.

Four cases: the answer is lost, a gateway answers 502 after KIE has made the task, the worker is killed in the POST, two
runs ask for one thing at once. With callbacks the id comes back, and there is one create each. Without, what costs
credits ends in `create_in_doubt`, and what is free is made twice at most.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_connections import kie_connection
from airflow_kie._airflow_private.metadata import Wake
from airflow_kie.client.callbacks.url import Waiting
from airflow_kie.client.errors import KieCreateInDoubt
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.triggers.event import Outcome
from airflow_kie.web.receiver.gateway import AirflowGateway
from airflow_kie.web.receiver.receiver import create_app
from airflow_task import TaskInstance, TaskRun, Variables, WorkerCrash
from asgi_server import serving
from kie_forms import FORMS
from kie_simulator.server import SimulatorServer
from kie_simulator_client import Kie
from paid_requests import POINTS, Entries, at_point, become_old, dying_at, recorded

PaidIn = Callable[[TaskRun], Entries]
SECRET = "a-webhook-secret-of-this-test-0123456789"
MUSIC = {"prompt": "rain", "customMode": False, "instrumental": False, "model": "V5"}
MARKET = {"model": "z-image", "input": {"prompt": "rain", "aspect_ratio": "1:1"}}


@dataclass(frozen=True)
class Kind:
    """An operation, and how one thing is asked for in two runs.

    :param operation: its name.
    :param ledger: its name in the simulator's ledger.
    :param body: makes the request.
    :param free: a lost answer is asked for once more.
    :param key: what makes the requests of two runs the same.
    """

    operation: str
    ledger: str
    body: Callable[[SimulatorServer], Mapping[str, Any]]
    free: bool = False
    key: str | None = None

    def run(self, kie: SimulatorServer, run_id: str = "monday", **options: Any) -> TaskRun:
        """Return a run that asks for it."""
        body, key = self.body(kie), self.key
        settings: dict[str, Any] = {"poll_interval": 0.05, "deferrable": True, "idempotency_key": key} | options
        return TaskRun(
            lambda: KieTaskOperator(task_id="make", operation=self.operation, request=body, **settings),
            ti=TaskInstance(dag_id="songs", run_id=run_id),
        )


def song_of(kie: SimulatorServer) -> str:
    """Return the one song that exists before a test asks for anything."""
    songs = [task["task_id"] for task in kie.control.tasks("music")]
    return str(songs[0]) if songs else kie.control.make_music("Velvet Harbour")[0].task_id


def track_of(kie: SimulatorServer) -> dict[str, Any]:
    """Return the request for something that is made from that song's first track."""
    client = Kie(kie)
    tracks = client.music(song_of(kie))["response"]["sunoData"]
    client.close()
    return {"taskId": song_of(kie), "audioId": tracks[0]["id"]}


KINDS = {
    "song": Kind("suno.music", "music", lambda kie: MUSIC, key="order-17"),
    "clip": Kind("veo.generate", "veo", lambda kie: {"prompt": "rain"}, key="order-17"),
    "image": Kind("market", "jobs", lambda kie: MARKET, key="order-17"),
    "wav": Kind("suno.wav", "wav", track_of),
    "cover": Kind("suno.cover", "cover", lambda kie: {"taskId": song_of(kie)}, free=True),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
everywhere = pytest.mark.parametrize("paid_in", ["bucket", "database", "task state"], indirect=True)
for_all_runs = pytest.mark.parametrize("paid_in", ["bucket", "database"], indirect=True)
"""A task's own state says nothing to another run, and no callback gets there."""


@pytest.fixture(autouse=True, params=FORMS)
def form(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Let KIE be asked in each form, and make, and charge, a task for each create."""
    kie.control.set(duplicate="none", task_seconds=0)
    api = str(request.param)
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra={"rate_limit": 1000, "api": api}))
    return api


# --- the four cases, of which three lose an answer ---


def answer_lost(kie: SimulatorServer, kind: Kind, run: TaskRun) -> TaskRun:
    """Let the connection break after KIE has made the task."""
    kie.control.add_fault("create", "reset_after", kind=kind.ledger, after=True)
    return run


def gateway_page(kie: SimulatorServer, kind: Kind, run: TaskRun) -> TaskRun:
    """Let a gateway answer 502 after KIE has made the task."""
    kie.control.add_fault("create", "html", kind=kind.ledger, after=True)
    return run


def killed(kie: SimulatorServer, kind: Kind, run: TaskRun) -> TaskRun:
    """Kill the worker after KIE has made the task and before anything is written down."""
    with dying_at("after post"), pytest.raises(WorkerCrash):
        run.execute()
    return run.retried()


Loss = Callable[[SimulatorServer, Kind, TaskRun], TaskRun]
every_loss = pytest.mark.parametrize("lose", [answer_lost, gateway_page, killed])


# --- with callbacks ---


class Gateway(AirflowGateway):
    """The real receiver's Airflow, in which nothing but the ledger is there."""

    def wake(self, waiting: Waiting) -> Wake:
        return Wake.AT_NEXT_READ

    def wake_sensors(self, kie_task_id: str) -> int:
        return 0

    def run_is_active(self, dag_id: str, run_id: str) -> bool:
        return False

    def event_was_sent(self, music_task_id: str, since: datetime) -> bool:
        return True

    def send_event(self, music_task_id: str, extra: dict[str, Any]) -> bool:
        return False

    def record_callbacks(self, kie_conn_id: str, last: Any, deliveries: Any) -> None:
        pass


@pytest.fixture
def callbacks(kie: SimulatorServer, form: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let KIE call the receiver back."""
    monkeypatch.setattr("airflow.sdk.Variable", Variables())
    with serving(create_app(Gateway())) as port:
        extra = {
            "rate_limit": 1000,
            "api": form,
            "webhook_secret": SECRET,
            "callback_url": f"http://127.0.0.1:{port}/callback/kie_default",
        }
        monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra=extra))
        kie.control.set(webhook_key=SECRET)
        yield


def to_the_end(run: TaskRun, paid: Entries, task_ids: int = 1) -> Any:
    """Run an attempt; where it waits for an id that was lost, wake it when the callback has brought that."""
    try:
        return run.execute()
    except TaskDeferred as deferred:
        if (deferred.kwargs or {}).get("awaited"):
            return run.resume(deferred)
        ends_at = time.monotonic() + 200
        while sum(".task." in name for name in recorded(paid)) < task_ids:
            assert time.monotonic() < ends_at, recorded(paid)
            time.sleep(0.02)
        event = {"outcome": "called_back"}
        try:
            return run.wake(deferred.method_name, {**(deferred.kwargs or {}), "event": event})
        except TaskDeferred as again:
            return run.resume(again)


@every_kind
@every_loss
@for_all_runs
def test_with_callbacks_the_id_comes_back_and_one_task_is_made(
    kie: SimulatorServer, paid_in: PaidIn, callbacks: None, kind: Kind, lose: Loss
) -> None:
    run = lose(kie, kind, kind.run(kie))
    made = to_the_end(run, paid_in(run))
    assert [charge["task_id"] for charge in kie.control.ledger(kind.ledger)] == [made]
    assert kind.run(kie).attempt() == made
    assert len(kie.control.ledger(kind.ledger)) == 1


# --- without callbacks ---


@every_kind
@every_loss
@everywhere
def test_without_callbacks_what_is_charged_ends_in_doubt_and_what_is_free_is_made_twice_at_most(
    kie: SimulatorServer, paid_in: PaidIn, kind: Kind, lose: Loss
) -> None:
    run = lose(kie, kind, kind.run(kie))
    become_old(paid_in(run))
    if kind.free:
        made = run.attempt()
        charges = [charge["task_id"] for charge in kie.control.ledger(kind.ledger)]
        assert (len(charges), charges[-1]) == (2, made)
        assert recorded(paid_in(run)).count("1.repeated") == 1
        assert run.retried().attempt() == run.cleared().attempt() == made
    for attempt in (run, run.retried(), run.cleared()):
        if not kind.free:
            with pytest.raises(KieCreateInDoubt, match=r"kie\.ai/logs.*adopt_task_id"):
                attempt.attempt()
    assert len(kie.control.ledger(kind.ledger)) == (2 if kind.free else 1)


@pytest.mark.parametrize("code", [500, 501])
@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if not kind.free], ids=lambda kind: kind.ledger)
@pytest.mark.parametrize("paid_in", ["database"], indirect=True)
def test_an_error_code_after_which_kie_has_charged_a_task_is_in_doubt_and_pays_for_no_other_one(
    kie: SimulatorServer, paid_in: PaidIn, kind: Kind, code: int
) -> None:
    kie.control.add_fault("create", "code", kind=kind.ledger, after=True, code=code, msg="Server exception")
    run = kind.run(kie)
    become_old(paid_in(run))
    for attempt in (run, run.retried(), run.cleared(), kind.run(kie, "tuesday")):
        with pytest.raises(KieCreateInDoubt, match=rf"answered with code {code}.*kie\.ai/logs"):
            attempt.attempt()
    (paid,) = kie.control.ledger(kind.ledger)
    assert kind.run(kie, "wednesday", adopt_task_id=paid["task_id"]).attempt() == paid["task_id"]
    assert len(kie.control.ledger(kind.ledger)) == 1


@every_kind
@every_loss
@for_all_runs
def test_a_doubt_of_one_run_is_the_doubt_of_every_run(
    kie: SimulatorServer, paid_in: PaidIn, kind: Kind, lose: Loss
) -> None:
    run = lose(kie, replace(kind, free=False), kind.run(kie))
    become_old(paid_in(run))
    other = kind.run(kie, "tuesday")
    if kind.free:
        assert run.attempt() == other.attempt()
        assert len(kie.control.ledger(kind.ledger)) == 2
        return
    for each in (run, other):
        with pytest.raises(KieCreateInDoubt):
            each.attempt()
    paid = kie.control.ledger(kind.ledger)[0]["task_id"]
    assert kind.run(kie, "wednesday", adopt_task_id=paid).attempt() == paid  # a person has looked
    assert other.cleared().attempt() == run.cleared().attempt() == paid
    assert len(kie.control.ledger(kind.ledger)) == 1


@every_kind
@every_loss
@for_all_runs
def test_while_a_request_may_be_on_its_way_every_run_waits(
    kie: SimulatorServer, paid_in: PaidIn, kind: Kind, lose: Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__CONFIRM_FAILURE_SECONDS", "100")
    run = lose(kie, kind, kind.run(kie))
    for each in (run, kind.run(kie, "tuesday"), run.retried()):
        with pytest.raises(TaskDeferred) as deferred:
            each.execute()
        assert 0 < deferred.value.trigger.serialize()[1]["first_read"] - time.time() < 121
    assert len(kie.control.ledger(kind.ledger)) == 1


# --- two runs at once ---


@contextmanager
def once_at(point: str, action: Callable[[], Any]) -> Iterator[list[Any]]:
    """Let something happen the first time that the process gets to a point; give what came of it."""
    came: list[Any] = []

    def act() -> None:
        if not came:
            came.append(None)
            came[0] = action()

    with at_point(point, act):
        yield came


def first_leg(run: TaskRun) -> Any:
    """Run the first leg of an attempt; return how it waits, or what it returns."""
    try:
        return run.execute()
    except TaskDeferred as deferred:
        return deferred


def last_leg(run: TaskRun, leg: Any) -> Any:
    """Go on after a first leg, as the triggerer does when its time has come."""
    if not isinstance(leg, TaskDeferred):
        return leg
    if (leg.kwargs or {}).get("awaited"):
        return run.resume(leg)
    event = {"outcome": Outcome.ASK_AGAIN.value, "task_id": None, "last_state": None}
    return last_leg(run, _woken(run, leg, event))


def _woken(run: TaskRun, leg: TaskDeferred, event: Mapping[str, Any]) -> Any:
    try:
        return run.wake(leg.method_name, {**(leg.kwargs or {}), "event": event})
    except TaskDeferred as again:
        return again


@every_kind
@pytest.mark.parametrize("called_back", [True, False])
@for_all_runs
def test_two_runs_that_ask_at_once_share_one_task(
    kie: SimulatorServer, paid_in: PaidIn, kind: Kind, called_back: bool, request: pytest.FixtureRequest
) -> None:
    if called_back:
        request.getfixturevalue("callbacks")
    one, other = kind.run(kie), kind.run(kie, "tuesday")
    with once_at("before post", lambda: first_leg(other)) as came:
        mine = first_leg(one)
    made = last_leg(one, mine)
    assert last_leg(other, came[0]) == made
    assert [charge["task_id"] for charge in kie.control.ledger(kind.ledger)] == [made]


@pytest.mark.parametrize("point", POINTS)
@for_all_runs
def test_they_share_it_wherever_the_first_one_is_when_the_second_one_comes(
    kie: SimulatorServer, paid_in: PaidIn, point: str
) -> None:
    kind = KINDS["song"]
    one, other = kind.run(kie), kind.run(kie, "tuesday")
    with once_at(point, lambda: first_leg(other)) as came:
        mine = first_leg(one)
    assert last_leg(other, came[0]) == last_leg(one, mine)
    assert len(kie.control.ledger(kind.ledger)) == 1


@every_kind
@for_all_runs
def test_eight_runs_that_ask_at_the_same_moment_share_one_task(
    kie: SimulatorServer, paid_in: PaidIn, kind: Kind
) -> None:
    runs = [kind.run(kie, f"run-{number}") for number in range(8)]
    start, here = threading.Barrier(len(runs)), threading.local()

    def together() -> None:
        if not getattr(here, "started", False):
            here.started = True
            start.wait(200)

    with at_point("before intent", together), ThreadPoolExecutor(len(runs)) as workers:
        legs = list(workers.map(first_leg, runs))
    made = {last_leg(run, leg) for run, leg in zip(runs, legs, strict=True)}
    assert {charge["task_id"] for charge in kie.control.ledger(kind.ledger)} == made
    assert len(made) == len(kie.control.ledger(kind.ledger)) == 1
