"""KieHook as your own code uses it: a task is paid for once by its key, blocking or in an event loop."""

from __future__ import annotations

import asyncio
import inspect
import io
import re
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_connections import kie_connection
from airflow_kie.client.answers.decode import Read
from airflow_kie.client.errors import (
    KieContentRejected,
    KieFailedForGood,
    KieGenerationFailed,
    KieInvalidRequest,
    KieWaitTimeout,
)
from airflow_kie.client.rate_limiter.limiter import DAY_MS, MARGIN, SECONDS, Cost, CreateLimiter, Permit
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.tasks import TaskMethods
from airflow_task import StoredFiles, close_shared_clients
from kie_simulator.server import SimulatorServer

PICTURE = {"model": "z-image", "input": {"prompt": "fox", "aspect_ratio": "1:1"}}


def awaited(work: Awaitable[Any]) -> Any:
    async def run() -> Any:
        try:
            return await work
        finally:
            await close_shared_clients()

    return asyncio.run(run())


def content_at(url: str) -> bytes:
    return httpx.get(url, headers={"User-Agent": "Mozilla/5.0"}, timeout=200).content


def test_the_same_key_is_one_task_for_blocking_code_and_for_an_event_loop(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    kie.control.set(task_seconds=0)
    hook = KieHook()
    made = hook.create("market", PICTURE, idempotency_key="fox of monday")
    assert awaited(KieHook().acreate("market", PICTURE, idempotency_key="fox of monday")) == made
    assert hook.create("market", PICTURE, idempotency_key="fox of tuesday") != made
    assert len(kie.control.ledger("jobs")) == 2
    details = hook.wait("market", made, poll_interval=0.05)
    assert awaited(hook.await_details("market", made, poll_interval=0.05)) == details
    (result,) = hook.results("market", made)
    assert awaited(hook.aresults("market", made)) == (result,)
    assert content_at(awaited(hook.adownload_url(result.url or ""))).startswith(b"\x89PNG")
    assert isinstance(hook.details("market", made), Read) and isinstance(awaited(hook.adetails("market", made)), Read)
    assert hook.call("credit") == awaited(hook.acall("credit")) == hook.credits() == awaited(hook.acredits())


def test_a_wait_ends_at_its_timeout_and_a_task_that_failed_says_why(kie: SimulatorServer, archive: StoredFiles) -> None:
    kie.control.add_fault("task", "takes", kind="jobs", seconds=1e6, times=1)
    made = KieHook().create("market", PICTURE, idempotency_key="slow")
    with pytest.raises(KieWaitTimeout, match=made):
        KieHook().wait("market", made, wait_timeout=0.2, poll_interval=0.05)
    with pytest.raises(KieWaitTimeout, match=made):
        awaited(KieHook().await_details("market", made, wait_timeout=0.2, poll_interval=0.05))
    (song,) = kie.control.make_music("Rain", state="SENSITIVE_WORD_ERROR")
    with pytest.raises(KieContentRejected):
        KieHook().results("suno.music", song.task_id)


@pytest.mark.parametrize(
    ("request_", "key", "refused"),
    [
        (PICTURE, "", "has no idempotency_key"),
        ({"model": "z-image"}, "a", "lacks input"),
        ({"model": "z-image", "input": {"prompt": "fox", "aspect_ratio": "5:7"}}, "a", "not '5:7'"),
    ],
)
def test_a_request_that_kie_would_refuse_is_not_sent(
    kie: SimulatorServer, request_: dict[str, Any], key: str, refused: str
) -> None:
    with pytest.raises(KieInvalidRequest, match=f"{refused}.*nothing was sent"):
        KieHook().create("market", request_, idempotency_key=key)
    assert not kie.control.state()["requests"]


def test_a_file_is_given_to_kie_and_its_address_is_in_no_repr(
    kie: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "song.mp3").write_bytes(b"a song")
    monkeypatch.setenv(
        "AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra={"rate_limit": 1000, "upload_host": kie.url})
    )
    hook = KieHook()
    for upload in (
        hook.upload(tmp_path / "song.mp3"),
        hook.upload(io.BytesIO(b"a song"), name="song.mp3", folder="/mine/"),
        awaited(hook.aupload(str(tmp_path / "song.mp3"))),
    ):
        assert (content_at(upload.url), upload.size) == (b"a song", 6)
        assert upload.url not in repr(upload)
    with pytest.raises(KieInvalidRequest, match="has no name"):
        hook.upload(io.BytesIO(b"a song"))


def test_an_unknown_operation_names_those_that_answer_at_once(kie: SimulatorServer) -> None:
    with pytest.raises(KieInvalidRequest, match="answers at once; these are: credit"):
        KieHook().call("suno.music")
    hook = KieHook()
    for use in (
        lambda name: hook.create(name, {}, idempotency_key="a"),
        lambda name: hook.details(name, "t"),
        lambda name: hook.wait(name, "t"),
    ):
        for name in ("suno.muzic", "style"):
            with pytest.raises(KieInvalidRequest, match=f"'{name}' is not an operation that makes a task; these are: "):
                use(name)


def test_what_is_no_request_and_no_task_is_an_error_that_says_so(kie: SimulatorServer) -> None:
    for given, why in (("rain", "a str was given, not a map such as"), ({}, "lacks content")):
        with pytest.raises(KieInvalidRequest, match=f"{why}.*nothing was sent to KIE"):
            KieHook().call("style", given)  # type: ignore[arg-type]
    for task_id in ("", None):  # as an XCom of another task may be
        with pytest.raises(KieInvalidRequest, match="no task id was given"):
            KieHook().wait("market", task_id)  # type: ignore[arg-type]
    assert not kie.control.state()["requests"]


def test_a_key_whose_task_has_failed_at_kie_gets_another_one_twice_at_most(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    kie.control.add_fault("task", "fail", kind="jobs", times=3)
    made = []
    for _ in range(3):
        made.append(KieHook().create("market", PICTURE, idempotency_key="fox"))
        with pytest.raises(KieGenerationFailed):
            KieHook().wait("market", made[-1], poll_interval=0.05)
    assert len(set(made)) == len(kie.control.ledger("jobs")) == 3
    with pytest.raises(KieFailedForGood, match="airflow kie release"):
        KieHook().create("market", PICTURE, idempotency_key="fox")
    assert KieHook().limiter().spent(DAY_MS) == 0, "KIE gives the credits of a failed task back"


def test_a_key_whose_task_has_failed_by_its_own_content_keeps_it(kie: SimulatorServer, archive: StoredFiles) -> None:
    kie.control.add_fault("task", "fail", kind="jobs", error_code=413, times=1)
    made = KieHook().create("market", PICTURE, idempotency_key="fox")
    assert KieHook().create("market", PICTURE, idempotency_key="fox") == made
    assert len(kie.control.ledger("jobs")) == 1


def test_a_request_of_own_code_waits_for_its_turn_in_kies_window(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing sends it later, as a rescheduled operator does."""
    waits: list[float] = []
    real = CreateLimiter.acquire

    def acquire(self: CreateLimiter, max_wait: float, cost: Cost) -> Permit:
        waits.append(max_wait)
        return real(self, max_wait, cost)

    monkeypatch.setattr(CreateLimiter, "acquire", acquire)
    KieHook().create("market", PICTURE, idempotency_key="fox")
    KieHook().call("style", {"content": "rain"})
    assert len(waits) == 2 and min(waits) > SECONDS + MARGIN


def test_what_can_still_be_paid_for_twice_is_a_warning(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")  # its workers share no file
    for key in "ab":
        KieHook().create("market", PICTURE, idempotency_key=key)
    warned = [record.getMessage() for record in caplog.records if "Not covered" in record.getMessage()]
    assert len(warned) == 1 and "requests of other machines: [kie] bucket and [kie] ledger are not set" in warned[0]


def test_every_method_is_documented_and_has_its_twin_for_event_loops() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "own-code.md").read_text(encoding="utf-8")
    public = {name: method for name, method in vars(TaskMethods).items() if name[0] != "_" and callable(method)}
    ours = {"paid_task"}  # for the package's own operators
    blocking = {name for name, method in public.items() if not inspect.iscoroutinefunction(method)} - ours
    twins = {name: "await_details" if name == "wait" else f"a{name}" for name in blocking}
    assert set(twins.values()) | ours | blocking == set(public)
    for name, twin in twins.items():
        assert re.search(rf"\| `{name}` \| `{twin}` \|", guide), name
        assert inspect.getdoc(public[name]) and inspect.getdoc(public[twin])
