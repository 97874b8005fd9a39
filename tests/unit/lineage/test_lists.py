"""The lineage of lists, calls and uploads: from a table, a parent or a file to each KIE task and each archived file."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import BaseOperator

from airflow_connections import kie_connection
from airflow_kie.operators.call import KieCallOperator
from airflow_kie.operators.lists import task_list
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.operators.upload import KieUploadOperator
from airflow_task import StoredFiles, TaskInstance, TaskRun
from kie_simulator.server import SimulatorServer
from openlineage_events import completed, edges
from openlineage_schema import check


@pytest.fixture(autouse=True)
def at_once(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    kie.control.set(task_seconds=0)
    monkeypatch.setattr(task_list, "LINGER_SECONDS", 0.0)


def ran(operator: type[Any], **arguments: Any) -> tuple[Any, dict[str, Any]]:
    """Return what a task returns, and its last event, which fits the schemas."""
    made: list[Any] = []

    def make() -> BaseOperator:
        made.append(operator(task_id="it", **arguments))
        return made[-1]

    result = TaskRun(make, ti=TaskInstance(dag_id="d", run_id="r", map_index=-1)).attempt()
    event = completed(made[-1])
    check(event)
    return result, event


def inputs(event: dict[str, Any]) -> list[str]:
    return [f"{each['namespace']}/{each['name']}" for each in event["inputs"]]


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_table_leads_to_each_task_each_file_and_the_table_of_results(
    kie: SimulatorServer, archive: StoredFiles, deferrable: bool
) -> None:
    archive.put("in/table.csv", b"input.prompt\nrain\nsnow\n")
    base = {"model": "z-image", "input": {"aspect_ratio": "1:1"}}
    place = {"requests": f"s3://{archive.bucket}/in/table.csv", "to": f"s3://{archive.bucket}/media"}
    options = {"deferrable": deferrable, "poll_interval": 0.05}
    value, event = ran(KieTaskOperator, operation="market", request=base, **place, **options)
    assert inputs(event) == [f"s3://{archive.bucket}/in/table.csv"]
    tasks = {charge["task_id"] for charge in kie.control.ledger("jobs")}
    names = {each["name"] for each in event["outputs"]}
    assert {f"market/{task}" for task in tasks} | {value["results"].partition(f"{archive.bucket}/")[2]} <= names
    of_files = {(source, name) for source, _, name in edges([event]) if "/result-" in name}
    assert {source for source, _ in of_files} == {f"market/{task}" for task in tasks}
    assert len(of_files) == 2
    assert event["run"]["facets"]["kie"]["operation"] == "market"


def test_a_list_of_extensions_is_made_from_the_clips_that_its_requests_name(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    options = {"deferrable": False, "poll_interval": 0.05}
    clip, made = ran(KieTaskOperator, operation="veo.generate", request={"prompt": "a fox"}, **options)
    assert [each["name"] for each in made["outputs"]] == [f"veo/generate/{clip}"]
    request = {"taskId": clip, "prompt": "it runs"}
    _, single = ran(KieTaskOperator, operation="veo.extend", request=request, **options)
    rows, listed = ran(KieTaskOperator, operation="veo.extend", requests=[request], **options)
    for event in (single, listed):
        assert inputs(event) == [f"kie://api.kie.ai/veo/generate/{clip}"]
        assert "music_task_id" not in event["run"]["facets"]["kie"]
    assert [each["name"] for each in listed["outputs"]] == [f"veo/extend/{rows[0]['task_id']}"]


def test_a_file_of_s3_is_what_an_upload_is_made_from_and_the_upload_what_a_request_is(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra={"upload_host": kie.url}))
    archive.put("in/hum.mp3", b"ID3")
    reference, given = ran(KieUploadOperator, source=f"s3://{archive.bucket}/in/hum.mp3")
    name = f"upload/{reference.partition(':')[2]}"
    assert list(edges([given])) == [(f"s3://{archive.bucket}/in/hum.mp3", "it", name)]
    body = {"uploadUrl": reference, "defaultParamFlag": False, "instrumental": True, "model": "V5"}
    options = {"requests": [body], "deferrable": False, "poll_interval": 0.05}
    _, made = ran(KieTaskOperator, operation="suno.upload_extend", **options)
    assert inputs(made) == [f"kie://api.kie.ai/{name}"]


def test_a_call_about_a_song_names_it(kie: SimulatorServer, bucket: str) -> None:
    (song,) = kie.control.make_music("Rain")
    from airflow_kie.hooks.kie import KieHook

    take = {"taskId": song.task_id, "audioId": KieHook().wait("suno.music", song.task_id).tracks[0].audio_id}
    _, event = ran(KieCallOperator, operation="suno.timestamped_lyrics", request=take)
    assert inputs(event) == [f"kie://api.kie.ai/suno/music/{song.task_id}"]
    assert inputs(ran(KieCallOperator, operation="credit")[1]) == []
