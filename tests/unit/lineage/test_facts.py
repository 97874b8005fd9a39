"""What the tasks tell OpenLineage: from the prompt to the file, once, whatever happened in between."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import attrs
import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import TaskDeferred
from openlineage.client.event_v2 import RunState

from airflow_kie.client.errors import KieError
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lineage import facts
from airflow_kie.lineage.facts import known_of
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_kie.sensors.suno import KieCoverSensor, KieMusicSensor
from airflow_kie.transfers.kie_to_s3 import KieCoverToS3Operator
from airflow_task import StoredFiles, TaskRun
from kie_simulator.server import SimulatorServer
from openlineage_events import completed, edges
from openlineage_schema import PUBLISHED, check

PROMPT = "A slow waltz for two tired robots"
DIGEST = hashlib.sha256(PROMPT.encode()).hexdigest()
ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Ran:
    """A task that was run, and what it reported.

    :param run: the run of the task.
    :param task: the operator of its last leg.
    """

    run: TaskRun
    task: BaseOperator

    @property
    def event(self) -> dict[str, Any]:
        event = completed(self.task)
        check(event)
        return event

    @property
    def facet(self) -> Any:
        return self.event["run"]["facets"]["kie"]


def run_of(operator: type[Any], **arguments: Any) -> tuple[TaskRun, list[Any]]:
    """Return a run of a task, and the list of the operators that its legs get."""
    made: list[Any] = []

    def make() -> BaseOperator:
        made.append(operator(task_id=operator.__name__, **arguments))
        return made[-1]

    return TaskRun(make), made


def ran(operator: type[Any], **arguments: Any) -> tuple[Any, Ran]:
    run, made = run_of(operator, **arguments)
    result = run.attempt()
    return result, Ran(run, made[-1])


def music(**more: Any) -> tuple[str, Ran]:
    return ran(KieGenerateMusicOperator, prompt=PROMPT, deferrable=True, poll_interval=0.05, **more)


def cover(song: str, **more: Any) -> tuple[str, Ran]:
    return ran(KieGenerateCoverOperator, music_task_id=song, deferrable=True, poll_interval=0.05, **more)


def archive_of(song: str, drawn: str, bucket: str, **more: Any) -> Ran:
    _, stored = ran(
        KieCoverToS3Operator, music_task_id=song, cover_task_id=drawn, bucket=bucket, prefix="songs", **more
    )
    return stored


def names(datasets: list[dict[str, Any]]) -> list[str]:
    return [each["name"] for each in datasets]


def test_the_chain_leads_from_the_prompt_to_every_file(kie: SimulatorServer, archive: StoredFiles) -> None:
    kie.control.set(music_seconds=0.2, cover_seconds=0.2)
    song, composed = music()
    _, sensed = ran(KieMusicSensor, music_task_id=song)
    drawn, covered = cover(song)
    _, seen = ran(KieCoverSensor, music_task_id=song, cover_task_id=drawn)
    stored = archive_of(song, drawn, archive.bucket, archive_audio=True)
    reported = edges([each.event for each in (composed, sensed, covered, seen, stored)])
    assert not {"attempts", "adopted"} & {*sensed.facet, *seen.facet}  # a sensor makes no task
    here = f"s3://{archive.bucket}/songs/{song}"
    to_s3 = "KieCoverToS3Operator"
    assert reported == {
        (f"suno/prompt/{DIGEST}", "KieGenerateMusicOperator", f"suno/music/{song}"): 1,
        (f"suno/prompt/{DIGEST}", "KieMusicSensor", f"suno/music/{song}"): 1,
        (f"suno/music/{song}", "KieGenerateCoverOperator", f"suno/cover/{drawn}"): 1,
        (f"suno/music/{song}", "KieCoverSensor", f"suno/cover/{drawn}"): 1,
        **{(f"suno/cover/{drawn}", to_s3, f"{here}/cover-{n}.png"): 1 for n in (1, 2)},
        **{(f"suno/music/{song}", to_s3, f"{here}/track-{n}.mp3"): 1 for n in (1, 2)},
        **{(f"suno/{source}", to_s3, f"{here}/manifest.json"): 1 for source in (f"music/{song}", f"cover/{drawn}")},
    }


def test_a_file_is_reported_with_size_checksum_version_and_expiry(kie: SimulatorServer, archive: StoredFiles) -> None:
    song = kie.control.make_music("Velvet Harbour")[0].task_id
    drawn, _ = cover(song)
    event = archive_of(song, drawn, archive.bucket).event
    body = archive.body(f"songs/{song}/cover-1.png")
    (output,) = [each for each in event["outputs"] if each["name"].endswith("cover-1.png")]
    file = archive.json(f"songs/{song}/manifest.json")["files"][0]
    facet = output["outputFacets"]["kie"]
    assert output["outputFacets"]["outputStatistics"]["size"] == facet["size"] == len(body)
    assert output["facets"]["version"]["datasetVersion"] == facet["sha256"] == hashlib.sha256(body).hexdigest()
    assert facet["expires_at"][:23] == file["expires_at"][:23]
    assert (facet["kind"], facet["position"], facet["task_id"]) == ("cover", 1, drawn)


def test_the_facet_has_ids_model_attempts_wait_and_how_the_end_was_seen(kie: SimulatorServer) -> None:
    kie.control.set(music_seconds=1.5)  # the wait counts from the answer, which may come late
    song, composed = music(model="V4_5")
    facet = composed.facet
    assert (facet["operation"], facet["task_id"], facet["music_task_id"]) == ("suno.music", song, song)
    assert (facet["model"], facet["attempts"], facet["adopted"], facet["completion_source"]) == (
        "V4_5",
        1,
        False,
        "poll",
    )
    assert 0.2 < facet["wait_seconds"] < 300


def test_a_task_that_a_callback_woke_says_so(kie: SimulatorServer) -> None:
    kie.control.set(cover_seconds=0.2)
    song = kie.control.make_music("Velvet Harbour")[0].task_id
    run, made = run_of(KieGenerateCoverOperator, music_task_id=song, deferrable=False, poll_interval=0.05)
    run.wake("execute_complete", {"event": {"outcome": "called_back"}})
    assert Ran(run, made[-1]).facet["completion_source"] == "callback"


def test_a_cover_that_failed_once_at_kie_is_reported_with_both_tasks_and_one_output(kie: SimulatorServer) -> None:
    song = kie.control.make_music("Second Try")[0].task_id
    kie.control.add_fault("task", "fail", kind="cover", source_id=song)
    drawn, covered = cover(song)
    failed = [charge["task_id"] for charge in kie.control.ledger("cover") if charge["task_id"] != drawn]
    assert (covered.facet["attempts"], covered.facet["failed_task_ids"]) == (2, failed)
    assert names(covered.event["outputs"]) == [f"suno/cover/{drawn}"]


def test_a_retry_reports_the_same_datasets_as_an_attempt_that_was_not_interrupted(kie: SimulatorServer) -> None:
    kie.control.set(cover_seconds=0.2)
    song = kie.control.make_music("Velvet Harbour")[0].task_id
    run, made = run_of(KieGenerateCoverOperator, music_task_id=song, deferrable=True, poll_interval=0.05)
    with pytest.raises(TaskDeferred):
        run.execute()  # and what waits is lost
    drawn = run.retried().attempt()
    event = Ran(run, made[-1]).event
    assert (names(event["inputs"]), names(event["outputs"])) == ([f"suno/music/{song}"], [f"suno/cover/{drawn}"])
    assert event["run"]["facets"]["kie"]["attempts"] == 1


def test_an_adopted_task_is_reported_as_made_from_its_song(kie: SimulatorServer) -> None:
    song = kie.control.make_music("Velvet Harbour")[0].task_id
    drawn, _ = cover(song)
    again, adopting = cover(song, adopt_task_id=drawn)
    assert (again, adopting.facet["adopted"]) == (drawn, True)
    assert names(adopting.event["inputs"]) == [f"suno/music/{song}"]
    assert names(adopting.event["outputs"]) == [f"suno/cover/{drawn}"]


def test_a_task_that_failed_reports_what_it_was_to_be_made_from_and_no_output(kie: SimulatorServer) -> None:
    song = kie.control.make_music("No Luck")[0].task_id
    kie.control.add_fault("task", "fail", kind="cover", source_id=song, times=-1)
    run, made = run_of(KieGenerateCoverOperator, music_task_id=song, deferrable=False, poll_interval=0.05)
    with pytest.raises(KieError):
        run.attempt()
    event = completed(made[-1], state=RunState.FAIL)
    check(event)
    assert (names(event["inputs"]), event["outputs"]) == ([f"suno/music/{song}"], [])
    assert len(event["run"]["facets"]["kie"]["failed_task_ids"]) >= 1


def test_what_is_reported_at_the_start_is_an_input_at_the_end(kie: SimulatorServer, archive: StoredFiles) -> None:
    song, composed = music()
    drawn, covered = cover(song)
    stored = archive_of(song, drawn, archive.bucket)
    for each in (composed, covered, stored):
        start = completed(type(each.task)(**vars_of(each.task)), state=RunState.START)
        check(start)
        assert names(start["inputs"]) == names(each.event["inputs"]) != []
        assert start["outputs"] == []


def vars_of(task: Any) -> dict[str, Any]:
    given = ("prompt", "music_task_id", "cover_task_id", "bucket", "prefix")
    return {"task_id": task.task_id, **{name: getattr(task, name) for name in given if getattr(task, name, None)}}


def test_a_run_that_archives_nothing_new_has_no_outputs(kie: SimulatorServer, archive: StoredFiles) -> None:
    song = kie.control.make_music("Velvet Harbour")[0].task_id
    drawn, _ = cover(song)
    archive_of(song, drawn, archive.bucket)
    again = archive_of(song, drawn, archive.bucket)
    assert (again.event["outputs"], again.facet["changed"]) == ([], False)
    more = archive_of(song, drawn, archive.bucket, archive_audio=True)
    added = [name.rpartition("/")[2] for name in names(more.event["outputs"])]
    assert added == ["track-1.mp3", "track-2.mp3", "manifest.json"]


@pytest.mark.parametrize("wanted", [False, True])
def test_prompts_and_lyrics_are_reported_by_hash_and_length_unless_their_text_is_wanted(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__INCLUDE_TEXTS", str(wanted))
    song, composed = music()
    _, sensed = ran(KieMusicSensor, music_task_id=song)
    drawn, _ = cover(song)
    stored = archive_of(song, drawn, archive.bucket)
    for each in (composed, sensed, stored):
        expected = {"sha256": DIGEST, "length": len(PROMPT), **({"text": PROMPT} if wanted else {})}
        assert each.facet["prompt"] == expected
        assert (PROMPT in str(each.event)) is wanted
    lyrics = sensed.facet["lyrics"]
    assert lyrics and all(("text" in each) is wanted for each in lyrics)


def test_a_prompt_in_a_runs_form_is_hidden_by_its_name_and_our_hash_stays(kie: SimulatorServer) -> None:
    from airflow.providers.openlineage.utils.utils import AirflowRunFacet, OpenLineageRedactor

    redactor = OpenLineageRedactor()
    redactor.sensitive_variables_fields = ["prompt"]  # [core] sensitive_var_conn_names
    form = AirflowRunFacet(dag={}, dagRun={"conf": {"prompt": PROMPT}}, taskInstance={}, task={}, taskUuid="1")
    assert PROMPT not in str(redactor.redact(form, max_depth=20))
    _, composed = music()
    facet: Any = composed.task.get_openlineage_facets_on_complete(None).run_facets["kie"]
    assert redactor.redact(facet, max_depth=20).prompt == {"sha256": DIGEST, "length": len(PROMPT), "text": None}


def test_the_published_schema_has_every_field_of_the_facets() -> None:
    from airflow_kie.lineage import openlineage

    for facet, records in ((openlineage.KieRunFacet, facts.Facts), (openlineage.KieOutputDatasetFacet, facts.Made)):
        described = set(PUBLISHED["$defs"][facet.__name__]["properties"])
        assert {field.name for field in attrs.fields(facet)} - {"_base_skip_redact"} == described
        assert {field.name for field in fields(records)} == described - {"_producer", "_schemaURL"}


def modules() -> Iterator[str]:
    for file in sorted((ROOT / "plugins" / "airflow_kie").rglob("*.py")):
        name = ".".join(file.relative_to(ROOT / "plugins").with_suffix("").parts).removesuffix(".__init__")
        if name not in ("airflow_kie.lineage.openlineage", "airflow_kie.web.receiver.__main__"):
            yield name


def test_nothing_of_ours_imports_openlineage_but_the_module_that_makes_its_records() -> None:
    program = (
        f"import importlib, sys\nfor name in {list(modules())!r}:\n    importlib.import_module(name)\n"
        "from airflow_kie.task_groups.music_cover import archive_covers\n"
        "ours = ('openlineage', 'airflow_kie.lineage.openlineage')\n"
        "print(sorted(name for name in sys.modules if name.startswith(ours)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("prompt", [5, ["rain"], {"a": 1}])
def test_a_prompt_that_is_no_text_has_no_hash_and_ends_no_task(prompt: object) -> None:
    known = known_of(TaskRecord("suno.music", connection="kie_default"), {"prompt": prompt, "model": "V6"})
    assert (known.inputs, known.facts.prompt) == ((), None)
