"""The receiver alone: an Airflow that is away, tokens that run out, and what its answers lead to."""

from __future__ import annotations

import contextlib
import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import asgi_server
from airflow_kie._airflow_private.metadata import Wake
from airflow_kie.archive.pending import Working
from airflow_kie.assets import PENDING
from airflow_kie.client.callbacks.signature import sign
from airflow_kie.client.callbacks.url import Waiting
from airflow_kie.client.task_lookup import Claim
from airflow_kie.hooks.archive import open_song
from airflow_kie.web.receiver import rest
from airflow_kie.web.receiver.__main__ import main
from airflow_kie.web.receiver.gateway import NoBucket
from airflow_kie.web.receiver.receiver import create_app
from airflow_kie.web.receiver.rest import AirflowApi, AirflowRefused, RestGateway
from airflow_kie.web.receiver.server import BoundedProtocol
from airflow_task import StoredFiles
from answering_server import Seen, says, serving
from fake_gateway import SECRET

SONG = "5c79be8e0a3f4d1c9b7e2f6a8d0c1e35"
World = Callable[..., RestGateway]
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def world() -> Iterator[World]:
    """Give worlds behind an Airflow at an address, by default one where nobody is."""
    made: list[AirflowApi] = []

    def make(url: str = NOBODY, **token: Any) -> RestGateway:
        made.append(AirflowApi(url, **(token or {"token": "a token"})))
        return RestGateway(made[-1])

    yield make
    for api in made:
        api.close()


def test_connections_are_kept_longer_than_any_proxy_that_our_page_names_keeps_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serves: list[dict[str, Any]] = []
    monkeypatch.setattr("logging.basicConfig", lambda **how: None)  # for the whole process
    monkeypatch.setattr("uvicorn.run", lambda app, **how: serves.append(how))
    monkeypatch.setenv("AIRFLOW__KIE__BUCKET", "songs")
    monkeypatch.setenv("KIE_RECEIVER_TOKEN", "a token")
    assert main(["--airflow-url", NOBODY]) == 0
    assert serves[0]["timeout_keep_alive"] > 120
    assert serves[0]["http"] is BoundedProtocol


