"""Any operation by its name: made, waited for and archived by the three generic tasks, and an operation is one row."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
import tenacity
from airflow.sdk.exceptions import AirflowRescheduleException

from airflow_kie.archive import file_transfer
from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.s3.errors import S3SlowDown
from airflow_kie.client.errors import FileTruncated, KieInvalidRequest, KieNoFiles
from airflow_kie.client.operations import registry
from airflow_kie.client.operations.operation import Medium, ResultRow, TaskOperation
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.sensors.task import KieTaskSensor
from airflow_kie.transfers.results_to_s3 import KieResultsToS3Operator
from airflow_task import StoredFiles, TaskRun
from invented_operation import INVENTED
from kie_simulator.server import SimulatorServer


def with_row(row: TaskOperation, monkeypatch: pytest.MonkeyPatch) -> TaskOperation:
    monkeypatch.setattr(registry, "OPERATIONS", MappingProxyType({**registry.OPERATIONS, row.name: row}))
    registry.task_kind.cache_clear()
    return row


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> TaskOperation:
    """Add the one row."""
    return with_row(INVENTED, monkeypatch)


def made(kie: SimulatorServer, operation: str, request: dict[str, Any]) -> str:
    """Make a task and let it end."""
    run = TaskRun(
        lambda: KieTaskOperator(task_id="make", operation=operation, request=request, wait_for_completion=False)
    )
    kie_task_id = str(run.attempt())
    kie.control.advance(3600)
    return kie_task_id


def waited(operation: str, kie_task_id: str) -> dict[str, Any]:
    found: dict[str, Any] = TaskRun(
        lambda: KieTaskSensor(task_id="wait", operation=operation, kie_task_id=kie_task_id, poll_interval=0.05)
    ).attempt()
    return found


def archived(operation: str, kie_task_id: str, bucket: str, **options: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"prefix": "media"} | options
    result: dict[str, Any] = TaskRun(
        lambda: KieResultsToS3Operator(
            task_id="archive", operation=operation, kie_task_id=kie_task_id, bucket=bucket, **settings
        )
    ).attempt()
    return result


def song(kie: SimulatorServer) -> dict[str, Any]:
    """Return what an operation on a song's first track asks for."""
    music = kie.control.make_music("Velvet Harbour")[0].task_id
    track = KieHook().details("suno.music", music).details.tracks[0]  # type: ignore[union-attr]
    return {"taskId": music, "audioId": track.audio_id}


def names(archive: StoredFiles, folder: str) -> list[str]:
    return [key.removeprefix(folder) for key in archive.listed() if key.startswith(folder)]


def asked_of(kie: SimulatorServer) -> tuple[int, int]:
    state = kie.control.state()
    return sum(state["requests"].values()), sum(state["downloads"].values())


def test_an_invented_operation_is_one_row_and_goes_all_the_way(
    kie: SimulatorServer, archive: StoredFiles, invented: TaskOperation
) -> None:
    task_id = made(kie, invented.name, {"subject": "A fox"})
    roles = [("clip", 1), ("poster", 1), ("caption", 1), ("scenes", 1)]
    assert waited(invented.name, task_id)["results"] == [{"role": role, "count": count} for role, count in roles]

    result = archived(invented.name, task_id, archive.bucket, labels={"our_id": "A-17"})
    folder = f"media/_tasks/invented.draw/{task_id}/"
    assert names(archive, folder) == [
        "caption-1.txt",
        "clip-1.mp4",
        "manifest.json",
        "poster-1.png",
        "scenes-1.json",
    ]
    assert (result["operation"], result["task_id"], result["changed"]) == (invented.name, task_id, True)
    assert result["manifest_key"] == f"{folder}manifest.json"
    manifest = archive.json(result["manifest_key"])
    assert (manifest["operation"], manifest["task_id"]) == (invented.name, task_id)
    assert manifest["labels"] == [{"name": "our_id", "value": "A-17", "by": None, "at": None}]
    assert "://" not in archive.body(result["manifest_key"]).decode()
    assert json.loads(archive.body(f"{folder}scenes-1.json")) == [{"from": 0, "to": 8}]
    for told, file in zip(result["files"], manifest["files"], strict=True):
        assert hashlib.sha256(archive.body(file["key"])).hexdigest() == file["sha256"] == told["sha256"]
    facts = {file["kind"]: (file["content_type"], file["duration_seconds"]) for file in manifest["files"]}
    assert facts["clip"] == ("video/mp4", 8.0)
    assert len(kie.control.ledger("invented")) == 1


