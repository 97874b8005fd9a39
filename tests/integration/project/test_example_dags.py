"""The example DAGs of the package, run as they are by Airflow on the simulator and an S3 server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_connections import aws_connection, kie_connection
from kie_simulator.server import SimulatorServer
from s3_servers import moto_s3

PROJECT = Path(__file__).parents[3]
EXAMPLES = PROJECT / "plugins" / "airflow_kie" / "example_dags"
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], SimulatorServer, Any]]:
    """Run every example once; give what became of each by its DAG's id, the simulator, and the bucket's client."""
    home = tmp_path_factory.mktemp("examples")
    with SimulatorServer(music_seconds=0, cover_seconds=0, task_seconds=0, plain_images=True) as kie, moto_s3() as s3:
        client = s3.client()
        client.create_bucket(Bucket="my-bucket")
        client.put_object(Bucket="my-bucket", Key="in/hum.mp3", Body=b"a hum")
        client.put_object(Bucket="my-bucket", Key="in/pictures.csv", Body=b"id,input.prompt\n1,a {{ fox }}\n2,a hare\n")
        song, covered = kie.control.make_music("Velvet Harbour", "Paper Boats")
        headers = {"Authorization": f"Bearer {kie.api_key}", "User-Agent": "Mozilla/5.0"}
        url = f"{kie.url}/api/v1/generate/record-info?taskId={song.task_id}"
        details = httpx.get(url, headers=headers, timeout=200).json()
        audio = details["data"]["response"]["sunoData"][0]["id"]
        prompts = "\n".join(json.dumps({"id": n, "prompt": f"song {n}"}) for n in range(2))
        files = sorted(EXAMPLES.glob("example_*.py"))
        conf = {
            "example_kie_covers": {"music_task_ids": [covered.task_id]},
            "example_kie_song_files": {"music_task_id": song.task_id, "audio_id": audio},
            "example_kie_song_extras": {"music_task_id": song.task_id},
        }
        names = [f"example_kie_{file.stem.removeprefix('example_')}" for file in files]
        runs = "".join(json.dumps({"_dag": name, **conf.get(name, {})}) + "\n" for name in names)
        for day in (datetime.now(UTC), datetime.now(UTC) + timedelta(days=1)):
            client.put_object(Bucket="my-bucket", Key=f"prompts/{day:%Y-%m-%d}.jsonl", Body=prompts.encode())
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(str(PROJECT / name) for name in ("plugins", "include")),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES),
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
            "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-this-test-that-is-long-enough-for-its-algorithm-0123456789",
            "AIRFLOW__KIE__BUCKET": "my-bucket",
            "AIRFLOW__KIE__CONFIRM_FAILURE_SECONDS": "0",
            "AIRFLOW__KIE__ALLOW_LOOPBACK_FILES": "True",
            "AIRFLOW_CONN_KIE_DEFAULT": kie_connection(kie, extra={"rate_limit": 1000, "upload_host": kie.url}),
            "AIRFLOW_CONN_KIE_CHAT": '{"conn_type": "pydanticai_kie"}',
            "AIRFLOW_CONN_AWS_DEFAULT": aws_connection(s3),
        }
        command = [sys.executable, str(PROJECT / "tests" / "airflow_dag_test.py"), str(files[0]), names[0]]
        done = subprocess.run(
            [*command, *map(str, files[1:])], input=runs, env=environment, cwd=home, capture_output=True, text=True
        )
        told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"state"')]
        assert len(told) == len(names), done.stdout[-3000:] + done.stderr[-3000:]
        yield dict(zip(names, told, strict=True)), kie, client


def test_every_example_succeeds(ran: tuple[dict[str, Any], SimulatorServer, Any]) -> None:
    failed = {
        name: [task for task in run["tasks"] if task["state"] not in ("success", "skipped")]
        for name, run in ran[0].items()
        if run["state"] != "success"
    }
    assert failed == {}


def test_what_they_have_paid_for_is_in_the_bucket_and_texts_arrived_letter_by_letter(
    ran: tuple[dict[str, Any], SimulatorServer, Any],
) -> None:
    _, kie, client = ran
    listed = client.get_paginator("list_objects_v2").paginate(Bucket="my-bucket")
    keys = [item["Key"] for page in listed for item in page.get("Contents", ())]
    charges = [charge for charge in kie.control.ledger() if charge["kind"] != "chat"]
    archived = {key.split("/")[-2] for key in keys if key.endswith("/manifest.json")}
    for key in (key for key in keys if key.endswith("/manifest.json")):  # a song's has what was made of it, too
        manifest = json.loads(client.get_object(Bucket="my-bucket", Key=key)["Body"].read())
        archived |= {file["task_id"] for file in manifest["files"]}
    assert [charge for charge in charges if not {charge["task_id"], charge["source_id"]} & archived] == []
    prompts = {charge["request"]["input"]["prompt"] for charge in charges if "z-image" in json.dumps(charge["request"])}
    (described,) = (prompt for prompt in prompts if prompt.startswith("The simulated claude-haiku-4-5 has read "))
    assert prompts == {"a {{ fox }}", "a hare", "a fox, 50 % in shadow", "a {{ curly }} tail", described}
