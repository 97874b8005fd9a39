"""What a DAG's author gives, by a template, a mapped task or by habit, is understood, or refused before it is paid."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, task
from airflow.sdk.execution_time.comms import GetXComCount, XComCountResponse, XComSequenceSliceResult

from airflow_kie.assets import MUSIC
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.operators.call import KieCallOperator
from airflow_kie.operators.song_extras import KieSongExtrasPlanOperator
from airflow_kie.operators.song_list import KieSongListOperator
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.sensors.task import KieTaskSensor
from airflow_kie.task_groups.music_cover import archive_covers
from airflow_task import StoredFiles, TaskInstance, TaskRun
from kie_simulator.server import SimulatorServer

A, B = "a" * 32, "b" * 32
PICTURE = {"model": "z-image", "input": {"prompt": "a fox", "aspect_ratio": "1:1"}}


def run_of(operator: type[Any], **given: Any) -> TaskRun:
    return TaskRun(lambda: operator(task_id="make", **given))


# --- the outputs of mapped tasks -------------------------------------------------------------------------------------


class Comms:
    """Answers what is asked about the XComs of a mapped task, as Airflow's supervisor does."""

    def send(self, msg: Any) -> Any:
        return XComCountResponse(len=2) if isinstance(msg, GetXComCount) else XComSequenceSliceResult(root=[A, B])


