"""The callback receiver in a real api-server with its login switched on, and alone beside it: who is let in, and what
Airflow and the bucket hold afterwards. No scheduler runs, so nothing is ever started here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from airflow_api_server import ApiServer, api_server
from airflow_connections import aws_connection
from airflow_kie.archive.pending import Working, new_pending
from airflow_kie.assets import MUSIC, PENDING
from airflow_kie.client.callbacks.auth import connection_token
from airflow_kie.client.callbacks.signature import sign
from airflow_kie.client.callbacks.url import Waiting, wake_token
from airflow_kie.monitoring.callback_health import parsed
from answering_server import Seen, serving, success
from fake_gateway import SECRET, TOKEN_SECRET
from kie_answers import music_data, track_data
from s3_servers import moto_s3
from unused_ports import unused_port

ROOT = Path(__file__).parents[3]
BUCKET = "received-songs"
CALLBACK = ("POST", "/kie/callback/{kie_conn_id}")


@dataclass(frozen=True)
class Airflow:
    """A real api-server, the receiver alone beside it, and the bucket of both.

    :param server: the api-server.
    :param alone: where the receiver alone listens.
    """

    server: ApiServer
    alone: str
    s3: Any
    http: httpx.Client

    def login(self, user: str) -> dict[str, str]:
        """Return the headers of a person who has logged in."""
        answer = self.http.post(f"{self.server.url}/auth/token", json={"username": user, "password": user})
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def api(self, method: str, path: str, **request: Any) -> Any:
        """Call Airflow's API as admin."""
        answer = self.http.request(method, f"{self.server.url}/api/v2{path}", headers=self.login("admin"), **request)
        answer.raise_for_status()
        return answer.json()

    def events(self, song: str) -> list[dict[str, Any]]:
        """Return the events "music complete" that Airflow has of a song, each after one that wakes music_cover."""
        events = self.api("GET", "/assets/events", params={"limit": 100, "order_by": "timestamp"})["asset_events"]
        mine = [event for event in events if event["extra"].get("music_task_id") == song]
        done = [event for event in mine if event["partition_key"] == song]
        assert [event["uri"] for event in mine[: 2 * len(done)]] == [PENDING.uri, MUSIC.uri] * len(done)
        return done

    def eventually_events(self, song: str) -> list[dict[str, Any]]:
        """Return the same once there is something: events follow the answer."""
        for _ in range(2000):
            if found := self.events(song):
                return found
            time.sleep(0.05)
        return []

    def settled_events(self, song: str, receiver: str) -> list[dict[str, Any]]:
        """Return the same once the event of a later song is there: by then a wrong one would be too."""
        later = new_song()
        assert call_back(receiver, later) == 200
        assert self.eventually_events(later)
        return self.events(song)

    def pending(self, song: str) -> dict[str, Any] | None:
        """Return a song's pending record."""
        keys = [found["Key"] for found in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
        key = f"songs/_pending/{song}.json"
        return json.loads(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()) if key in keys else None

    def put(self, key: str, value: Any) -> None:
        """Write an object into the bucket."""
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(value).encode())


def a_song(seen: Seen) -> tuple[int, dict[str, str], bytes]:
    """Answer as KIE does about a finished song, whatever id is asked for."""
    asked = parse_qs(urlsplit(seen.path).query)["taskId"][0]
    return success(music_data("SUCCESS", [track_data()], taskId=asked))(seen)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """Give an api-server and a receiver alone."""
    home = tmp_path_factory.mktemp("airflow") / "home"
    with moto_s3() as s3, serving(a_song) as kie:
        account = {"conn_type": "kie", "host": kie.url, "password": "a-key"}
        form = {"api": "dedicated"}  # in which the song of this KIE was made
        s3.client().create_bucket(Bucket=BUCKET)
        connections = {
            "AIRFLOW_CONN_AWS_DEFAULT": aws_connection(s3),
            "AIRFLOW_CONN_KIE_DEFAULT": json.dumps(account | {"extra": {"webhook_secret": SECRET, **form}}),
            "AIRFLOW_CONN_KIE_UNSIGNED": json.dumps(
                account | {"extra": {"callback_token_secret": TOKEN_SECRET, **form}}
            ),
            "AIRFLOW__KIE__KIE_CONN_IDS": "kie_default,kie_unsigned",
        }
        port = unused_port()
        with (
            receiver_alone(home.parent / "alone", f"http://127.0.0.1:{port}", connections) as alone,
            api_server(
                home, ROOT / "dags" / "music_cover.py", port, AIRFLOW__KIE__BUCKET=BUCKET, **connections
            ) as server,
            httpx.Client(trust_env=False, timeout=200) as http,
        ):
            eventually_listens(alone)
            yield Airflow(server, alone, s3.client(), http)


