"""What made no task does not count against the caps on credits, and what it has used replaces what it was quoted at."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.execution_time.context import set_current_context

from airflow_connections import kie_connection
from airflow_kie.client.catalogue import prices
from airflow_kie.client.errors import (
    KieConnectionInvalid,
    KieCreateInDoubt,
    KieError,
    KieInvalidRequest,
    KieOutOfCredits,
    KieOverCap,
    KieSpendingCap,
)
from airflow_kie.client.rate_limiter.limiter import DAY_MS
from airflow_kie.hooks.kie import KieHook
from airflow_kie.monitoring.checks.account import limiter_findings
from airflow_kie.monitoring.checks.findings import Level
from airflow_kie.operators.call import KieCallOperator
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_kie.operators.task import KieTaskOperator
from airflow_task import FakeTaskStateStore, TaskInstance, TaskRun
from kie_simulator.server import SimulatorServer

Run = Callable[..., TaskRun]


@pytest.fixture
def run(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Give a maker of attempts at a song, under an account that may spend what two songs cost in 24 hours."""
    extra = {"max_credits_per_day": 24, "rate_limit": 1000, "account": f"capped {uuid.uuid4().hex}"}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra=extra))

    def make(**options: Any) -> TaskRun:
        def operator() -> KieGenerateMusicOperator:
            return KieGenerateMusicOperator(task_id="generate_music", prompt="rain on a roof", **options)

        return TaskRun(operator, FakeTaskStateStore())

    return make


def test_a_balance_below_the_price_does_not_use_up_the_cap(kie: SimulatorServer, run: Run) -> None:
    kie.control.set_credits(0.5)
    for _ in range(4):
        with pytest.raises(KieOutOfCredits):
            run(wait_for_completion=False).execute()
    assert not KieHook().limiter().cap_is_reached()
    kie.control.set_credits(1000)
    assert [bool(run(wait_for_completion=False).execute()) for _ in range(2)] == [True, True]
    with pytest.raises(KieSpendingCap):
        run(wait_for_completion=False).execute()


def test_a_cover_that_kie_has_made_before_does_not_count(kie: SimulatorServer, run: Run) -> None:
    song = kie.control.make_music("Velvet Harbour")[0].task_id

    def operator() -> KieGenerateCoverOperator:
        return KieGenerateCoverOperator(task_id="generate_cover", music_task_id=song, wait_for_completion=False)

    named = {TaskRun(operator, FakeTaskStateStore()).execute() for _ in range(4)}
    assert len(named) == 1
    assert not KieHook().limiter().cap_is_reached()


def test_a_create_whose_answer_was_lost_counts(kie: SimulatorServer, run: Run) -> None:
    kie.control.add_fault("create", "reset_after", times=2)
    for _ in range(2):
        with pytest.raises(KieCreateInDoubt):
            run(wait_for_completion=False).execute()
    assert KieHook().limiter().cap_is_reached()