def rendered(make: Callable[[Any], BaseOperator], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return an operator that was given the output of a mapped task, with its fields rendered as a worker does it."""
    monkeypatch.setattr("airflow.sdk.execution_time.task_runner.SUPERVISOR_COMMS", Comms(), raising=False)
    with DAG("mapped", schedule=None) as dag:

        @task
        def made(text: str) -> str:
            return text

        asked: Any = make(made.expand(text=["rain", "snow"]))
    asked.render_template_fields({"dag": dag, "ti": TaskInstance(map_index=-1), "task": asked, "params": {}})
    return asked


def test_songs_that_a_mapped_task_has_made_are_those_that_a_chain_archives(
    monkeypatch: pytest.MonkeyPatch, kie: SimulatorServer, bucket: str
) -> None:
    """Airflow gives a sequence that is no list, whose text would be read as three ids."""
    listing = rendered(lambda ids: KieSongListOperator(task_id="ask", music_task_ids=ids), monkeypatch)
    assert [song["music_task_id"] for song in TaskRun(lambda: listing).execute()] == [A, B]
    plan = rendered(lambda ids: KieSongExtrasPlanOperator(task_id="ask", songs=ids, extras=["wav"]), monkeypatch)
    with pytest.raises(Exception, match=f"not archived.*{A}, {B}"):
        TaskRun(lambda: plan).execute()


def test_the_outputs_of_a_mapped_task_are_a_list_in_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def mashup(files: Any) -> KieTaskOperator:
        return KieTaskOperator(task_id="ask", operation="suno.mashup", request={"uploadUrlList": files, "model": "V6"})

    assert rendered(mashup, monkeypatch).request == {"uploadUrlList": [A, B], "model": "V6"}


@pytest.mark.parametrize("given", [[A, B], (A, B)])
def test_a_sensor_takes_one_id_and_says_so(kie: SimulatorServer, given: Any) -> None:
    with pytest.raises(KieInvalidRequest, match=r"takes one text as its kie_task_id.*map it over several"):
        run_of(KieTaskSensor, operation="suno.wav", kie_task_id=given).execute()


# --- a template of what is None --------------------------------------------------------------------------------------

NOTHING: list[tuple[type[Any], dict[str, Any]]] = [
    (KieGenerateMusicOperator, {"prompt": "None"}),
    (KieGenerateMusicOperator, {"prompt": "la la", "style": "pop", "title": "None", "custom_mode": True}),
    (KieTaskOperator, {"operation": "veo.generate", "request": {"prompt": "None", "model": "veo3_fast"}}),
    (KieTaskOperator, {"operation": "market", "request": {**PICTURE, "input": {**PICTURE["input"], "prompt": "None"}}}),
    (KieTaskOperator, {"operation": "market", "requests": [{**PICTURE, "model": "None"}]}),
]


@pytest.mark.parametrize(("operator", "given"), NOTHING)
def test_a_field_of_the_form_that_was_left_empty_is_not_paid_for_as_the_text_none(
    kie: SimulatorServer, operator: type[Any], given: dict[str, Any]
) -> None:
    with pytest.raises(Exception, match=r"prompt is empty|needs a title|lacks (prompt|model)|needs prompt"):
        run_of(operator, deferrable=False, **given).execute()
    assert kie.control.ledger() == []


def test_optional_fields_of_a_song_that_are_none_are_left_out(kie: SimulatorServer) -> None:
    kie.control.set(task_seconds=0)
    empty = dict.fromkeys(("model", "style", "title", "negative_tags", "vocal_gender"), "None")
    run_of(KieGenerateMusicOperator, prompt="rain", deferrable=False, poll_interval=0.05, **empty).attempt()
    (charge,) = kie.control.ledger("music")
    assert "None" not in str(charge["request"])


def test_a_calls_key_that_is_none_is_no_key_that_others_share(kie: SimulatorServer, bucket: str) -> None:
    for content in ("rain", "snow"):
        run_of(KieCallOperator, operation="style", request={"content": content}, idempotency_key="None").attempt()
    assert len(kie.control.ledger()) == 2


def test_a_song_whose_bucket_renders_to_nothing_is_recorded_until_it_is_archived(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    def make() -> KieGenerateMusicOperator:
        operator = KieGenerateMusicOperator(
            task_id="make", prompt="rain", bucket="{{ params.bucket }}", deferrable=False, poll_interval=0.05
        )
        operator.bucket = ""
        return operator

    kie.control.set(task_seconds=0)
    song = TaskRun(make).attempt()
    assert [key for key in archive.listed() if "_unarchived/" in key and song in key]


# --- what would do nothing -------------------------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"request": PICTURE, "key_field": "id"}, "`key_field` and `fail_on` of task make.* `idempotency_key`"),
    ({"request": PICTURE, "fail_on": "never"}, "`key_field` and `fail_on` of task make"),
    ({"requests": [PICTURE], "adopt_task_id": A}, "`adopt_task_id` of task make is about one request"),
    ({"requests": [PICTURE], "to": "s3://b/media", "wait_for_completion": False}, "waits for none"),
]


@pytest.mark.parametrize(("given", "why"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_arguments_that_would_be_ignored_are_refused_before_anything_is_paid(
    kie: SimulatorServer, given: dict[str, Any], why: str
) -> None:
    with pytest.raises(KieInvalidRequest, match=why):
        run_of(KieTaskOperator, operation="market", deferrable=False, **given).execute()
    assert kie.control.ledger() == []


@pytest.mark.parametrize("given", [{"request": {"prompt": "snow"}}, {"requests": [{"prompt": "snow"}]}])
@pytest.mark.parametrize(
    ("operator", "own"), [(KieGenerateMusicOperator, "prompt"), (KieGenerateCoverOperator, "batch")]
)
def test_a_typed_operator_makes_its_request_of_its_own_arguments(
    operator: type[Any], own: str, given: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"Task make makes its request of its own arguments.*KieTaskOperator\(operat"):
        operator(task_id="make", **{own: "rain"}, **given)


def test_who_does_not_wait_for_a_song_does_not_announce_it() -> None:
    with pytest.raises(ValueError, match=r"says by its outlet kie://.* that a song is ready, so it has to wait"):
        KieGenerateMusicOperator(task_id="make", prompt="rain", outlets=[MUSIC], wait_for_completion=False)


def test_longer_texts_of_a_newer_model_are_sent_where_the_catalogue_is_not_to_be_asked(kie: SimulatorServer) -> None:
    kie.control.add_fault("create", "code", kind="music", code=422, msg="KIE has been asked")
    for check_fields, why in ((True, "accepts at most 80"), (False, "KIE has been asked")):
        song = {"prompt": "la", "style": "pop", "title": "t" * 81, "custom_mode": True, "check_fields": check_fields}
        with pytest.raises(KieInvalidRequest, match=why):
            run_of(KieGenerateMusicOperator, deferrable=False, **song).execute()


def test_times_may_be_given_as_airflows_own(kie: SimulatorServer) -> None:
    minutes = timedelta(minutes=2)
    operator = KieTaskOperator(task_id="make", operation="suno.wav", poll_interval=minutes, wait_timeout=minutes)
    assert (operator.poll_interval, operator.timeout_seconds) == (120, 120)
    sensor = KieTaskSensor(task_id="wait", operation="suno.wav", poll_interval=minutes, timeout=minutes)
    assert (sensor.poll_interval, sensor.timeout) == (120, 120)


def test_what_a_chain_is_given_as_a_template_is_one_in_each_of_its_tasks() -> None:
    given: dict[str, Any] = {
        name: f"{{{{ params.{name} }}}}" for name in ("bucket", "prefix", "kie_conn_id", "aws_conn_id", "batch_size")
    }
    with DAG("templates") as dag:
        archive_covers(music_task_ids=["a"], **given)
    literal = []
    for one in dag.tasks:
        fields = one.partial_kwargs if one.is_mapped else vars(one)
        literal += [
            (one.task_id, name)
            for name, value in fields.items()
            if value in given.values() and name not in one.template_fields
        ]
    assert literal == []


# --- retries ---------------------------------------------------------------------------------------------------------


def test_a_retry_of_a_call_that_renders_differently_returns_the_kept_answer(kie: SimulatorServer, bucket: str) -> None:
    body = {"content": "rain at 10:00"}
    run = TaskRun(lambda: KieCallOperator(task_id="make", operation="style", request=dict(body)))
    answer = run.attempt()
    body["content"] = "rain at 10:05"
    assert run.retried().attempt() == answer
    assert len(kie.control.ledger()) == 1
    run.cleared().attempt()
    assert len(kie.control.ledger()) == 2


@pytest.mark.parametrize("listed", [False, True])
def test_a_retry_of_an_extension_that_renders_differently_is_not_paid_again(
    kie: SimulatorServer, bucket: str, listed: bool
) -> None:
    kie.control.set(task_seconds=0)
    film = {"prompt": "a fox", "model": "veo3_fast"}
    made: dict[str, Any] = {"deferrable": False, "poll_interval": 0.05}
    video = run_of(KieTaskOperator, operation="veo.generate", request=film, **made).attempt()
    body = {"taskId": video, "prompt": "it runs at 10:00"}

    def extend() -> KieTaskOperator:
        asked: dict[str, Any] = {"requests": [dict(body)]} if listed else {"request": dict(body)}
        return KieTaskOperator(task_id="make", operation="veo.extend", **asked, **made)

    run = TaskRun(extend)
    first, paid = run.attempt(), len(kie.control.ledger())
    body["prompt"] = "it runs at 10:05"
    assert run.retried().attempt() == first
    assert len(kie.control.ledger()) == paid
    run.cleared().attempt()
    assert len(kie.control.ledger()) == paid + 1


def test_each_row_of_a_list_has_every_field(kie: SimulatorServer) -> None:
    kie.control.set(task_seconds=0)
    run = run_of(KieTaskOperator, operation="market", requests=[PICTURE, {}], fail_on="never", deferrable=False)
    done, refused = run.attempt()
    assert (done["status"], done["reason"], done["error"]) == ("done", None, None)
    assert (refused["status"], refused["task_id"]) == ("refused", None)
