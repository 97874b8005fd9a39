"""`airflow kie models --refresh`: what KIE says of its models, kept in a real S3 server and used in checks."""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.cli.models import models
from airflow_kie.client.catalogue import checks
from airflow_kie.client.errors import KieError, KieInvalidRequest
from airflow_kie.client.operations.market import MODELS
from airflow_kie.hooks import catalogue
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.task import KieTaskOperator
from airflow_task import TaskRun
from kie_simulator.server import SimulatorServer
from s3_servers import S3Server, rclone_s3

KEY = "songs/_catalogue/models.json"
NEW = {
    "zeta/paint": {
        "title": "Zeta Paint",
        "provider": "Zeta",
        "required": ["prompt"],
        "fields": {"prompt": {"type": "string", "max_length": 10}, "size": {"type": "string", "enum": ["S", "L"]}},
        "credits": 3.0,
        "unit": "image",
    }
}
Z_IMAGE = {
    "z-image": {
        "required": ["prompt", "aspect_ratio", "seed"],
        "fields": {
            "prompt": {"type": "string", "max_length": 9000},
            "aspect_ratio": {"type": "string", "enum": ["1:1", "4:3", "3:4", "16:9", "21:9"]},
            "seed": {"type": "integer"},
        },
    }
}


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Give a real S3 server, one that ignores conditions of writes."""
    with rclone_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(kie: SimulatorServer, bucket: str) -> None:
    """Let this process know nothing yet."""
    catalogue._read.clear()
    checks._warn.cache_clear()
    kie.control.set(task_seconds=0)


def told(capsys: pytest.CaptureFixture[str], *words: str, refresh: bool = False) -> tuple[int, list[str], str]:
    catalogue._read.clear()
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        models(Namespace(words=list(words), json=False, refresh=refresh, kie_conn_id=None))
    written = capsys.readouterr()
    return int(str(ended.value.code)), written.out.splitlines(), written.err


def request(model: str, **fields: Any) -> TaskRun:
    body = {"model": model, "input": fields}
    return TaskRun(lambda: KieTaskOperator(task_id="make", operation="market", request=body, poll_interval=0.05))


def creates(kie: SimulatorServer) -> int:
    return int(kie.control.state()["requests"].get("POST /api/v1/jobs/createTask", 0))


def test_a_new_model_is_kept_listed_and_checked_before_payment(
    kie: SimulatorServer, bucket: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    kie.control.set(newer_models=NEW)
    request("zeta/paint", prompt="a").attempt()
    assert "The catalogue here does not have model 'zeta/paint'; the request is sent unchecked." in caplog.text
    assert told(capsys, "zeta")[0] == 1
    code, out, _ = told(capsys, "zeta", refresh=True)
    assert (code, out[0]) == (0, "KIE lists 219 models. Asking about 1, one a second.")
    assert out[1] == "zeta/paint: new model, Zeta Paint (Zeta); fields prompt, size; 3 credits per image."
    assert told(capsys, "zeta")[1][0] == "zeta/paint  image, Zeta Paint; 3 credits per image."
    assert "  size: string, S | L" in told(capsys, "zeta/paint")[1]
    for wrong, message in (
        ({}, "needs prompt"),
        ({"prompt": "x" * 11}, "at most 10 characters"),
        ({"size": "M"}, "S, L"),
    ):
        with pytest.raises(KieInvalidRequest, match=message):
            request("zeta/paint", **{"prompt": "a", **wrong} if wrong else {}).attempt()
    assert creates(kie) == 1
    again = told(capsys, "zeta", refresh=True)[1]
    assert again[1:] == [f"KIE's answers about 1 model are stored in s3://{bucket}/{KEY}."]
    kie.control.set(newer_models={})
    assert "zeta/paint: KIE no longer lists it" in told(capsys, "zeta", refresh=True)[1]
    assert told(capsys, "zeta")[0] == 1


def test_a_limit_is_never_loosened_without_a_line_and_a_stricter_one_is_named_and_not_applied(
    kie: SimulatorServer, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kie.control.set(newer_models=Z_IMAGE)
    wide = {"prompt": "fox", "aspect_ratio": "21:9", "seed": 7}
    with pytest.raises(KieInvalidRequest, match="not '21:9'"):
        request("z-image", **wide).attempt()
    _, out, _ = told(capsys, "z-image", refresh=True)
    lines = [line.removeprefix("z-image: ") for line in out if line.startswith("z-image: ")]
    assert sorted(lines) == [
        "KIE's schema requires seed",
        "aspect_ratio also accepts 21:9 (looser)",
        "aspect_ratio does not take 9:16 by KIE's schema",
        "new field seed, integer",
        "prompt: max length 9000, before 1000 (looser)",
    ]
    catalogue._read.clear()
    request("z-image", **wide).attempt()
    assert "KIE's own schema accepts what this package's catalogue rejects" in caplog.text
    with pytest.raises(KieInvalidRequest, match="21:9, not '5:7'"):
        request("z-image", **wide | {"aspect_ratio": "5:7"}).attempt()
    again = told(capsys, "z-image", refresh=True)[1]
    assert [line for line in again if "looser" in line or "new field" in line] == []
    kie.control.set(newer_models={})
    back = told(capsys, "z-image", refresh=True)[1]
    assert "z-image: aspect_ratio no longer accepts 21:9 (stricter)" in back


def test_the_bucket_is_read_only_for_a_request_that_the_package_does_not_simply_take_and_once_in_a_while(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    get_json = Bucket.get_json
    monkeypatch.setattr(Bucket, "get_json", lambda bucket, key: (read.append(key), get_json(bucket, key))[1])
    request("z-image", prompt="fox", aspect_ratio="1:1").attempt()
    assert KEY not in read
    for _ in range(2):
        with pytest.raises(KieInvalidRequest, match="not '5:7'"):
            request("z-image", prompt="fox", aspect_ratio="5:7").attempt()
    assert read.count(KEY) == 1


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"models": [{"title": 1}, 7]}', b'{"models": {}}', b"\xff"])
def test_a_damaged_catalogue_stops_no_request(
    kie: SimulatorServer, s3_server: S3Server, bucket: str, body: bytes
) -> None:
    s3_server.client().put_object(Bucket=bucket, Key=KEY, Body=body)
    request("not-known", prompt="fox")
    with pytest.raises(KieError, match="not supported"):  # KIE's own word
        request("not-known", prompt="fox").attempt()


def test_a_model_whose_schema_cannot_be_read_stops_no_other_and_a_refused_question_is_asked_again(
    kie: SimulatorServer, capsys: pytest.CaptureFixture[str]
) -> None:
    kie.control.set(newer_models={"zeta/one": {}, "zeta/two": {}})
    kie.control.add_fault("call", "code", code=429, path="/api/v1/models")
    kie.control.add_fault("call", "code", code=455, path="/api/v1/models/zeta/one/schema", times=-1)
    code, out, err = told(capsys, "zeta", refresh=True)
    assert code == 1
    assert "zeta/one: KIE is under maintenance" in err and "KIE could not be asked about zeta/one" in err
    assert [line for line in out if "zeta/two: new model" in line]


def test_questions_about_models_are_a_second_apart(kie: SimulatorServer) -> None:
    began = time.monotonic()
    conn = KieHook().get_conn()
    for _ in range(3):
        conn.call(MODELS)
    assert time.monotonic() - began > 2.0
    assert kie.control.state()["requests"]["GET /api/v1/models"] == 3
