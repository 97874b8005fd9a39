"""``python -m kie_simulator``: it listens where it says, takes its options and stops on a signal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

INCLUDE = Path(__file__).parents[3] / "include"


class Command:
    """A simulator in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        environment = os.environ | {"PYTHONPATH": str(INCLUDE)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kie_simulator", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        """Return the URL that it prints once it listens."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().removeprefix("KIE simulator: ").strip()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and return the exit status and what was on stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=250)
        return self.process.returncode, errors


@pytest.fixture
def start() -> Iterator[list[Command]]:
    commands: list[Command] = []
    yield commands
    for command in commands:
        if command.process.poll() is None:
            command.process.kill()
            command.process.communicate()


def credit(url: str, key: str) -> httpx.Response:
    return httpx.get(
        f"{url}/api/v1/chat/credit", headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=200
    )


def test_it_takes_a_free_port_and_writes_it_into_the_port_file_when_it_listens(
    start: list[Command], tmp_path: Path
) -> None:
    port_file = tmp_path / "port"
    start.append(Command("--port-file", str(port_file)))
    url = start[0].url()
    assert url == f"http://127.0.0.1:{port_file.read_text().strip()}"
    assert credit(url, "sim-key").json()["data"] == 10000.0
    assert [path.name for path in tmp_path.iterdir()] == ["port"]


def test_it_takes_several_keys_credits_and_a_public_url(start: list[Command]) -> None:
    start.append(
        Command("--api-key", "sim-a", "--api-key", "sim-b", "--credits", "7.5", "--public-url", "http://kie.local/")
    )
    url = start[0].url()
    assert [credit(url, key).json()["code"] for key in ("sim-a", "sim-b", "sim-key")] == [200, 200, 401]
    assert credit(url, "sim-b").json()["data"] == 7.5
    song = httpx.post(f"{url}/_sim/music", json={}, trust_env=False, timeout=200).json()["songs"][0]["task_id"]
    headers = {"Authorization": "Bearer sim-a"}
    details = httpx.get(
        f"{url}/api/v1/generate/record-info?taskId={song}", headers=headers, trust_env=False, timeout=200
    ).json()
    assert details["data"]["response"]["sunoData"][0]["audioUrl"].startswith("http://kie.local/files/")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_a_signal_though_a_connection_is_open_and_says_nothing(start: list[Command], number: int) -> None:
    start.append(Command())
    url = start[0].url()
    with httpx.Client(base_url=url, trust_env=False, timeout=200) as client:
        client.get("/_sim/state")
        assert start[0].end(number) == (0, "")


def test_it_stops_at_a_signal_though_an_answer_is_not_finished(start: list[Command]) -> None:
    start.append(Command())
    url = start[0].url()
    fault = {"phase": "credit", "action": "slow", "seconds": 600}
    httpx.post(f"{url}/_sim/faults", json=fault, trust_env=False, timeout=200)
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
        connection.sendall(b"GET /api/v1/chat/credit HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sim-key\r\n\r\n")
        while not httpx.get(f"{url}/_sim/faults", trust_env=False, timeout=200).json()["faults"][0]["struck"]:
            pass
        status, errors = start[0].end()
    assert status == 0
    assert "Traceback" not in errors


def test_it_takes_any_setting_and_refuses_one_that_it_does_not_have(start: list[Command]) -> None:
    start.append(Command("--set", "cover_seconds=20", "--set", 'duplicate={"code": 409}', "--speed", "10"))
    settings = httpx.get(f"{start[0].url()}/_sim/settings", trust_env=False, timeout=200).json()
    assert (settings["cover_seconds"], settings["duplicate"]["code"], settings["speed"]) == (20, 409, 10)
    start.append(Command("--set", "cover_secs=20"))
    _, errors = start[1].process.communicate(timeout=250)
    assert start[1].process.returncode == 2
    assert "cover_secs: Extra inputs are not permitted" in errors


def test_a_port_that_is_taken_is_reported_in_a_sentence(start: list[Command]) -> None:
    start.append(Command())
    port = start[0].url().rpartition(":")[2]
    start.append(Command("--port", port))
    _, errors = start[1].process.communicate(timeout=250)
    assert start[1].process.returncode == 1
    assert errors.startswith(f"The KIE simulator cannot listen on 127.0.0.1:{port}:")
    assert "Traceback" not in errors


def test_a_key_that_may_be_real_is_never_shown(start: list[Command]) -> None:
    start.append(Command("--api-key", "5f2c9d0e-real-looking", "--webhook-key", "hmac-secret"))
    url = start[0].url()
    pages = [
        httpx.get(f"{url}/_sim/{page}", trust_env=False, timeout=200).text for page in ("state", "settings", "tasks")
    ]
    status, errors = start[0].end()
    assert status == 0
    assert not any(secret in text for text in [*pages, errors] for secret in ("5f2c9d0e", "hmac-secret"))