def test_a_song_is_recorded_while_airflow_is_away_and_left_to_reconciliation(
    world: World,
    bucket: str,
    archive: StoredFiles,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = {"conn_type": "kie", "password": "key", "extra": {"webhook_secret": SECRET}}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", json.dumps(connection))
    alone = world()
    monkeypatch.setattr(alone, "ask_kie", lambda *_: Claim.SONG)
    body = {"code": 200, "data": {"callbackType": "complete", "task_id": SONG}}
    with asgi_server.serving(create_app(alone)) as port:
        for _ in range(2):  # the second time it is recorded already: KIE gets its 200 too
            stamp = str(int(time.time()))
            signed = {"X-Webhook-Timestamp": stamp, "X-Webhook-Signature": sign(SECRET, SONG, stamp)}
            url = f"http://127.0.0.1:{port}/callback/kie_default"
            assert httpx.post(url, json=body, headers=signed, trust_env=False, timeout=200).status_code == 200
            assert f"songs/_pending/{SONG}.json" in archive.listed()
    assert caplog.text.count("The song is recorded; the reconciliation starts it if no run works on it.") == 2
    assert caplog.text.count("nothing else depends on it") == 1
    assert "a token" not in caplog.text


def test_the_record_of_a_song_of_a_callback_asks_for_what_the_settings_ask_for(
    world: World, bucket: str, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__ARCHIVE_AUDIO", "True")
    world().register("kie_default", SONG, Claim.SONG)
    assert archive.json(f"songs/_pending/{SONG}.json")["options"] == {"audio": True, "lyrics": False}


def test_a_song_in_work_is_left_alone_while_airflow_cannot_say_whether_its_run_goes_on(
    world: World, bucket: str
) -> None:
    working = Working(dag_id="music_cover", run_id="run")
    open_song("aws_default", bucket, "songs", SONG).update_pending(received_from="form", working=working)
    assert world().run_is_active("music_cover", "run") is True
    assert world().register("kie_default", SONG, Claim.SONG) is False


def test_a_song_cannot_be_recorded_without_a_bucket(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__BUCKET", "")
    with pytest.raises(NoBucket, match="no bucket is set"):
        world().register("kie_default", SONG, Claim.SONG)


def test_a_task_that_waits_is_left_to_its_next_read(world: World) -> None:
    assert world().wake(Waiting("music_cover", "run", "generate_cover", 0, "nonce")) is Wake.AT_NEXT_READ
    assert world().wake_sensors(SONG) == 0


def test_a_token_that_airflow_refuses_is_read_again_from_its_file(world: World, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("new\n")

    def reply(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        return says({"state": "running"}, status=200 if seen.headers["authorization"] == "Bearer new" else 401)(seen)

    with serving(reply) as airflow:
        alone = world(airflow.url, token_file=tmp_path / "token")
        alone.api._token = "old"
        assert alone.run_is_active("music_cover", "manual__2026-11-22T12:00:00+00:00") is True
    assert [seen.headers["authorization"] for seen in airflow.seen] == ["Bearer old", "Bearer new"]
    assert airflow.seen[0].path.endswith("/dagRuns/manual__2026-11-22T12%3A00%3A00%2B00%3A00")


@pytest.mark.parametrize(("status", "body"), [(401, b"{}"), (403, b"{}"), (301, b""), (500, b"oops"), (200, b"<html>")])
def test_an_answer_that_is_none_is_reported_without_the_token(world: World, status: int, body: bytes) -> None:
    with serving(says(body, status=status)) as airflow, pytest.raises(AirflowRefused, match="/api/v2/assets") as raised:
        world(airflow.url).asset_id(PENDING.uri)
    assert "a token" not in str(raised.value)


def test_an_asset_that_no_dag_has_declared_sends_no_event(world: World) -> None:
    others = [{"id": 1, "uri": "kie://api.kie.ai/suno/pending/other"}]
    with serving(says({"assets": others})) as airflow:
        assert world(airflow.url).send_event(SONG, {}) is False
    assert {seen.method for seen in airflow.seen} == {"GET"}


def _slowly(handler: Any) -> None:
    body = b'{"assets": []}'
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    with contextlib.suppress(OSError):  # nobody reads any more
        for byte in head + body:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.05)


NO_AIRFLOW: dict[str, Any] = {
    "more bytes than are allowed": (200, {}, b'{"assets": [], "x": "' + b"0" * 5_000_000 + b'"}'),
    "compressed without end": (200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * 64_000_000 + b'{"assets": []}')),
    "a byte now and then": _slowly,
    "another shape": (200, {}, b'{"songs": []}'),
    "a list": (200, {}, b"[]"),
    "deep nesting": (200, {}, b"[" * 200_000),
    "broken gzip": (200, {"Content-Encoding": "gzip"}, b"no gzip"),
}


@pytest.mark.parametrize("answer", NO_AIRFLOW.values(), ids=list(NO_AIRFLOW))
def test_an_answer_that_is_none_of_airflows_is_refused_within_bounds(
    world: World, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "TIMEOUT", 0.5)
    with serving(lambda _: answer) as server:
        with pytest.raises(AirflowRefused, match="/api/v2/assets") as raised:
            world(server.url).asset_id(PENDING.uri)
        assert "a token" not in str(raised.value)


def test_a_token_from_the_environment_is_taken_without_the_line_break_that_secrets_end_in(world: World) -> None:
    with serving(says({"state": "running"})) as airflow:
        assert world(f"{airflow.url}/\n", token=" a token\n").run_is_active("music_cover", "run") is True
    assert [seen.headers["authorization"] for seen in airflow.seen] == ["Bearer a token"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b""])
def test_a_token_file_that_gives_no_token_leaves_songs_to_reconciliation(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with serving(says({"state": "failed"})) as airflow:
        assert world(airflow.url, token_file=tmp_path / "token").run_is_active("music_cover", "run") is True
    assert f"{tmp_path / 'token'} has no readable token" in caplog.text
    assert not airflow.seen
