"""What a callback claims is a song is read from KIE before it is recorded, and again before it is started."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import AirflowSkipException

from airflow_connections import kie_connection
from airflow_kie.client.callbacks.signature import sign
from airflow_kie.client.task_lookup import Claim
from airflow_kie.hooks.archive import open_song
from airflow_kie.web.receiver import receiver
from airflow_kie.web.receiver.receiver import Claims, create_app
from airflow_kie.web.receiver.rest import AirflowApi, RestGateway
from airflow_task import StoredFiles
from asgi_server import serving
from fake_gateway import SECRET
from kie_simulator.server import SimulatorServer
from kie_simulator_client import CALLBACK, Kie
from new_songs import Airflow

NOBODY = "http://127.0.0.1:9"
STRANGE = "f" * 32


@dataclass
class Called:
    """A receiver that KIE calls, over the bucket and the account of the test.

    :param world: what it asks.
    """

    url: str
    world: RestGateway
    archive: StoredFiles
    announced: list[str]

    def complete(self, task_id: str, data: Any = None) -> int:
        """Send a signed callback that calls an id a finished song; return the answer's status."""
        stamp = str(int(time.time()))
        headers = {"X-Webhook-Timestamp": stamp, "X-Webhook-Signature": sign(SECRET, task_id, stamp)}
        body = {"code": 200, "msg": "m", "data": {"callbackType": "complete", "task_id": task_id, "data": data or []}}
        return httpx.post(self.url, json=body, headers=headers, trust_env=False, timeout=200).status_code

    def pending(self, task_id: str) -> dict[str, Any] | None:
        """Return an id's pending record."""
        key = f"songs/_pending/{task_id}.json"
        return dict(self.archive.json(key)) if key in self.archive.listed() else None

    def settled(self, expected: int = 0) -> list[str]:
        """Return which songs were announced, which follows the answer: as soon as it was so many, or in two seconds."""
        for _ in range(10_000 if expected else 100):
            if len(self.announced) >= max(1, expected):
                break
            time.sleep(0.02)
        return self.announced


@pytest.fixture
def account(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kie]:
    """Give the account whose callbacks are accepted; reconcile checks every record."""
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", with_secret(kie))
    monkeypatch.setenv("AIRFLOW__KIE__RECONCILE_AFTER_MINUTES", "0")
    client = Kie(kie)
    yield client
    client.close()


@pytest.fixture
def called(account: Kie, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch) -> Iterator[Called]:
    api = AirflowApi(NOBODY, token="a token")
    world = RestGateway(api)
    announced: list[str] = []
    monkeypatch.setattr(world, "announce", lambda _, song: announced.append(song))
    monkeypatch.setattr(world, "event_was_sent", lambda *_: False)
    with serving(create_app(world)) as port:
        yield Called(f"http://127.0.0.1:{port}/callback/kie_default", world, archive, announced)
    api.close()


def with_secret(kie: SimulatorServer, **changes: Any) -> str:
    return kie_connection(kie, extra={"rate_limit": 1000, "webhook_secret": SECRET}, **changes)


def song(account: Kie) -> str:
    return str(account.generate()["data"]["taskId"])


def dispatched() -> list[str]:
    """Run the task reconcile; return which songs it starts."""
    try:
        return list(Airflow().reconcile()[1]["music_task_ids"])
    except AirflowSkipException:
        return []


def test_a_captured_cover_callback_that_calls_its_id_a_song_leaves_no_record_and_starts_nothing(
    called: Called, account: Kie
) -> None:
    cover = account.create_cover(song(account))["data"]["taskId"]
    assert called.complete(cover) == 200
    assert called.pending(cover) is None
    assert called.settled() == []


def test_the_lyrics_of_another_program_are_no_song(called: Called, account: Kie) -> None:
    lyrics = account.post("/lyrics", prompt="rain", callBackUrl=CALLBACK)["data"]["taskId"]
    assert called.complete(lyrics, [{"text": "La la", "title": "Rain", "status": "complete"}]) == 200
    assert called.pending(lyrics) is None
    assert called.settled() == []


def test_a_song_that_kie_confirms_is_recorded_before_the_answer_and_announced(called: Called, account: Kie) -> None:
    finished = song(account)
    assert called.complete(finished) == 200
    record = called.pending(finished)
    assert record is not None
    assert record["unconfirmed"] is None
    assert called.settled(1) == [finished]


@pytest.mark.parametrize("changes", [{"host": NOBODY}, {"password": ""}, {"password": "another key"}])
def test_a_song_that_kie_cannot_be_asked_about_waits_unconfirmed_until_it_can(
    kie: SimulatorServer, called: Called, account: Kie, changes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = song(account)
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", with_secret(kie, **changes))
    assert called.complete(finished) == 200
    record = called.pending(finished)
    assert record is not None
    assert record["unconfirmed"] == "not_asked"
    assert called.settled() == []
    assert dispatched() == []  # KIE still cannot be asked: nothing is started, and nothing is lost
    assert called.pending(finished) is not None
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", with_secret(kie))
    assert dispatched() == [finished]
    record = called.pending(finished)
    assert record is not None
    assert record["unconfirmed"] is None


def test_an_id_that_kie_does_not_know_is_dropped_when_a_later_read_agrees(called: Called) -> None:
    assert called.complete(STRANGE) == 200
    record = called.pending(STRANGE)
    assert record is not None
    assert record["unconfirmed"] == "not_found"
    assert dispatched() == []
    assert called.pending(STRANGE) is None
    assert called.settled() == []


def test_one_read_that_finds_nothing_drops_no_song(kie: SimulatorServer, called: Called, account: Kie) -> None:
    archive = open_song("aws_default", called.archive.bucket, "songs", STRANGE)
    archive.update_pending(received_from="callback", kie_conn_id="kie_default", unconfirmed="not_asked")
    assert dispatched() == []
    record = called.pending(STRANGE)
    assert record is not None
    assert record["unconfirmed"] == "not_found"


def test_a_claim_that_kie_does_not_confirm_changes_no_record_of_somebody_else(
    called: Called, archive: StoredFiles
) -> None:
    open_song("aws_default", archive.bucket, "songs", STRANGE).update_pending(
        received_from="inbox", kie_conn_id="kie_b"
    )
    before = archive.body(f"songs/_pending/{STRANGE}.json")
    assert called.complete(STRANGE) == 200
    assert archive.body(f"songs/_pending/{STRANGE}.json") == before
    assert json.loads(before)["kie_conn_id"] == "kie_b"


def test_an_id_is_asked_about_once_however_often_its_callback_is_sent_again() -> None:
    asked: list[tuple[str, str]] = []

    def ask(kie_conn_id: str, task_id: str) -> Claim:
        asked.append((kie_conn_id, task_id))
        return Claim.SONG

    async def flood() -> list[Claim]:
        claims = Claims(ask)
        return await asyncio.gather(*(claims.of("kie_default", STRANGE) for _ in range(50)))

    assert set(asyncio.run(flood())) == {Claim.SONG}
    assert asked == [("kie_default", STRANGE)]


def test_a_kie_that_does_not_answer_in_time_keeps_no_callback_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "ASK_SECONDS", 0.05)
    released = threading.Event()

    def ask(kie_conn_id: str, task_id: str) -> Claim:
        released.wait(200)
        return Claim.SONG

    async def call() -> list[Claim]:
        claims = Claims(ask)
        try:
            return await asyncio.gather(*(claims.of("kie_default", f"{number:032x}") for number in range(30)))
        finally:
            released.set()

    assert set(asyncio.run(call())) == {Claim.NOT_ASKED}
