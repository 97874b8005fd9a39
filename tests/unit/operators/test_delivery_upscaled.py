"""A cover that KIE enlarges: its price is known before, it is paid for once whatever dies, and the release says so."""

from __future__ import annotations

import functools
import io
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException
from PIL import Image

from airflow_connections import kie_connection
from airflow_kie import assets
from airflow_kie.archive.delivery import cover_image
from airflow_kie.archive.delivery.upscale import MODEL, Upscaling, most_credits
from airflow_kie.archive.manifest import Manifest
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.client.catalogue.prices import quote
from airflow_kie.client.errors import KieCreateInDoubt, KieInvalidRequest
from airflow_kie.client.operations.market import JOBS
from airflow_kie.hooks import archive as hooks
from airflow_kie.operators.delivery import KieDeliverReleaseOperator, KieReleasePlanOperator, KieUpscaleCoverOperator
from airflow_kie.operators.delivery import release as operator
from airflow_kie.transfers.results_to_s3 import KieResultsToS3Operator
from airflow_task import FakeTaskStateStore, StoredFiles, TaskInstance, TaskRun, WorkerCrash
from kie_simulator.server import SimulatorServer
from paid_requests import POINTS, InBucket, become_old, dying_at
from s3_servers import S3Server
from songs_to_deliver import PREFIX, archive_song

SMALL = 96
"""Pixels of a side that is delivered: all covers here are smaller."""


