"""What a run may spend: its cap and the balance are weighed before a song is noted, and before anything is paid."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_kie.archive.inbox.song_request import SongsRefused
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.client.errors import KieOutOfCredits
from airflow_kie.hooks.archive import open_bucket
from airflow_kie.operators import spending_preflight
from airflow_kie.operators.song_list import KieSongListOperator
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_task import StoredFiles, TaskRun
from kie_simulator.server import SimulatorServer

A, B, C = "a" * 32, "b" * 32, "c" * 32


def listed(extra: dict[str, Any] | None = None, **asked: Any) -> list[str]:
    """Run the task and return the songs that are to be worked on."""
    run = TaskRun(lambda: KieSongListOperator(task_id="song_list", **asked), extra=extra or {})
    return [song["music_task_id"] for song in run.execute()]


def noted(bucket: str, song: str, **known: Any) -> None:
    """Write a song's pending record."""
    SongArchive(open_bucket("aws_default", bucket), ArchiveKeys("songs").song(song)).update_pending(
        received_from="event", **known
    )


@pytest.fixture(autouse=True)
def five_credits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give covers a price: by KIE's list of October 2026 they are free."""
    monkeypatch.setattr(spending_preflight, "cover_price", lambda: 5.0)


@pytest.mark.parametrize("cap", [0, 9.5, "5"])
def test_a_run_over_its_cap_is_refused_and_leaves_nothing_that_the_sweep_would_start(
    kie: SimulatorServer, archive: StoredFiles, cap: int | str
) -> None:
    with pytest.raises(SongsRefused, match=f"would make 2 covers for 10 credits, but its cap max_credits is {cap}"):
        listed(music_task_ids=[A, B], max_credits=cap)
    assert [key for key in archive.listed() if "_pending/" in key] == []
    assert kie.control.ledger() == []


@pytest.mark.parametrize("cap", ["ten", "nan", "1,000"])
def test_a_cap_that_is_not_a_number_refuses_the_run_with_a_sentence(
    kie: SimulatorServer, bucket: str, cap: str
) -> None:
    with pytest.raises(SongsRefused, match=f"cap max_credits is '{cap}', which is not a number of credits"):
        listed(music_task_ids=[A, B], max_credits=cap)


def test_a_cover_that_a_song_has_already_does_not_count_against_the_cap(kie: SimulatorServer, bucket: str) -> None:
    song = kie.control.make_music("Velvet Harbour")[0].task_id
    options = {"music_task_id": song, "deferrable": False, "poll_interval": 0.05}
    known = TaskRun(lambda: KieGenerateCoverOperator(task_id="generate_cover", **options)).attempt()
    adopted = [{"music_task_id": song, "cover_task_id": known}]
    assert listed(music_task_ids=[A], songs=adopted, max_credits=5) == [A, song]
    with pytest.raises(SongsRefused, match="would make 2 covers"):
        listed(music_task_ids=[A], songs=[{"music_task_id": C, "cover_task_id": known}], max_credits=5)
    with pytest.raises(SongsRefused, match="would make 1 cover"):
        listed(music_task_ids=[A], songs=adopted, max_credits=0)


@pytest.mark.parametrize("cap", [None, "", 10])
def test_a_run_within_its_cap_or_without_one_goes_on(kie: SimulatorServer, bucket: str, cap: Any) -> None:
    assert listed(music_task_ids=[A, B], max_credits=cap) == [A, B]


def test_a_cap_that_is_misspelt_in_a_runs_conf_is_refused_not_left_out(kie: SimulatorServer, bucket: str) -> None:
    run, dag = SimpleNamespace(conf={"max_credit": 0}), SimpleNamespace(params={"max_credits": None})
    with pytest.raises(SongsRefused, match="This DAG has no field 'max_credit'; is 'max_credits' meant"):
        listed({"dag_run": run, "dag": dag}, music_task_ids=[A])
    assert listed({"dag_run": SimpleNamespace(conf=None), "dag": dag}, music_task_ids=[A]) == [A]


def test_an_events_song_that_is_over_the_cap_waits_for_a_person(kie: SimulatorServer, bucket: str) -> None:
    noted(bucket, A)
    event = {
        "partition_key": A,
        "triggering_asset_events": {"kie://api.kie.ai/suno/music": [SimpleNamespace(extra={})]},
    }
    with pytest.raises(SongsRefused):
        listed(event, max_credits=0)
    pending = SongArchive(open_bucket("aws_default", bucket), ArchiveKeys("songs").song(A)).pending()
    assert pending is not None
    assert pending.last_failure is not None
    assert pending.last_failure.reason == SongsRefused.reason


@pytest.mark.parametrize(("credits", "price"), [(0, 0.0), (19.5, 10.0)])
def test_a_balance_that_does_not_cover_the_run_stops_it_before_anything_is_paid(
    kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch, credits: float, price: float
) -> None:
    monkeypatch.setattr(spending_preflight, "cover_price", lambda: price)
    kie.control.set_credits(credits)
    with pytest.raises(KieOutOfCredits, match=rf"connection kie_default has {credits:g} credits left"):
        TaskRun(
            lambda: KieSongListOperator(task_id="song_list", music_task_ids=[A, B]), extra={"run_type": "manual"}
        ).execute()
    assert kie.control.ledger() == []


def test_a_balance_that_covers_the_run_stops_nothing(kie: SimulatorServer, bucket: str) -> None:
    kie.control.set_credits(10)
    assert listed(music_task_ids=[A, B]) == [A, B]