@pytest.mark.parametrize(
    ("operation", "request_of", "files"),
    [
        ("suno.wav", song, ["wav-1.wav"]),
        ("suno.stems", lambda kie: {**song(kie), "type": "separate_vocal"}, ["instrumental-1.mp3", "vocals-1.mp3"]),
        ("suno.video", song, ["video-1.mp4"]),
        ("suno.lyrics", lambda kie: {"prompt": "rain"}, ["lyrics-1.txt", "lyrics-2.txt"]),
        (
            "market",
            lambda kie: {"model": "z-image", "input": {"prompt": "fox", "aspect_ratio": "1:1"}},
            ["result-1.png"],
        ),
    ],
)
def test_each_kind_of_result_goes_the_same_way(
    kie: SimulatorServer, archive: StoredFiles, operation: str, request_of: Any, files: list[str]
) -> None:
    task_id = made(kie, operation, request_of(kie))
    assert waited(operation, task_id)["task_id"] == task_id
    archived(operation, task_id, archive.bucket)
    assert sorted(names(archive, f"media/_tasks/{operation}/{task_id}/")) == sorted([*files, "manifest.json"])


FILMS: dict[str, tuple[str, dict[str, Any]]] = {
    "a number": ("market", {"model": "bytedance/seedance-2", "input": {"prompt": "a fox", "duration": 12}}),
    "a text": ("market", {"model": "wan/2-6-text-to-video", "input": {"prompt": "a fox", "duration": "10"}}),
    "runway": ("runway.generate", {"prompt": "a fox", "duration": 10, "quality": "720p"}),
}


@pytest.mark.parametrize("honoured", [True, False])
@pytest.mark.parametrize("film", FILMS)
def test_a_video_that_is_shorter_than_was_asked_for_is_archived_with_a_warning(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch, film: str, honoured: bool
) -> None:
    monkeypatch.setattr(file_transfer, "_PAUSES", tenacity.wait_none())
    kie.control.set(durations_honoured=honoured)
    operation, request = FILMS[film]
    seconds = {"a number": 12, "a text": 10, "runway": 10}[film]
    manifest = archive.json(archived(operation, made(kie, operation, request), archive.bucket)["manifest_key"])
    file = next(file for file in manifest["files"] if file["content_type"] == "video/mp4")
    assert file["duration_seconds"] == seconds * (1 if honoured else 0.5)
    said = f"the video plays {seconds / 2:g} s of the {seconds} s that were requested, although it was downloaded"
    assert (said in (file["warning"] or "")) is not honoured


def test_midi_is_made_from_stems_and_archived_as_its_notes(kie: SimulatorServer, archive: StoredFiles) -> None:
    stems = made(kie, "suno.stems", {**song(kie), "type": "separate_vocal"})
    task_id = made(kie, "suno.midi", {"taskId": stems})
    assert waited("suno.midi", task_id)["results"] == [{"role": "midi", "count": 1}]
    (file,) = archived("suno.midi", task_id, archive.bucket)["files"]
    assert file["key"].endswith("/midi-1.json")
    assert archive.json(file["key"])[0]["name"] == "Piano"


