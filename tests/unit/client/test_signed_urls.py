"""A signed URL is a credential: a whole run of an operation that is made from one stores and shows none of it.

Not in records, trigger arguments, events, errors, logs and rendered fields.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import pkgutil
import re
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields
from airflow.serialization.encoders import encode_trigger

import airflow_kie
from airflow_connections import kie_connection
from airflow_kie.client import errors
from airflow_kie.client.answers.decode import Created, Lost, decode_create, decode_details
from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.callbacks.url import Waiting
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.client.operations.registry import OPERATIONS, task_kind
from airflow_kie.client.rate_limiter.store import Store
from airflow_kie.client.requests import Request, create_request
from airflow_kie.lifecycle.claims import Intent
from airflow_kie.lifecycle.log_line import about
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lineage.facts import known_of
from airflow_kie.operators.suno import KieGenerateMusicOperator
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.triggers.task import KieTaskTrigger
from airflow_task import TaskInstance, TaskRun, Variables, run_trigger, stored_trigger
from kie_answers import COVER_ID, MUSIC_ID, answer
from kie_simulator.server import SimulatorServer

SIGNATURE = "5e1f0ba7c0ffee5ec2e7" * 3
SIGNED = (
    "https://uploads.example.com/in/voice.mp3?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAPLANTED0SECRET0"
    f"%2F20261128%2Feu%2Fs3%2Faws4_request&X-Amz-Expires=3600&X-Amz-Signature={SIGNATURE}"
)
SIGNED_ANEW = SIGNED.replace(SIGNATURE, "ab" * 32)
PLANTED = (SIGNATURE, "AKIAPLANTED0SECRET0", "X-Amz-Signature", "planted-key", "planted-hmac-secret")


def planted_in(value: Any) -> list[str]:
    """Return the planted secrets that stand in a text, or in the repr of a value."""
    text = value if isinstance(value, str) else repr(value)
    return [secret for secret in PLANTED if secret in text]


class UploadAndCover(KieTaskOperator):
    """An operation that is made from a file at an address, as somebody would write it on top of ours."""

    kind: ClassVar[str] = "suno.upload_cover"
    template_fields: Sequence[str] = (*KieTaskOperator.template_fields, "upload_url", "options")

    def __init__(self, *, upload_url: str, options: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.upload_url = upload_url
        self.options = options

    def request_body(self) -> Mapping[str, Any]:
        return {
            "uploadUrl": self.upload_url,
            "prompt": "rain",
            "customMode": False,
            "instrumental": True,
            "model": "V5",
        }


class Careless(UploadAndCover):
    """One whose author overrides `source` and returns the address itself."""

    def source(self) -> Mapping[str, Any]:
        return {"uploadUrl": self.upload_url}


def run_of(operator: type[UploadAndCover] = UploadAndCover, url: str = SIGNED, **options: Any) -> TaskRun:
    settings: dict[str, Any] = {"poll_interval": 0.05, "deferrable": True} | options
    return TaskRun(lambda: operator(task_id="upload_and_cover", upload_url=url, **settings))


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Iterator[list[Any]]:
    """Give a list for what Airflow would store or show; in the end nothing planted stands in it, nor in the logs."""
    caplog.set_level(logging.DEBUG, "airflow_kie")
    gathered: list[Any] = []
    yield gathered
    gathered += [caplog.text, *capsys.readouterr()]
    assert [planted_in(value) for value in gathered if planted_in(value)] == []


@pytest.fixture(autouse=True)
def planted_key(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    kie.control.set(task_seconds=0)
    extra = {"webhook_secret": "planted-hmac-secret", "callback_url": "https://x.example/kie/callback"}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra=extra))
    monkeypatch.setattr("airflow.sdk.Variable", Variables())


# --- a whole run ---


@pytest.mark.parametrize("operator", [UploadAndCover, Careless])
@pytest.mark.parametrize("fault", [None, "fail", "404"])
def test_a_whole_run_with_a_signed_address_stores_and_shows_none_of_it(
    kie: SimulatorServer, seen: list[Any], operator: type[UploadAndCover], fault: str | None
) -> None:
    if fault == "fail":
        kie.control.add_fault(
            "task", "fail", kind="upload_cover", error_message=f"could not fetch {SIGNED}", error_code=501, times=-1
        )
    elif fault:
        kie.control.add_fault("details", "code", kind="upload_cover", code=404, msg=f"no {SIGNED}", times=-1)
    run = run_of(operator)
    try:
        with pytest.raises(TaskDeferred) as deferred:
            run.execute()
        seen += [deferred.value.trigger, encode_trigger(deferred.value.trigger), deferred.value.kwargs]
        seen.append(run_trigger(stored_trigger(deferred.value)))
        seen.append(run.resume(deferred.value))
        assert fault is None
    except errors.KieError as error:
        assert fault is not None
        seen += [str(error), repr(error), error.facts, json.dumps(error.to_event())]
    seen += [run.store.rows, run.ti.pushed, run.events, about(TaskRecord.from_json(_record(run)))]
    (charge, *_) = kie.control.ledger("upload_cover")
    assert charge["request"]["uploadUrl"] == "https://uploads.example.com/in/voice.mp3"


def _record(run: TaskRun) -> dict[str, Any]:
    (key,) = [key for key in run.store.rows if key.startswith("upload_cover/")]
    return run.store.record(key)


def test_kie_itself_gets_the_whole_address() -> None:
    body = run_of().make().request_body()  # type: ignore[attr-defined]
    assert create_request(task_kind("suno.upload_cover"), body, "").json["uploadUrl"] == SIGNED  # type: ignore[index]


@pytest.mark.parametrize("again", ["retried", "cleared"])
def test_an_address_that_is_signed_anew_goes_on_with_the_task_that_is_paid(kie: SimulatorServer, again: str) -> None:
    run = run_of(deferrable=False)
    made = run.attempt()
    second = getattr(run, again)()
    second.make = run_of(url=SIGNED_ANEW, deferrable=False).make
    assert second.attempt() == made
    assert len(kie.control.ledger("upload_cover")) == 1


def test_another_file_is_another_task(kie: SimulatorServer) -> None:
    run = run_of(deferrable=False)
    run.attempt()
    second = run.cleared()
    second.make = run_of(url=SIGNED.replace("voice.mp3", "other.mp3"), deferrable=False).make
    second.attempt()
    assert len(kie.control.ledger("upload_cover")) == 2


def test_the_rendered_fields_hide_what_grants_access() -> None:
    task = run_of(options={"mix": [{"uploadUrl": SIGNED}]}).make()
    task.render_template_fields({}, None)  # type: ignore[arg-type]
    shown = _serialize_rendered_fields(task)
    assert planted_in(json.dumps(shown).replace("X-Amz-Signature", "")) == []
    assert "https://uploads.example.com/in/voice.mp3" in str(shown["upload_url"])


def test_a_mapped_task_hides_them_too() -> None:
    from airflow.sdk import DAG

    with DAG("mapped", schedule=None) as dag:
        UploadAndCover.partial(task_id="upload_and_cover").expand(upload_url=[SIGNED_ANEW])
    mapped: Any = dag.get_task("upload_and_cover")
    context: Any = {"dag": dag, "dag_run": SimpleNamespace(conf={}), "ti": TaskInstance(map_index=0)}
    mapped.render_template_fields(context)  # as the worker does: it calls ours with arguments by name
    shown = json.dumps(_serialize_rendered_fields(context["task"]))
    assert "https://uploads.example.com/in/voice.mp3" in shown
    assert "ab" * 32 not in shown


# --- each place by itself ---


@pytest.mark.parametrize("name", [name for name, row in OPERATIONS.items() if isinstance(row, TaskOperation)])
def test_no_record_of_any_operation_holds_an_address(name: str) -> None:
    row = task_kind(name)
    fields = row.once_per
    record = TaskRecord(
        name,
        dict.fromkeys(fields, SIGNED) | {"list": [SIGNED]},
        task_id=SIGNED,
        last_state=f"FAILED {SIGNED}",
        doubt=f"x:{SIGNED}",
        failed_ids=(SIGNED,),
    )
    shown = [record, record.to_json(), TaskRecord.from_json(record.to_json()), KieTaskTrigger("c", record.to_json(), 1)]
    assert [planted_in(value) for value in shown] == [[]] * 4
    assert planted_in(row.source_in(dict.fromkeys(fields, SIGNED))) == []
    assert planted_in(known_of(record)) == []


def test_a_trigger_that_somebody_makes_with_an_address_does_not_store_it() -> None:
    raw = {"kind": "suno.upload_cover", "source": {"uploadUrl": SIGNED}, "task_id": MUSIC_ID}
    assert planted_in(encode_trigger(KieTaskTrigger("kie_default", raw, 1.0))) == []


def test_an_uploaded_file_is_no_parent_and_a_song_is_one() -> None:
    assert TaskRecord("suno.upload_cover", {"uploadUrl": SIGNED}).parent_id is None
    assert TaskRecord("suno.cover", {"taskId": MUSIC_ID}).parent_id == MUSIC_ID
    assert known_of(TaskRecord("suno.upload_cover", {"uploadUrl": SIGNED})).inputs == ()


@pytest.mark.parametrize("fact", [field.name for field in dataclasses.fields(errors.Facts) if field.name != "code"])
def test_no_fact_of_an_error_holds_an_address(fact: str) -> None:
    message = SIGNED if fact == "message" else ""
    facts = {} if fact in ("message", "retry_after") else {fact: SIGNED}
    error = errors.KieInvalidRequest(message, **facts)
    assert [planted_in(value) for value in (str(error), error, error.to_event(), error.with_facts(paid=SIGNED))] == [
        []
    ] * 4


def test_an_address_in_the_place_of_a_task_id_is_none() -> None:
    kind = task_kind("suno.cover")
    assert isinstance(decode_create(kind, {}, answer({"taskId": SIGNED})), Lost)
    assert isinstance(decode_create(kind, {}, answer({"taskId": COVER_ID})), Created)
    assert planted_in(decode_details(kind, COVER_ID, answer({"taskId": SIGNED, "successFlag": SIGNED}))) == []


def test_an_address_as_adopt_task_id_is_refused_without_being_shown(kie: SimulatorServer, seen: list[Any]) -> None:
    with pytest.raises(errors.KieInvalidRequest, match="adopt_task_id is an address") as told:
        TaskRun(
            lambda: KieGenerateMusicOperator(task_id="generate", prompt="x", deferrable=False, adopt_task_id=SIGNED)
        ).attempt()
    seen.append(str(told.value))


@pytest.mark.parametrize(
    "value",
    [
        Store("postgresql://kie:planted-key@db.example/kie"),
        Store("postgresql://db.example/kie?user=kie&password=planted-key").shown,
        Request("POST", "/x", json={"uploadUrl": SIGNED}, params={"s": SIGNED}, form={"u": SIGNED}),
        Response(200, {"set-cookie": "planted-key"}, SIGNED.encode()),
        Intent(1.0, 2.0, "planted-key"),
        Waiting("d", "r", "t", -1, "planted-key"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_repr_shows_no_credential(value: Any) -> None:
    assert planted_in(value) == []


SECRET_NAMES = re.compile(r"(^|_)(url|token|secret|secrets|password|nonce|headers|api_key|json|form)$")
SHOWN_ON_PURPOSE = {"KieAccount.api_url", "KieAccount.upload_url"} | {
    f"{name}.form" for name in ("TaskOperation", "TaskDetails", "TaskRecord", "AlreadyMade", "Intent")
}
"""Addresses of KIE's hosts, one without its query, and whether KIE is asked in its dedicated or its unified form."""


def test_a_field_that_is_named_like_a_credential_is_in_no_repr() -> None:
    shown = set()
    for module in pkgutil.walk_packages(airflow_kie.__path__, "airflow_kie."):
        if module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            ours = isinstance(value, type) and value.__module__ == module.name and dataclasses.is_dataclass(value)
            if ours and not issubclass(value, BaseOperator):
                shown |= {
                    f"{value.__name__}.{field.name}"
                    for field in dataclasses.fields(value)
                    if field.repr and SECRET_NAMES.search(field.name)
                }
    assert shown == SHOWN_ON_PURPOSE


def test_what_is_hidden_of_an_address_is_what_grants_access() -> None:
    from airflow_kie.client.redact import secrets_in

    hidden = set(secrets_in({"a": [f"see {SIGNED}"], "b": "https://user:planted-key@h.example/x", "c": 1}))
    assert {SIGNATURE, "planted-key", SIGNED.partition("?")[2]} <= hidden
    assert "3600" not in hidden
    assert list(secrets_in("https://plain.example/file.mp3")) == []
