"""A file in S3 as the input of a task: XComs hold a reference, and KIE gets the file again when it has expired."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_connections import kie_connection
from airflow_kie.client.errors import KieInvalidRequest, KieSomeFailed
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.operators.upload import KieUploadOperator
from airflow_task import StoredFiles, TaskRun
from kie_simulator.server import SimulatorServer

SONG = {"customMode": False, "instrumental": False, "model": "V5", "prompt": "rain"}


@pytest.fixture(autouse=True)
def uploads(kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files go to the simulator, and put one into the bucket."""
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra={"upload_host": kie.url}))
    archive.put("in/voice.mp3", b"a voice")


def uploaded(archive: StoredFiles) -> str:
    source = f"s3://{archive.bucket}/in/voice.mp3"
    return str(TaskRun(lambda: KieUploadOperator(task_id="upload", source=source)).attempt())


def cover_of(reference: Any, **known: Any) -> TaskRun:
    return TaskRun(
        lambda: KieTaskOperator(
            task_id="make",
            operation="suno.upload_cover",
            request={**SONG, "uploadUrl": reference},
            wait_for_completion=False,
            **known,
        )
    )


def record_of(archive: StoredFiles) -> tuple[str, dict[str, Any]]:
    (key,) = [key for key in archive.listed() if "/_uploads/" in key]
    return key, archive.json(key)


def sent(kie: SimulatorServer) -> int:
    return int(kie.control.state()["requests"].get("POST /api/file-stream-upload", 0))


def test_a_request_names_the_file_by_a_reference_and_kie_reads_it_at_its_own_address(
    kie: SimulatorServer, archive: StoredFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = uploaded(archive)
    run = cover_of(reference)
    run.attempt()
    (charge,) = kie.control.ledger("upload_cover")
    _, record = record_of(archive)
    address = record["url"]
    assert address in json.dumps(charge["request"]) and address.startswith(kie.url)
    assert uploaded(archive) == reference and sent(kie) == 1
    held = [reference, run.store.rows, run.events, run.ti.pushed]
    assert address not in json.dumps(held) + capsys.readouterr().out
    assert address.encode() not in b"".join(archive.body(key) for key in archive.listed() if "/_uploads/" not in key)


def test_a_file_that_has_expired_is_given_to_kie_again_and_means_the_same_request(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    reference = uploaded(archive)
    run = cover_of(reference)
    first = run.attempt()
    key, record = record_of(archive)
    expired = record | {"expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    archive.put(key, json.dumps(expired).encode())
    assert run.cleared().attempt() == first  # paid for: nothing is uploaded for it
    assert sent(kie) == 1
    cover_of(reference, force_new="once more").attempt()
    assert sent(kie) == 2
    assert record_of(archive)[1]["expires_at"] > expired["expires_at"]
    archive.put("in/voice.mp3", b"another voice")
    archive.put(key, json.dumps(expired).encode())
    with pytest.raises(KieInvalidRequest, match="has changed since it was uploaded"):
        cover_of(reference, force_new="third").attempt()
    assert uploaded(archive) != reference
    assert len(kie.control.ledger("upload_cover")) == 2


def test_a_reference_that_nobody_recorded_sends_no_file_and_no_request(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    rows = [
        {**SONG, "uploadUrl": f"kie-upload:{planted}"} for planted in ("0" * 32, f"s3://{archive.bucket}/in/voice.mp3")
    ]
    run = TaskRun(
        lambda: KieTaskOperator(task_id="make", operation="suno.upload_cover", requests=rows, deferrable=False)
    )
    with pytest.raises(KieSomeFailed, match=r"2 of 2 requests failed.*this account has no upload kie-upload:000"):
        run.attempt()
    assert (sent(kie), kie.control.ledger()) == (0, [])


def test_an_object_that_is_not_there_is_named(kie: SimulatorServer, archive: StoredFiles) -> None:
    with pytest.raises(KieInvalidRequest, match=r"in/none\.mp3 does not exist; nothing was sent"):
        TaskRun(lambda: KieUploadOperator(task_id="up", source=f"s3://{archive.bucket}/in/none.mp3")).attempt()
    with pytest.raises(KieInvalidRequest, match=r"/ does not exist; nothing was sent"):
        TaskRun(lambda: KieUploadOperator(task_id="up", source=f"s3://{archive.bucket}")).attempt()


@pytest.mark.parametrize(("body", "size"), [(b"", "0"), (b"x" * 1024 * 1024 + b"x", "1,048,577")])
def test_an_object_that_is_empty_or_too_large_is_named_before_anything_is_sent(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch, body: bytes, size: str
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__MAX_FILE_MB", "1")
    archive.put("in/voice.mp3", body)
    with pytest.raises(KieInvalidRequest, match=rf"in/voice\.mp3 has {size} bytes, \[kie\] max_file_mb allows 1 to"):
        uploaded(archive)
    assert sent(kie) == 0


def test_a_hook_resolves_references_too(kie: SimulatorServer, archive: StoredFiles) -> None:
    KieHook().create("suno.upload_cover", {**SONG, "uploadUrl": uploaded(archive)}, idempotency_key="a")
    assert kie.control.ledger("upload_cover")[0]["request"]
