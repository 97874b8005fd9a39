"""What people write into the inbox stays in the bucket: no template field, XCom, conf or run id holds any of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_kie.archive.inbox.song_request import SongsRefused
from airflow_kie.operators.song_list import KieSongListOperator
from airflow_task import StoredFiles, TaskRun
from inbox_dag import InboxDag
from kie_simulator.server import SimulatorServer

A, B, C = "a" * 32, "b" * 32, "c" * 32
SECRET = "the-password-of-the-connection"
TEMPLATES = ["{{ conn.kie_default.password }}", "{% for x in [1] %}{{ conn.kie_default.password }}{% endfor %}", "{#"]


class _Run:
    def __init__(self, conf: Any) -> None:
        self.conf = conf


class _Dag:
    params: dict[str, Any] = {}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_in_every_field_of_the_inbox_is_rendered_nowhere(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", json.dumps({"conn_type": "kie", "password": SECRET}))
    labels = {f"name {template}": f"text {template}"}
    archive.put(f"inbox/{template}.json", json.dumps([{"music_task_id": i, "labels": labels} for i in (A, B)]).encode())
    archive.put(f"inbox/alone {template}.json", json.dumps({"music_task_id": C, "labels": labels}).encode())
    for field in ("music_task_id", "kie_conn_id", "cover_task_id", "archive_audio"):
        archive.put(f"inbox/bad {field} {template}.json", json.dumps({"music_task_id": A, field: template}).encode())
    dag = InboxDag()
    assert "failed" not in dag.run().values(), dag.errors
    told = [dag.runs, dag.events, [[*key, value] for key, value in dag.xcoms.items()], dag.rendered]
    outside = json.dumps(told, default=str)
    assert not [mark for mark in ("{{", "{%", "{#", "conn.", SECRET, "name ", "inbox/") if mark in outside]
    stored = b"".join(archive.body(key) + key.encode() for key in archive.listed())
    assert SECRET.encode() not in stored


def test_a_run_reads_the_songs_of_its_inbox_object_by_reference_word_for_word(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    labels = {TEMPLATES[0]: TEMPLATES[1]}
    archive.put("inbox/a.json", json.dumps([{"music_task_id": i, "labels": labels} for i in (A, B)]).encode())
    dag = InboxDag()
    dag.run()
    (conf,) = dag.runs.values()
    run = TaskRun(lambda: KieSongListOperator(task_id="song_list"), extra={"dag_run": _Run(conf), "dag": _Dag()})
    assert [(song["music_task_id"], song["labels"]) for song in run.execute()] == [(A, labels), (B, labels)]


@pytest.mark.parametrize("named", ["0" * 32, "../../x", "{{ conn.kie_default.password }}", 7])
def test_a_run_for_an_inbox_object_that_is_not_there_is_refused(
    kie: SimulatorServer, archive: StoredFiles, named: Any
) -> None:
    context = {"dag_run": _Run({"inbox_order": named}), "dag": _Dag()}
    with pytest.raises(SongsRefused, match=r"inbox object is gone|named by the 32 hex digits"):
        TaskRun(lambda: KieSongListOperator(task_id="song_list"), extra=context).execute()
