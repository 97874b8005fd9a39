"""Credits of a song: what KIE reports for its tasks, and nothing that was guessed."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_kie.archive.archiver import song_of
from airflow_kie.archive.manifest import CreditsRecord, Manifest, credits_of
from airflow_kie.client.answers.reading import task_details
from airflow_kie.client.operations.suno import COVER, MUSIC
from airflow_kie.durable.xcom import result_of
from airflow_kie.operators.report import KieSongReportOperator
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_kie.transfers.kie_to_s3 import KieCoverToS3Operator
from airflow_task import StoredFiles, TaskRun
from kie_answers import COVER_ID, MUSIC_ID, cover_data, music_data, track_data
from kie_simulator.server import SimulatorServer


def reported(**fields: Any) -> list[float | None]:
    """Return what the manifest says of song and cover, if the cover's details have these fields."""
    music = task_details(MUSIC, MUSIC_ID, music_data("SUCCESS", [track_data()]))
    cover = task_details(COVER, COVER_ID, cover_data(1, ["https://h.example/1.png"], **fields))
    used = song_of(music, cover, "kie_default", None).credits_used
    assert [(record.task_id, record.kind) for record in used] == [(MUSIC_ID, "music"), (COVER_ID, "cover")]
    return [record.credits for record in used]


def used(**credits: float | None) -> tuple[CreditsRecord, ...]:
    return tuple(CreditsRecord(task_id=name, kind="cover", credits=amount) for name, amount in credits.items())


def manifest(**credits: float | None) -> Manifest:
    times = {"created_at": "2026-11-22T00:00:00Z", "updated_at": "2026-11-22T00:00:00Z"}
    return Manifest.model_validate({"music_task_id": MUSIC_ID, "credits_used": used(**credits), **times})


@pytest.mark.parametrize("field", ["creditsConsumed", "consumeCredits"])
def test_what_kie_reports_is_kept_for_the_task_it_reports_it_for(field: str) -> None:
    assert reported(**{field: 12}) == [None, 12.0]


@pytest.mark.parametrize("nonsense", [None, "12", True, -1, float("nan"), float("inf"), [12]])
def test_what_is_no_amount_is_not_reported(nonsense: Any) -> None:
    assert reported(creditsConsumed=nonsense) == [None, None]


@pytest.mark.parametrize(
    ("credits", "total"),
    [({"a": 5.0, "b": 7.5}, 12.5), ({"a": 0.0}, 0.0), ({"a": 5.0, "b": None}, None), ({"a": None}, None), ({}, None)],
)
def test_a_song_has_a_total_only_if_kie_reports_all_of_its_tasks(
    credits: dict[str, float | None], total: float | None
) -> None:
    assert manifest(**credits).credits == total
    assert result_of("b", "k", manifest(**credits), changed=True)["credits"] == total


def test_an_amount_stays_when_kie_reports_none_later_and_gives_way_to_a_newer_one() -> None:
    assert credits_of(used(a=5.0, b=None), used(a=None, b=3.0, c=None)) == used(a=5.0, b=3.0, c=None)
    assert credits_of(used(a=5.0), used(a=6.0)) == used(a=6.0)


@pytest.mark.parametrize(("credits", "told"), [(12.5, True), (None, False)])
def test_the_report_tells_credits_where_they_are_known(
    credits: float | None, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    song = {"music_task_id": MUSIC_ID, "title": "Rain", "files": [], "credits": credits}
    run = TaskRun(lambda: KieSongReportOperator(task_id="report", songs=[song], list_task_id="l", chain_task_ids=["a"]))
    run.ti.pulls = {("a", "return_value"): [song]}
    assert run.execute()[0]["credits"] == credits
    assert ("12.5 credits" in capsys.readouterr().out) is told


def test_a_suno_cover_whose_credits_kie_does_not_report_is_archived_with_null(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    music = kie.control.make_music("Velvet Harbour")[0].task_id
    place: dict[str, Any] = {"music_task_id": music, "bucket": archive.bucket, "prefix": "songs"}
    cover = TaskRun(
        lambda: KieGenerateCoverOperator(task_id="g", deferrable=False, poll_interval=0.05, **place)
    ).attempt()
    result = TaskRun(lambda: KieCoverToS3Operator(task_id="a", cover_task_id=cover, **place)).attempt()
    assert result["credits"] is None
    assert archive.json(result["manifest_key"])["credits_used"] == [
        {"task_id": music, "kind": "music", "credits": None},
        {"task_id": cover, "kind": "cover", "credits": None},
    ]