def test_results_are_listed_in_the_index_also_by_the_retry_of_a_task_that_died_before(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = made(kie, "suno.lyrics", {"prompt": "rain"})
    run = TaskRun(
        lambda: KieResultsToS3Operator(
            task_id="archive", operation="suno.lyrics", kie_task_id=task_id, bucket=archive.bucket, prefix="media"
        )
    )

    def die(self: Index, entries: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched, pytest.raises(ConnectionError):
        patched.setattr(Index, "add", die)
        run.attempt()
    assert archive.indexed("media") == []
    run.retried().attempt()
    (line,) = archive.indexed("media")
    assert (line["id"], line["operation"], len(line["files"])) == (task_id, "suno.lyrics", 2)
    archived("suno.lyrics", task_id, archive.bucket)
    assert len(archive.indexed("media")) == 1


def test_results_are_listed_and_reported_after_an_outage_of_s3_that_was_waited_out(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = made(kie, "suno.lyrics", {"prompt": "rain"})
    run = TaskRun(
        lambda: KieResultsToS3Operator(
            task_id="archive", operation="suno.lyrics", kie_task_id=task_id, bucket=archive.bucket, prefix="media"
        ),
        extra={"dag_run": SimpleNamespace(run_type="scheduled")},
    )

    def refuse(self: Index, entries: object) -> None:
        raise S3SlowDown("PutObject on bucket media")

    with monkeypatch.context() as patched, pytest.raises(AirflowRescheduleException):
        patched.setattr(Index, "add", refuse)
        run.attempt()
    assert run.attempt()["changed"] is True  # the same try
    assert [line["id"] for line in archive.indexed("media")] == [task_id]


def test_what_is_there_whole_is_left_and_kie_is_not_asked(kie: SimulatorServer, archive: StoredFiles) -> None:
    task_id = made(kie, "suno.lyrics", {"prompt": "rain"})
    first = archived("suno.lyrics", task_id, archive.bucket)
    before = asked_of(kie), archive.body(first["manifest_key"])
    assert archived("suno.lyrics", task_id, archive.bucket) == {**first, "changed": False}
    assert (asked_of(kie), archive.body(first["manifest_key"])) == before


def test_a_file_that_is_no_longer_whole_is_fetched_again_alone(kie: SimulatorServer, archive: StoredFiles) -> None:
    task_id = made(kie, "suno.stems", {**song(kie), "type": "separate_vocal"})
    first = archived("suno.stems", task_id, archive.bucket)
    archive.put(first["files"][0]["key"], b"damaged")
    downloads = asked_of(kie)[1]
    assert archived("suno.stems", task_id, archive.bucket) == first
    assert asked_of(kie)[1] == downloads + 1
    assert len(archive.body(first["files"][0]["key"])) == first["files"][0]["size"]


def test_only_the_roles_that_are_asked_for_are_archived_and_more_can_follow(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    task_id = made(kie, "suno.stems", {**song(kie), "type": "separate_vocal"})
    assert [file["kind"] for file in archived("suno.stems", task_id, archive.bucket, roles="vocals")["files"]] == [
        "vocals"
    ]
    more = archived("suno.stems", task_id, archive.bucket, roles=["instrumental"])
    assert ([file["kind"] for file in more["files"]], more["changed"]) == (["instrumental", "vocals"], True)
    assert archived("suno.stems", task_id, archive.bucket)["changed"] is False


def test_a_role_that_kie_does_not_name_fails_after_the_others_are_archived(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    task_id = made(kie, "suno.stems", {**song(kie), "type": "separate_vocal"})
    with pytest.raises(KieNoFiles, match=r"names no drums of this task; everything else is archived.*is paid for"):
        archived("suno.stems", task_id, archive.bucket, roles=["vocals", "drums"])
    assert names(archive, f"media/_tasks/suno.stems/{task_id}/") == ["manifest.json", "vocals-1.mp3"]


def test_roles_of_which_kie_names_none_leave_no_manifest_that_would_look_archived(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    task_id = made(kie, "suno.stems", {**song(kie), "type": "separate_vocal"})
    with pytest.raises(KieNoFiles, match=r"names no drums of this task; nothing was archived.*is paid for"):
        archived("suno.stems", task_id, archive.bucket, roles=["drums"])
    assert names(archive, f"media/_tasks/suno.stems/{task_id}/") == []


@pytest.mark.parametrize(
    ("given", "said"),
    [(["a", "b"], "takes one text as its kie_task_id and was given a list: map it"), (" ", "has no kie_task_id")],
)
def test_what_is_no_single_id_is_said_in_a_sentence(kie: SimulatorServer, bucket: str, given: Any, said: str) -> None:
    with pytest.raises(KieInvalidRequest, match=said):
        archived("suno.wav", given, bucket)
    assert asked_of(kie) == (0, 0)


def test_a_role_that_the_operation_does_not_have_is_refused_before_anything_is_asked(
    kie: SimulatorServer, bucket: str
) -> None:
    with pytest.raises(KieInvalidRequest, match="has no role covers, only wav"):
        archived("suno.wav", "a1b2", bucket, roles=["covers"])
    assert asked_of(kie) == (0, 0)


def test_a_success_of_unknown_shape_is_paid_once_and_its_answer_is_archived(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    row = with_row(replace(INVENTED, results=(ResultRow("film", "film", Medium.VIDEO),)), monkeypatch)
    run = TaskRun(
        lambda: KieTaskOperator(
            task_id="make", operation=row.name, request={"subject": "A fox"}, deferrable=True, poll_interval=0.05
        )
    )
    kie.control.set(speed=1000.0)
    task_id = run.attempt()
    assert run.cleared().attempt() == task_id
    assert f"has an unknown structure; it is stored as the task's result: Draw A Story task {task_id}" in caplog.text
    assert waited(row.name, task_id)["results"] == [{"role": "answer", "count": 1}]
    for _ in range(2):
        result = archived(row.name, task_id, archive.bucket, roles=["film"])
        assert [file["kind"] for file in result["files"]] == ["answer"]
    answer = archive.json(f"media/_tasks/invented.draw/{task_id}/answer-1.json")
    assert answer["made"]["clip"].endswith(".mp4")
    assert len(kie.control.ledger("invented")) == 1


def test_a_video_that_came_cut_is_not_archived(
    kie: SimulatorServer, archive: StoredFiles, invented: TaskOperation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenacity import wait_none

    from airflow_kie.archive import file_transfer

    monkeypatch.setattr(file_transfer, "_PAUSES", wait_none())
    task_id = made(kie, invented.name, {"subject": "A fox"})
    kie.control.add_fault("file", "cut", role="video", times=3)
    with pytest.raises(FileTruncated, match="The task is paid for, and KIE keeps its files until"):
        archived(invented.name, task_id, archive.bucket)
    assert "manifest.json" not in names(archive, f"media/_tasks/{invented.name}/{task_id}/")
    assert archived(invented.name, task_id, archive.bucket)["changed"] is True