@pytest.fixture(autouse=True)
def songs(kie: SimulatorServer, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let covers go to the simulator, and archive a song with covers of 40 pixels."""
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra={"upload_host": kie.url}))
    monkeypatch.setenv("AIRFLOW__KIE__PREFIX", PREFIX)
    monkeypatch.setattr(cover_image, "SIDE", SMALL)
    monkeypatch.setattr(hooks, "open_bucket", functools.cache(hooks.open_bucket))
    kie.control.set(task_seconds=0)
    archive_song(Bucket(s3_server.client(), bucket), "one", side=40)


def planned(release: str = "Single", **options: Any) -> dict[str, Any]:
    known = {"release": release, "songs": ["one"], "wav": False, "upscale": True, **options}
    run = TaskRun(lambda: KieReleasePlanOperator(task_id="plan", **known))
    assert run.attempt() == []
    plan: dict[str, Any] = run.ti.pushed["plan"]
    return plan


def upscaled(plan: dict[str, Any]) -> TaskRun:
    options: dict[str, Any] = {"deferrable": True, "poll_interval": 0.05}
    return TaskRun(lambda: KieUpscaleCoverOperator(task_id="cover", plan=plan, **options), FakeTaskStateStore())


def archived(task_id: str, bucket: str) -> None:
    options = {"operation": JOBS.name, "kie_task_id": task_id, "bucket": bucket, "prefix": PREFIX}
    TaskRun(lambda: KieResultsToS3Operator(task_id="archive_cover", **options)).attempt()


def released(plan: dict[str, Any], task_id: str | None = None) -> dict[str, Any]:
    def make() -> BaseOperator:
        return KieDeliverReleaseOperator(task_id="release", plan=plan, upscaled_task_id=task_id)

    result: dict[str, Any] = TaskRun(make).attempt()
    return result


def test_the_price_in_the_forms_is_the_most_that_kies_list_names() -> None:
    assert most_credits() == 20
    assert quote(JOBS, {"model": MODEL, "input": {}}).high == 40, "the request does not say how large the picture is"


@pytest.mark.parametrize(
    ("longest", "factor", "credits"),
    [(1024, 4, 20), (512, 4, 10), (1025, 2, 20), (2048, 2, 20), (2049, None, 0), (3000, None, 0)],
)
def test_a_cover_is_enlarged_as_far_as_kies_list_has_a_price_for(
    longest: int, factor: int | None, credits: float, archive: StoredFiles
) -> None:
    (cover, *_) = Manifest.model_validate(archive.json(f"{PREFIX}/one/manifest.json")).files
    asked = Upscaling.of(cover, longest, 3000)
    assert (asked and asked.factor, asked.credits if asked else 0) == (factor, credits)


def test_a_cover_is_enlarged_at_kie_once_for_all_releases_and_the_release_says_what_has_done_it(
    kie: SimulatorServer, archive: StoredFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned()
    assert plan["price"] == plan["upscale"]["credits"] == 10  # 160 pixels
    assert "a larger cover (10 credits) from KIE, 10 credits in all by its price list" in capsys.readouterr().out
    assert kie.control.ledger() == []
    assert plan["upscale"]["request"]["input"]["image_url"].startswith("kie-upload:")  # where it is stays KIE's secret
    task_id = upscaled(plan).attempt()
    (charge,) = kie.control.ledger()
    assert charge["task_id"] == task_id
    archived(task_id, archive.bucket)
    result = released(plan, task_id)
    assert (result["price"], result["changed"]) == (10, True)
    manifest, metadata = (archive.json(f"{PREFIX}/release/Single/{name}.json") for name in ("manifest", "metadata"))
    (cover,) = [file for file in manifest["files"] if file["name"] == "cover.jpg"]
    assert cover["how"] == f"enlarged with {MODEL}"
    assert cover["made_from"] == f"{PREFIX}/_tasks/market/{task_id}/result-1.jpg"
    assert cover["enlarged_from"] == f"{PREFIX}/one/cover-1.png"
    assert (metadata["cover_upscaled"], metadata["cover_upscaled_with"]) == (True, MODEL)
    body = archive.body(f"{PREFIX}/release/Single/cover.jpg")
    assert Image.open(io.BytesIO(body)).size == (SMALL, SMALL) and b"trainedAlgorithmicMedia" in body

    kie.control.reset()  # KIE knows nothing of it any more
    again = planned("Another")
    assert (again["upscale"], again["upscaled_task_id"], again["price"]) == (None, task_id, 0)
    with pytest.raises(AirflowSkipException):
        upscaled(again).attempt()
    released(again)
    assert archive.body(f"{PREFIX}/release/Another/cover.jpg") == body
    assert kie.control.ledger() == []


@pytest.mark.parametrize("point", POINTS)
def test_a_cover_is_paid_for_once_wherever_the_worker_dies(
    kie: SimulatorServer, archive: StoredFiles, point: str
) -> None:
    plan = planned()
    run = upscaled(plan)
    with dying_at(point), pytest.raises(WorkerCrash):
        run.execute()
    become_old(InBucket(archive, f"{PREFIX}/_paid/"))
    sent, again, elsewhere = len(kie.control.ledger()), run.retried(), upscaled(planned("Another"))
    if point in ("before intent", "before task", "after task"):
        task_id = again.attempt()
        assert elsewhere.attempt() == task_id
        assert [charge["task_id"] for charge in kie.control.ledger()] == [task_id]
    else:  # nobody has seen an answer: a person decides
        for attempt in (again, elsewhere):
            with pytest.raises(KieCreateInDoubt):
                attempt.attempt()
        assert len(kie.control.ledger()) == sent == (1 if point == "after post" else 0)


def test_a_release_whose_larger_cover_was_not_made_is_not_made_with_another_one(archive: StoredFiles) -> None:
    with pytest.raises(KieInvalidRequest, match="the plan includes a larger cover, but its task id is missing"):
        released(planned())
    assert not [key for key in archive.listed() if "/release/" in key]


def test_a_cover_that_is_large_enough_is_not_sent(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cover_image, "SIDE", 40)
    plan = planned()
    assert (plan["upscale"], plan["price"]) == (None, 0)
    assert not [path for path in kie.control.state()["requests"] if "upload" in path]


class Events:
    """Airflow's events of an outlet."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.extra: dict[str, Any] = {}

    def add_partitions(self, name: str) -> None:
        self.sent.append(name)


def test_a_delivery_that_dies_behind_its_manifest_is_told_by_the_next_try_and_once(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(upscale=False)

    def attempt(run: TaskRun) -> list[str]:
        events = Events()
        run.extra["outlet_events"] = {assets.DELIVERED: events}
        run.attempt()
        return events.sent

    run = TaskRun(
        lambda: KieDeliverReleaseOperator(task_id="release", plan=plan, outlets=[assets.DELIVERED]), ti=TaskInstance()
    )
    with monkeypatch.context() as patch:
        patch.setattr(operator, "of_release", lambda *_, **__: (_ for _ in ()).throw(WorkerCrash))
        with pytest.raises(WorkerCrash):
            attempt(run)
    assert attempt(run.retried()) == ["Single"]
    assert attempt(run.retried().cleared()) == []
    assert attempt(TaskRun(run.make)) == []  # another run finds it as it is
