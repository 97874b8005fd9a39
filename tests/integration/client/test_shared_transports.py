"""One client per process, event loop and account: forks, threads, closed loops, and a loop that is never blocked."""

from __future__ import annotations

import asyncio
import multiprocessing
import ssl
import threading
from typing import Any

import httpx
import pytest

from airflow_kie.client import errors
from airflow_kie.client.account import KieAccount
from airflow_kie.client.answers.decode import Read, Unreadable
from airflow_kie.client.api import Kie, KieAsync
from airflow_kie.client.http.bounded import trusted_certificates
from airflow_kie.client.http.transport import KieAsyncTransport, KieTransport, shared_async_transport, shared_transport
from airflow_kie.client.operations.account import CREDIT
from airflow_kie.client.operations.suno import COVER
from airflow_kie.client.requests import call_request
from airflow_kie.lifecycle.record import TaskRecord
from answering_server import Seen, says, serving
from unused_ports import unused_port

KEY = "k3y-0123456789abcdef"
RECORD = TaskRecord.of_known_task("suno.cover", "cover-1", source={"taskId": "music-1"})
OK = {"code": 200, "msg": "success", "data": 5916.25}


def test_a_process_has_one_transport_for_an_account() -> None:
    with serving(says(OK)) as server:
        account = KieAccount(KEY, api_url=server.url)
        first = shared_transport(account)
        assert shared_transport(KieAccount(KEY, api_url=server.url)) is first
        other = shared_transport(KieAccount("another-key", api_url=server.url))
        assert other is not first
        for _ in range(3):
            assert Kie(shared_transport(account)).credits() == 5916.25
        assert len({seen.port for seen in server.seen}) == 1, "the connection is used again"
        first.close()
        other.close()


def _in_child(account: KieAccount, parents: int, results: Any) -> None:
    transport = shared_transport(account)
    results.put((id(transport) != parents, Kie(transport).credits()))
    transport.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_gets_a_transport_and_a_connection_of_its_own() -> None:
    with serving(says(OK)) as server:
        account = KieAccount(KEY, api_url=server.url)
        ours = shared_transport(account)
        Kie(ours).credits()
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        child = context.Process(target=_in_child, args=(account, id(ours), results))
        child.start()
        own, balance = results.get(timeout=200)
        child.join()
        assert (own, balance, child.exitcode) == (True, 5916.25, 0)
        assert shared_transport(account) is ours
        assert Kie(ours).credits() == 5916.25, "the parent's connection still works"
        ports = [seen.port for seen in server.seen]
        assert ports[0] == ports[2] != ports[1]
        ours.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_taken_while_a_transport_is_being_made_does_not_hang() -> None:
    from airflow_kie.client.http import transport

    with serving(says(OK)) as server, transport._sync_lock:
        account = KieAccount(KEY, api_url=server.url)
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        child = context.Process(target=_in_child, args=(account, 0, results))
        child.start()
        assert results.get(timeout=200) == (True, 5916.25)
        child.join()


def test_an_event_loop_has_one_transport_for_an_account_and_another_loop_another() -> None:
    with serving(says(OK)) as server:
        account = KieAccount(KEY, api_url=server.url)

        async def poll() -> KieAsyncTransport:
            many = await asyncio.gather(*(shared_async_transport(account) for _ in range(10)))
            assert len({id(transport) for transport in many}) == 1
            for _ in range(3):
                assert (await many[0].send(call_request(CREDIT))).status == 200
            await many[0].close()
            return many[0]

        first = asyncio.run(poll())
        assert len({seen.port for seen in server.seen}) == 1
        assert asyncio.run(poll()) is not first


def test_loops_that_have_ended_are_forgotten() -> None:
    from airflow_kie.client.http import transport

    loops: list[asyncio.AbstractEventLoop] = []

    async def touch() -> None:
        loops.append(asyncio.get_running_loop())
        await (await shared_async_transport(KieAccount(KEY))).close()

    for _ in range(5):
        asyncio.run(touch())
    assert [loop for loop in loops if loop in transport._async] == loops[-1:]


def test_a_slow_answer_does_not_block_the_loop() -> None:
    hold = threading.Event()

    def reply(_: Seen) -> tuple[int, dict[str, str], bytes]:
        hold.wait(200)
        return says(OK)(_)

    async def poll(account: KieAccount) -> int:
        transport = await shared_async_transport(account)
        waiting = asyncio.ensure_future(transport.send(call_request(CREDIT)))
        for _ in range(100):  # the loop turns while the answer is held back, and only then is it let go
            await asyncio.sleep(0)
        assert not waiting.done()
        hold.set()
        answer = await waiting
        await transport.close()
        return answer.status

    with serving(reply) as server:
        assert asyncio.run(poll(KieAccount(KEY, api_url=server.url))) == 200


def test_certificates_are_loaded_outside_the_loops_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded_in: list[int] = []
    real = httpx.create_ssl_context

    def recording() -> ssl.SSLContext:
        loaded_in.append(threading.get_ident())
        return real()

    monkeypatch.setattr("airflow_kie.client.http.bounded.httpx.create_ssl_context", recording)
    trusted_certificates.cache_clear()

    async def make() -> None:
        await (await shared_async_transport(KieAccount(KEY))).close()

    asyncio.run(make())
    assert loaded_in
    assert threading.get_ident() not in loaded_in


def test_the_async_shell_reads_and_fails_as_the_other_does() -> None:
    async def read(url: str) -> Any:
        transport = await shared_async_transport(KieAccount(KEY, api_url=url))
        try:
            return await KieAsync(transport).details(COVER, RECORD.task_id or "")
        finally:
            await transport.close()

    details = {"code": 200, "msg": "success", "data": {"taskId": "cover-1", "successFlag": 0}}
    with serving(says(details)) as server:
        assert isinstance(asyncio.run(read(server.url)), Read)
    with serving(lambda _: None) as server:
        lost = asyncio.run(read(server.url))
        assert isinstance(lost, Unreadable)
        assert type(lost.error) is errors.KieUnreachable
    refused = asyncio.run(read(f"http://127.0.0.1:{unused_port()}"))
    assert isinstance(refused, Unreadable)
    assert type(refused.error) is errors.KieNotSent


def test_threads_share_one_transport() -> None:
    with serving(says(OK)) as server:
        transport = KieTransport(KieAccount(KEY, api_url=server.url))
        kie = Kie(transport)
        balances: list[float] = []
        threads = [threading.Thread(target=lambda: balances.append(kie.credits())) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        transport.close()
        assert balances == [5916.25] * 12