@contextmanager
def receiver_alone(home: Path, airflow_url: str, connections: dict[str, str]) -> Iterator[str]:
    """Run ``python -m airflow_kie.web.receiver`` until the block ends; give where it is about to listen."""
    port = unused_port()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    who = {"KIE_RECEIVER_USERNAME": "receiver", "KIE_RECEIVER_PASSWORD": "receiver", "AIRFLOW_HOME": str(home)}
    settings = {"AIRFLOW__KIE__BUCKET": BUCKET}
    command = [sys.executable, "-m", "airflow_kie.web.receiver", "--airflow-url", airflow_url, f"--port={port}"]
    home.mkdir()
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, env=clean | who | settings | connections, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(120)  # on a busy machine


def eventually_listens(url: str) -> None:
    for _ in range(600):
        with contextlib.suppress(httpx.TransportError):
            httpx.get(url, trust_env=False, timeout=200)
            return
        time.sleep(0.1)


@pytest.fixture(params=["inside", "alone"])
def receiver(airflow: Airflow, request: pytest.FixtureRequest) -> str:
    """Give where a receiver listens: the api-server itself, or the one alone."""
    return airflow.server.url if request.param == "inside" else airflow.alone


def new_song() -> str:
    return uuid.uuid4().hex


def call_back(url: str, song: str, *, query: str = "", signed: bool = True, conn: str = "kie_default") -> int:
    """Call back as KIE does when a song is finished; return the status of the answer."""
    body = {"code": 200, "msg": "All generated successfully.", "data": {"callbackType": "complete", "task_id": song}}
    stamp = str(int(time.time()))
    headers = {"X-Webhook-Timestamp": stamp, "X-Webhook-Signature": sign(SECRET, song, stamp)} if signed else {}
    target = f"{url}/kie/callback/{conn}{query}"
    return httpx.post(target, json=body, headers=headers, trust_env=False, timeout=200).status_code


def filled(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "x", path.replace("{kie_conn_id}", "kie_default"))


# --- who is let in ---


def test_the_callback_is_the_one_route_of_ours_that_is_open_without_a_login(airflow: Airflow) -> None:
    assert CALLBACK in airflow.server.routes
    assert len(airflow.server.routes) > 1  # the song pages
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Cookie": "_token=nonsense"}):
        for method, path in set(airflow.server.routes) - {CALLBACK}:
            answer = airflow.http.request(method, airflow.server.url + filled(path), headers=headers)
            assert answer.status_code in (401, 403), (method, path, headers)


@pytest.mark.parametrize("user", ["vic", "admin"])
def test_who_has_logged_in_and_may_read_is_let_in_and_a_viewer_changes_nothing(airflow: Airflow, user: str) -> None:
    headers = airflow.login(user) | {"X-Kie-Change": "1"}  # as our pages send it
    for method, path in set(airflow.server.routes) - {CALLBACK}:
        status = airflow.http.request(method, airflow.server.url + filled(path), headers=headers).status_code
        assert status < 500, (method, path)
        refused = user == "vic" and method not in ("GET", "HEAD") and path != "/kie/library/zip"  # which only reads
        assert (status in (401, 403)) is refused, (method, path)


def test_a_login_replaces_no_signature(airflow: Airflow) -> None:
    song = new_song()
    body = {"code": 200, "data": {"callbackType": "complete", "task_id": song}}
    url = airflow.server.url + filled(CALLBACK[1])
    assert airflow.http.post(url, json=body, headers=airflow.login("admin")).status_code == 401
    assert airflow.pending(song) is None


@pytest.mark.parametrize("path", ["/kie/docs", "/kie/redoc", "/kie/openapi.json", "/kie/", "/kie/callback"])
def test_nothing_of_ours_describes_itself_to_anybody(airflow: Airflow, path: str) -> None:
    for headers in ({}, airflow.login("admin")):
        assert airflow.http.get(airflow.server.url + path, headers=headers).status_code == 404


def test_the_receiver_alone_serves_the_callback_and_nothing_else(airflow: Airflow) -> None:
    for path in ("/", "/kie", "/kie/songs", "/kie/docs", "/kie/callback/", "/docs", "/callback/kie_default"):
        assert airflow.http.get(airflow.alone + path).status_code == 404
    assert airflow.http.get(f"{airflow.alone}/kie/callback/kie_default").status_code == 405


# --- what a callback leaves behind ---


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"POST /kie/callback/kie_default HTTP/1.1\r\nX: ",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    ],
)
def test_a_request_that_never_ends_does_not_keep_its_connection_to_the_receiver_alone(
    airflow: Airflow, begun: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", int(airflow.alone.rpartition(":")[2])), timeout=200) as connection:
        connection.sendall(begun)
        with contextlib.suppress(ConnectionError):
            while connection.recv(1000):  # raises TimeoutError while the server keeps it
                pass


def test_ten_callbacks_of_a_song_at_once_record_and_announce_it_once(airflow: Airflow, receiver: str) -> None:
    song = new_song()
    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(lambda _: call_back(receiver, song), range(10))) == {200}
    [event] = airflow.eventually_events(song)
    assert event["extra"]["kie_conn_id"] == "kie_default"
    pending = airflow.pending(song)
    assert pending is not None
    assert (pending["received_from"], pending["kie_conn_id"]) == ("callback", "kie_default")
    for url in (airflow.server.url, airflow.alone):  # another process, as after a restart
        assert call_back(url, song) == 200
        assert len(airflow.settled_events(song, url)) == 1