@pytest.fixture
def capped(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give what sets the caps of the connection, each time for an account of its own."""

    kie.control.set(task_seconds=0)

    def cap(**caps: float) -> None:
        extra = {"rate_limit": 1000, "account": f"capped {uuid.uuid4().hex}", **caps}
        monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra=extra))

    return cap


def picture(model: str = "nano-banana-2", **fields: Any) -> TaskRun:
    request = {"model": model, "input": {"prompt": "a fox", "aspect_ratio": "1:1", "resolution": "4K", **fields}}
    return making(request)


def making(request: dict[str, Any], **options: Any) -> TaskRun:
    arguments: dict[str, Any] = {"operation": "market", "request": request, "poll_interval": 0.05} | options
    return TaskRun(lambda: KieTaskOperator(task_id="make", deferrable=False, **arguments))


def test_a_request_and_a_run_have_caps_that_name_the_price(kie: SimulatorServer, capped: Callable[..., None]) -> None:
    capped(max_credits_per_request=17)
    with pytest.raises(KieOverCap, match="quoted at 18 credits, and max_credits_per_request of kie_def"):
        picture().attempt()
    capped(max_credits_per_run=30)
    first, second, elsewhere = picture(), picture(prompt="two foxes"), picture()
    second.ti.run_id = first.ti.run_id
    assert first.attempt()
    with pytest.raises(KieOverCap, match="max_credits_per_run"):
        second.attempt()
    assert elsewhere.attempt()
    assert [charge["credits"] for charge in kie.control.ledger("jobs")] == [18, 18]


def test_under_a_cap_an_unknown_price_is_refused_unless_the_connection_says_what_it_counts_as(
    kie: SimulatorServer, capped: Callable[..., None]
) -> None:
    unknown = {"model": "elevenlabs/audio-isolation", "input": {"audio_url": "https://files.example/in.mp3"}}
    run = making(unknown)
    capped(max_credits_per_day=100)
    with pytest.raises(KieOverCap, match="price of Market: Create Task is not known"):
        run.attempt()
    assert not kie.control.ledger()
    capped(max_credits_per_day=100, unknown_price_credits=20)
    assert run.attempt()
    capped()
    assert run.attempt(), "without a cap nothing is asked"


def test_a_price_that_nobody_knows_is_refused_under_a_cap_with_the_reason(
    kie: SimulatorServer, capped: Callable[..., None]
) -> None:
    capped(max_credits_per_request=10_000)
    video = {"prompt": "a fox", "reference_video_urls": ["https://files.example/in.mp4"]}
    with pytest.raises(KieOverCap, match=r"not known \(KIE's page says that generate_audio costs more"):
        making({"model": "bytedance/seedance-2", "input": video}).attempt()
    capped(max_credits_per_request=499)
    silent = {"model": "bytedance/seedance-2", "input": video | {"generate_audio": False}}
    with pytest.raises(KieOverCap, match="quoted at 500 credits"):  # 25 for each of 5 seconds made and 15 given
        making(silent).attempt()
    assert not kie.control.ledger()


def test_what_a_task_has_used_replaces_what_it_was_quoted_at_and_more_is_a_warning(
    kie: SimulatorServer, capped: Callable[..., None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    capped(max_credits_per_day=250)
    request = {"model": "veo-3-1", "input": {"prompt": "a fox"}}  # the tier is not in KIE's page: 30 to 250 credits

    assert making(request).attempt()
    assert [charge["credits"] for charge in kie.control.ledger("veo")] == [60]
    limiter = KieHook().limiter()
    assert not limiter.cap_is_reached(), "250 were reserved, and 60 were used"
    monkeypatch.setattr(prices, "quote_model", lambda *_: prices.Quote(1.0, 1.0))
    with caplog.at_level("WARNING"):
        making(request, force_new="once more").attempt()
    assert "used 60 credits, but was quoted at 1 credit." in caplog.text


@pytest.mark.parametrize("cap", ["run", "day", "month"])
def test_a_cap_that_each_machine_would_count_alone_sends_nothing_that_costs_credits(
    kie: SimulatorServer, capped: Callable[..., None], monkeypatch: pytest.MonkeyPatch, cap: str
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    capped(**{f"max_credits_per_{cap}": 100})
    with pytest.raises(KieConnectionInvalid, match=r"counts those of one machine.*limiter_conn_id"):
        picture().attempt()
    assert not kie.control.ledger()
    (found,) = limiter_findings(KieHook())
    assert found.level is Level.FAIL
    assert "limiter_conn_id" in found.seen
    music_task_id = kie.control.make_music("Rain")[0].task_id
    cover = {"music_task_id": music_task_id, "deferrable": False, "poll_interval": 0.05}
    assert TaskRun(lambda: KieGenerateCoverOperator(task_id="cover", **cover)).attempt(), "it costs nothing"
    capped(max_credits_per_request=100)
    assert picture().attempt()


def test_without_caps_too_what_is_counted_is_what_tasks_have_used(
    kie: SimulatorServer, capped: Callable[..., None]
) -> None:
    capped()
    limiter = KieHook().limiter()
    making({"model": "veo-3-1", "input": {"prompt": "a fox"}}).attempt()  # quoted at 30 to 250
    assert limiter.spent(DAY_MS) == 60
    making({"model": "bytedance/seedance-2", "input": {"prompt": "a fox"}}).attempt()  # nobody knows its price
    paid = sum(charge["credits"] for charge in kie.control.ledger())
    assert limiter.spent(DAY_MS) == paid > 60
    kie.control.add_fault("task", "fail", kind="jobs", times=9)
    with pytest.raises(KieError):
        picture().attempt()
    assert limiter.spent(DAY_MS) == paid, "KIE gives the credits of a failed task back"


def test_a_cap_that_cannot_be_read_is_an_error(kie: SimulatorServer, capped: Callable[..., None]) -> None:
    for value in ("ten", -1, "nan"):
        capped(max_credits_per_day=value)  # type: ignore[arg-type]
        with pytest.raises(KieConnectionInvalid, match="max_credits_per_day of connection kie_default"):
            picture().attempt()
    assert not kie.control.ledger()


def test_what_your_own_code_asks_for_counts_for_the_run_that_it_is_part_of_and_elsewhere_for_none(
    kie: SimulatorServer, capped: Callable[..., None]
) -> None:
    capped(max_credits_per_run=30)
    picture = {"model": "nano-banana-2", "input": {"prompt": "a fox", "aspect_ratio": "1:1", "resolution": "4K"}}
    for key in ("a", "b"):  # a program's requests are no run
        KieHook().create("market", picture, idempotency_key=key)
    with set_current_context({"ti": TaskInstance(dag_id="foxes", run_id="monday")}):  # type: ignore[typeddict-item]
        KieHook().create("market", picture, idempotency_key="c")
        with pytest.raises(KieOverCap, match="max_credits_per_run"):
            KieHook().create("market", picture, idempotency_key="d")
    assert len(kie.control.ledger("jobs")) == 3


def test_what_kie_answers_at_once_counts_where_it_costs_credits_and_was_not_refused(
    kie: SimulatorServer, capped: Callable[..., None]
) -> None:
    ask = lambda: KieHook().call("style", {"content": "rain"})  # noqa: E731
    capped(max_credits_per_day=1)
    kie.control.add_fault("call", "code", code=422, msg="no", times=3)
    for _ in range(3):
        with pytest.raises(KieInvalidRequest):
            ask()
    assert ask() and ask()
    with pytest.raises(KieSpendingCap):
        ask()
    run = TaskRun(lambda: KieCallOperator(task_id="ask", operation="style", request={"content": "rain"}))
    with pytest.raises(KieSpendingCap):
        run.attempt()
    capped()
    assert run.retried().attempt(), "what a cap refused was not sent"


@pytest.mark.parametrize("deferrable", [True, False])
def test_what_the_tasks_of_a_list_have_used_replaces_what_they_were_quoted_at(
    kie: SimulatorServer, capped: Callable[..., None], deferrable: bool
) -> None:
    capped(max_credits_per_day=250)
    request = {"model": "veo-3-1", "input": {"prompt": "a fox"}}
    many = {"operation": "market", "requests": [request], "deferrable": deferrable, "poll_interval": 0.05}
    assert TaskRun(lambda: KieTaskOperator(task_id="make", **many)).attempt()  # type: ignore[arg-type]
    assert [charge["credits"] for charge in kie.control.ledger("veo")] == [60]
    assert not KieHook().limiter().cap_is_reached(), "250 were reserved, and 60 were used"
