"""Only texts of the DAG file are templates: what an XCom, a row or a function gives reaches the operator as it is."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.ai.decorators.llm import llm_task
from airflow.providers.common.ai.operators.llm import LLMOperator
from airflow.sdk import DAG, BaseOperator, task

import airflow_kie
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.decorators.kie import kie_task
from airflow_kie.operators.call import KieCallOperator
from airflow_kie.operators.suno import KieGenerateMusicOperator
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.operators.upload import KieUploadOperator
from airflow_kie.sensors.suno import KieCoverSensor, KieMusicSensor
from airflow_kie.sensors.task import KieTaskSensor
from airflow_kie.transfers.kie_to_s3 import KieCoverToS3Operator
from airflow_kie.transfers.results_to_s3 import KieResultsToS3Operator
from airflow_task import TaskInstance, TaskRun
from kie_simulator.server import SimulatorServer

PLANTED = '{{ "rendered" ~ "-by-jinja" }}{% if true %}rendered{% endif %}.sql'
TEMPLATE = "{{ 'from the ' ~ 'DAG file' }}"
RENDERED = "from the DAG file"
REQUEST = {"prompt": PLANTED, "list": [{"inner": PLANTED}]}


class Upstream(TaskInstance):
    """A task instance whose every XCom is the same."""

    found: Any = None
    task: Any = None

    def xcom_pull(self, task_ids: Any = None, key: Any = None, **_: Any) -> Any:
        return self.found


def rendered(make: Callable[[Any], Any], found: Any, map_index: int = 0) -> Any:
    """Return an operator with its fields rendered, as a worker does it.

    :param make: makes the task from another one's output.
    :param found: what that is.
    """
    with DAG("planted", schedule=None) as dag:

        @task
        def upstream() -> None:
            """Give the XCom."""

        make(upstream())
    ti = Upstream(dag_id="planted", map_index=map_index)
    ti.found = found
    context: Any = {"dag": dag, "dag_run": SimpleNamespace(conf={}), "ti": ti, "params": {}, "task_state_store": None}
    asked: Any = dag.get_task("ask")
    context["task"] = ti.task = asked
    asked.render_template_fields(context)
    return context["task"]


KINDS: list[tuple[type[Any], dict[str, Any], str, Any]] = [
    (KieTaskOperator, {"operation": "suno.music"}, "request", REQUEST),
    (KieTaskOperator, {"operation": "suno.music", "to": TEMPLATE}, "requests", [REQUEST]),
    (KieTaskOperator, {"operation": "suno.music"}, "idempotency_key", PLANTED),
    (KieGenerateMusicOperator, {"title": TEMPLATE}, "prompt", PLANTED),
    (KieCallOperator, {"operation": "style"}, "request", REQUEST),
    (
        KieResultsToS3Operator,
        {"operation": "suno.wav", "kie_task_id": TEMPLATE, "bucket": "b"},
        "labels",
        {"x": PLANTED},
    ),
    (KieTaskSensor, {"operation": "suno.music"}, "kie_task_id", PLANTED),
    (KieUploadOperator, {"aws_conn_id": TEMPLATE}, "source", f"s3://bucket/{PLANTED}"),
    (KieMusicSensor, {"kie_conn_id": TEMPLATE}, "music_task_id", PLANTED),
    (KieCoverSensor, {"music_task_id": TEMPLATE}, "cover_task_id", PLANTED),
    (
        KieCoverToS3Operator,
        {"music_task_id": TEMPLATE, "cover_task_id": "c", "bucket": "b"},
        "labels",
        {"x": PLANTED},
    ),
]


@pytest.mark.parametrize(("kind", "fixed", "field", "planted"), KINDS)
def test_what_an_xcom_holds_is_data_however_it_is_given(
    kind: type[Any], fixed: dict[str, Any], field: str, planted: Any
) -> None:
    def given(output: Any) -> None:
        kind(task_id="ask", **fixed, **{field: output})

    def mapped(output: Any) -> None:
        kind.partial(task_id="ask", **fixed).expand(**{field: output})

    def mapped_over_rows(output: Any) -> None:
        kind.partial(task_id="ask", **fixed).expand_kwargs(output)

    for make, found in ((given, planted), (mapped, [planted]), (mapped_over_rows, [{field: planted}])):
        asked = rendered(make, found, map_index=-1 if make is given else 0)
        assert getattr(asked, field) == planted, make
        for name, value in fixed.items():
            assert getattr(asked, name) == (RENDERED if value == TEMPLATE else value)
    assert list(kind.template_ext) == []


def test_no_operator_of_the_package_reads_a_file_for_a_text_that_ends_like_its_name() -> None:
    for module in pkgutil.walk_packages(airflow_kie.__path__, "airflow_kie."):
        if module.name.split(".")[1] in ("operators", "sensors", "transfers", "decorators"):
            importlib.import_module(module.name)

    def below(kind: type[Any]) -> set[type[Any]]:
        return {kind}.union(*(below(sub) for sub in kind.__subclasses__()))

    ours = [kind for kind in below(BaseOperator) if kind.__module__.startswith("airflow_kie.")]
    assert len(ours) > 20
    assert [kind for kind in ours if list(kind.template_ext)] == []


def test_a_chat_models_prompt_is_data_where_the_guide_says_so() -> None:
    known: dict[str, Any] = {"task_id": "ask", "llm_conn_id": "kie_chat"}
    given = rendered(lambda output: LLMOperator(prompt=output, **known), PLANTED, map_index=-1)
    mapped = rendered(lambda output: LLMOperator.partial(**known).expand(prompt=output), [PLANTED])
    assert given.prompt == mapped.prompt == PLANTED


def test_what_a_function_of_common_ais_decorator_returns_is_rendered_as_the_guide_warns(
    kie: SimulatorServer, chat: str
) -> None:
    def prompt(text: str) -> str:
        return text

    ask: Any = llm_task(prompt, llm_conn_id=chat, model_id="claude-haiku-4-5", task_id="ask")
    asked = rendered(lambda output: ask(output), PLANTED, map_index=-1)
    run = TaskRun(lambda: asked)
    run.extra |= {"task_instance": run.ti, "dag": asked.dag, "params": {}}
    run.attempt()
    (charge,) = kie.control.ledger()
    assert "rendered-by-jinja" in str(charge["request"]["messages"])


def test_rows_that_stand_in_the_dag_file_are_templates_and_so_is_what_every_row_has() -> None:
    asked = rendered(
        lambda _: KieTaskOperator.partial(
            task_id="ask", operation="suno.music", idempotency_key=TEMPLATE
        ).expand_kwargs([{"request": {"prompt": TEMPLATE}}]),
        None,
    )
    assert (asked.request, asked.idempotency_key) == ({"prompt": RENDERED}, RENDERED)


def test_what_a_function_returns_is_its_request_and_its_arguments_are_templates_only_in_the_dag_file(
    kie: SimulatorServer,
) -> None:
    kie.control.set(task_seconds=0)
    picture = {"model": "z-image", "input": {"aspect_ratio": "1:1"}}

    def request(text: str, suffix: str, ti: Any = None) -> dict[str, Any]:
        return {**picture, "input": {**picture["input"], "prompt": f"{text} {suffix} {ti.task_id} {PLANTED}"}}

    paint: Any = kie_task(request, operation="market", deferrable=True, poll_interval=0.05, task_id="ask")
    asked = rendered(lambda output: paint(output, suffix=TEMPLATE), PLANTED, map_index=-1)
    made = TaskRun(lambda: asked).attempt()
    (charge,) = kie.control.ledger("jobs")
    assert charge["task_id"] == made
    assert charge["request"]["input"]["prompt"] == f"{PLANTED} {RENDERED} ask {PLANTED}"
    for rows in (
        rendered(lambda output: paint.partial(suffix=TEMPLATE).expand(text=output), [PLANTED]),
        rendered(lambda output: paint.partial(suffix=TEMPLATE).expand_kwargs(output), [{"text": PLANTED}]),
    ):
        assert rows.op_kwargs == {"text": PLANTED, "suffix": RENDERED}


def test_a_function_may_return_a_list_and_nothing_else(kie: SimulatorServer) -> None:
    kie.control.set(task_seconds=0)
    answers: list[Any] = [[{"model": "z-image", "input": {"prompt": "fox", "aspect_ratio": "1:1"}}], "fox"]
    paint: Any = kie_task(lambda: answers[0], operation="market", deferrable=False, poll_interval=0.05, task_id="ask")
    asked = rendered(lambda _: paint(), None, map_index=-1)
    assert [row["status"] for row in TaskRun(lambda: asked).attempt()] == ["done"]
    answers.pop(0)
    with pytest.raises(Exception, match="returned neither a request nor a list of them, but a str"):
        TaskRun(lambda: asked).attempt()


def test_a_function_whose_annotation_says_that_it_returns_a_map_makes_a_task_whose_output_is_an_id() -> None:
    """Airflow infers `multiple_outputs` from ``-> dict`` and would fail the task after it has paid and waited."""

    def request(text: str) -> dict[str, Any]:
        return {"model": "z-image", "input": {"prompt": text, "aspect_ratio": "1:1"}}

    paint: Any = kie_task(request, operation="market", task_id="ask")
    unrolled: Any = kie_task(request, operation="market", task_id="list", to="s3://b/c", multiple_outputs=True)
    with DAG("annotated"):
        alone, mapped, chosen = paint("fox"), paint.override(task_id="many").expand(text=["fox"]), unrolled("fox")
    assert not alone.operator.multiple_outputs
    assert not mapped.operator.multiple_outputs
    assert chosen.operator.multiple_outputs  # a person's own word


def test_a_list_that_is_none_is_not_made_into_one_request_of_the_fields_that_all_of_them_share(
    kie: SimulatorServer,
) -> None:
    kie.control.set(task_seconds=0)
    shared = {"model": "z-image", "input": {"prompt": "a fox", "aspect_ratio": "1:1"}}
    asked = rendered(
        lambda output: KieTaskOperator(
            task_id="ask", operation="market", request=shared, requests=output, deferrable=False
        ),
        None,
        map_index=-1,
    )
    assert asked.requests is None
    with pytest.raises(KieInvalidRequest, match="requests of task ask is None"):
        TaskRun(lambda: asked).attempt()
    assert kie.control.ledger() == []


@pytest.mark.parametrize("to", ["s3://my-bucket/media", TEMPLATE])
def test_one_request_with_the_place_of_a_lists_results_is_refused_before_it_is_paid_for(
    kie: SimulatorServer, to: str
) -> None:
    """Nothing would archive its result, which KIE deletes after 14 days."""
    kie.control.set(task_seconds=0)
    picture = {"model": "z-image", "input": {"prompt": "a fox", "aspect_ratio": "1:1"}}
    paint: Any = kie_task(lambda: picture, operation="market", deferrable=False, to=to, task_id="ask")
    asked = rendered(lambda _: paint(), None, map_index=-1)
    for operator in (
        asked,
        KieTaskOperator(task_id="ask", operation="market", request=picture, to=to, deferrable=False),
        KieGenerateMusicOperator(task_id="ask", prompt="rain", to=to, deferrable=False),
    ):
        with pytest.raises(KieInvalidRequest, match="`to` of task ask archives what a list makes"):
            TaskRun(lambda operator=operator: operator).attempt()  # type: ignore[misc]
    assert kie.control.ledger() == []