def test_a_song_that_is_archived_leaves_no_trace_when_its_callback_comes_again(airflow: Airflow, receiver: str) -> None:
    song = new_song()
    cover = {"key": f"songs/{song}/cover-1.png", "kind": "cover", "position": 1, "size": 1, "sha256": "0" * 64}
    now = datetime.now(UTC).isoformat()
    airflow.put(
        f"songs/{song}/manifest.json",
        {
            "schema_version": 1,
            "music_task_id": song,
            "created_at": now,
            "updated_at": now,
            "files": [cover | {"content_type": "image/png", "archived_at": now}],
            "available": [{"kind": "cover", "positions": [1]}],
        },
    )
    assert call_back(receiver, song) == 200
    assert airflow.pending(song) is None
    assert airflow.settled_events(song, receiver) == []


def test_a_song_that_an_active_run_works_on_gets_no_second_one(airflow: Airflow, receiver: str) -> None:
    song = new_song()
    run = airflow.api("POST", "/dags/music_cover/dagRuns", json={"logical_date": None, "conf": {}})["dag_run_id"]
    working = Working(dag_id="music_cover", run_id=run)
    record = new_pending(song, received_from="form", now=datetime.now(UTC)).changed(working=working)
    airflow.put(f"songs/_pending/{song}.json", json.loads(record.model_dump_json()))
    assert call_back(receiver, song) == 200
    assert airflow.settled_events(song, receiver) == []
    airflow.api("PATCH", f"/dags/music_cover/dagRuns/{run}", json={"state": "failed"})
    assert call_back(receiver, song) == 200
    assert len(airflow.eventually_events(song)) == 1


def test_an_account_that_does_not_sign_is_believed_by_its_token_alone(airflow: Airflow, receiver: str) -> None:
    song = new_song()
    for query in ("", "?token=guess", f"?token={connection_token(TOKEN_SECRET, 'kie_default')}"):
        assert call_back(receiver, song, query=query, signed=False, conn="kie_unsigned") == 401
    assert airflow.pending(song) is None
    query = f"?token={connection_token(TOKEN_SECRET, 'kie_unsigned')}"
    assert call_back(receiver, song, query=query, signed=False, conn="kie_unsigned") == 200
    [event] = airflow.eventually_events(song)
    assert event["extra"]["kie_conn_id"] == "kie_unsigned"


def test_a_callback_for_a_run_that_is_gone_is_answered_and_starts_nothing(airflow: Airflow, receiver: str) -> None:
    song = new_song()
    token = wake_token(SECRET, Waiting("music_cover", "deleted", "generate_cover", 0, "nonce"))
    assert call_back(receiver, song, query=f"?token={token}") == 200
    assert airflow.pending(song) is None
    assert airflow.settled_events(song, receiver) == []


def test_the_last_callback_is_written_down_for_people_and_checks(airflow: Airflow, receiver: str) -> None:
    before = datetime.now(UTC)
    assert call_back(receiver, new_song()) == 200
    for _ in range(2000):
        variables = {one["key"]: one["value"] for one in airflow.api("GET", "/variables")["variables"]}
        last = parsed(variables.get("kie_callback__kie_default")).last
        if last:
            break
        time.sleep(0.05)
    assert last is not None
    assert last.proof == "signature"
    assert abs((last.at - before).total_seconds()) < 600


# --- the receiver alone: what it needs ---

BROKEN = json.dumps(
    {"conn_type": "kie", "password": "k", "extra": {"callback_url": "http://[::1", "webhook_secret": "s"}}
)


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ((), {}, "Give Airflow's address"),
        (("--airflow-url", "http://127.0.0.1:9"), {}, "set KIE_RECEIVER_TOKEN"),
        (("--airflow-url", "http://127.0.0.1:9"), {"KIE_RECEIVER_TOKEN_FILE": "/none"}, "No bucket"),
        (("--airflow-url", "http://127.0.0.1:9"), {"KIE_RECEIVER_PASSWORD_FILE": "/none"}, "/none cannot be read"),
        (("--airflow-url", "http://[::1"), {"KIE_RECEIVER_TOKEN": "t"}, "address cannot be used: The host is invalid"),
        (("url",), {}, "Connection kie_default does not exist."),
        (
            ("url",),
            {"AIRFLOW_CONN_KIE_DEFAULT": BROKEN},
            "The callback_url of connection kie_default is not an address",
        ),
    ],
)
def test_what_is_missing_is_reported_before_anybody_listens(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from airflow_kie.web.receiver.__main__ import main

    for name in [name for name in os.environ if name.startswith(("KIE_RECEIVER_", "AIRFLOW_CONN_", "AIRFLOW__KIE"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 2
    assert expected in capsys.readouterr().err
