"""Only texts of the DAG file are templates: what an XCom, a row or a function gives reaches the operator as it is."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_kie.decorators.kie import kie_task
from airflow_kie.operators.call import KieCallOperator
from airflow_kie.operators.suno import KieGenerateMusicOperator
from airflow_kie.operators.task import KieTaskOperator
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
