"""`airflow kie where`, `verify`, `redrive` and `forget` with the id of a Veo task, a market image, a song's extra."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_database import dag, stored
from airflow_kie.archive import unarchived
from airflow_kie.archive.archiver import song_of
from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3AccessDenied
from airflow_kie.archive.unarchived import list_unarchived, unarchived_of
from airflow_kie.cli.verify import verify
from airflow_kie.hooks.kie import KieHook
from airflow_kie.monitoring.unarchived import expiring
from airflow_kie.operators.lists import song_extras, task_list
from airflow_kie.operators.song_extras import KieSongExtraOperator, KieSongExtrasPlanOperator
from airflow_kie.operators.suno import KieGenerateMusicOperator
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.transfers.results_to_s3 import KieResultsToS3Operator
from airflow_task import StoredFiles, TaskInstance, TaskRun, WorkerCrash
from cli_songs import KEYS, Songs, run_of
from kie_simulator.server import SimulatorServer
from paid_requests import dying_at

REQUESTS: dict[str, dict[str, Any]] = {
    "veo.generate": {"prompt": "a fox", "model": "veo3_fast"},
    "market": {"model": "z-image", "input": {"prompt": "a fox", "aspect_ratio": "1:1"}},
}


@pytest.fixture(autouse=True)
def at_once(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    kie.control.set(task_seconds=0)
    monkeypatch.setattr(task_list, "LINGER_SECONDS", 0.0)


def run_for(operation: str, request: dict[str, Any] | None = None, **options: Any) -> TaskRun:
    known = {"operation": operation, "request": request or REQUESTS.get(operation), "poll_interval": 0.05}
    make = lambda: KieTaskOperator(task_id="make", deferrable=False, **known | options)  # noqa: E731
    return TaskRun(make, ti=TaskInstance(dag_id="films", run_id="monday", map_index=-1))


def owed(songs: Songs) -> set[tuple[str, str]]:
    return {(one.operation, one.task_id) for one in list_unarchived(songs.bucket, KEYS)}


@pytest.mark.parametrize("operation", REQUESTS)
def test_what_is_paid_is_pending_until_it_is_archived_by_its_dag_or_by_redrive(
    kie: SimulatorServer, songs: Songs, operation: str
) -> None:
    by_dag, by_hand = (str(run_for(operation, idempotency_key=key).attempt()) for key in ("a", "b"))
    assert owed(songs) == {(operation, by_dag), (operation, by_hand)}
    place = {"operation": operation, "kie_task_id": by_dag, "bucket": songs.bucket.name, "prefix": "songs"}
    TaskRun(lambda: KieResultsToS3Operator(task_id="archive", **place)).attempt()
    assert owed(songs) == {(operation, by_hand)}

    told = songs.where(by_hand)
    assert f"KIE task {by_hand} ({operation}): paid but not archived. KIE deletes its results by 20" in told.out
    assert "requested by: DAG films, run monday, task make" in told.out
    assert "is paid but not archived" in songs.delete(by_hand, yes=True).err
    with stored(dag("films"), films_run("running")):
        assert "run monday of films is working on it" in songs.redrive(id=by_hand).err
    assert "Nothing was done (--dry-run)." in songs.redrive(id=by_hand, dry_run=True).out
    assert owed(songs) == {(operation, by_hand)}
    told = songs.redrive(id=by_hand)
    assert (told.code, f"songs/_tasks/{operation}/{by_hand}/" in told.out) == (0, True)
    assert not owed(songs)
    assert len(kie.control.ledger()) == 2

    for made in (by_dag, by_hand):
        told = songs.where(made)
        assert f"KIE task {made} ({operation}): Archived." in told.out
        assert "credits used: " in told.out
        assert verified(songs, made) == 0
    (file,) = [key.key for key in songs.bucket.list(KEYS.task(operation, by_dag).folder) if "manifest" not in key.key]
    songs.bucket.put_bytes(b"cut", file, content_type="image/png")
    assert (verified(songs, by_dag), verified(songs, by_hand), verified(songs, "0" * 32)) == (1, 0, 2)


def films_run(state: str) -> Any:
    run = run_of("", state, "monday")
    run.dag_id = "films"
    return run


def verified(songs: Songs, task_id: str) -> int:
    """Return the exit code of `airflow kie verify` with an id."""
    with pytest.raises(SystemExit) as ended:
        verify(Namespace(archive=task_id, since=None, fast=False, json=False))
    songs.capsys.readouterr()
    return int(str(ended.value.code))


def test_an_extra_is_pending_until_it_is_in_its_songs_folder_and_its_id_leads_there(
    kie: SimulatorServer, songs: Songs, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = kie.control.make_music("Rain")[0].task_id
    manifest = song_of(KieHook().wait("suno.music", song), None, "kie_default", None)
    songs.bucket.put_json(manifest.to_json(), KEYS.song(song).manifest)
    plan = TaskRun(lambda: KieSongExtrasPlanOperator(task_id="plan", songs=[song], extras=["wav"])).attempt()
    run = TaskRun(lambda: KieSongExtraOperator(task_id="wav", extra="wav", plan=plan, deferrable=False))

    def dies(*_: Any) -> None:
        raise WorkerCrash

    with monkeypatch.context() as dying:
        dying.setattr(song_extras, "store_extra", dies)
        with pytest.raises(WorkerCrash):
            run.attempt()
    (charge,) = kie.control.ledger("wav")
    wav = str(charge["task_id"])
    assert owed(songs) == {("suno.wav", wav)}
    assert f"KIE task {wav} (suno.wav): paid but not archived." in songs.where(wav).out
    run.retried().attempt()
    assert not owed(songs)
    told = songs.where(wav)
    assert f"KIE task {wav} made a part of song {song}:" in told.out
    assert f"/{song}/extras/wav-1.wav" in told.out
    assert verified(songs, wav) == 0


def test_a_worker_that_dies_before_it_has_recorded_a_task_has_it_recorded_by_the_next_try(
    kie: SimulatorServer, songs: Songs
) -> None:
    run = run_for("market", wait_for_completion=False)
    with dying_at("after task"), pytest.raises(WorkerCrash):
        run.attempt()
    assert not owed(songs)
    made = run.retried().attempt()
    assert owed(songs) == {("market", made)}


def test_songs_have_their_own_pending_record_and_what_is_free_has_none(kie: SimulatorServer, songs: Songs) -> None:
    music = {"prompt": "rain", "bucket": songs.bucket.name, "prefix": "songs", "deferrable": False}
    song = TaskRun(lambda: KieGenerateMusicOperator(task_id="m", poll_interval=0.05, **music)).attempt()
    run_for("suno.cover", {"taskId": song}).attempt()
    assert not owed(songs)


def test_nothing_is_recorded_where_that_is_switched_off(songs: Songs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__RECORD_UNARCHIVED", "False")
    run_for("market").attempt()
    assert not owed(songs)


def test_a_list_with_an_archive_leaves_no_record_and_one_without_leaves_all(songs: Songs, archive: StoredFiles) -> None:
    rows = [{"input": {"prompt": text, "aspect_ratio": "1:1"}} for text in ("rain", "snow")]
    base = {"model": "z-image"}
    to = f"s3://{songs.bucket.name}/media"
    run_for("market", base, requests=rows, to=to).attempt()
    assert not owed(songs)
    items = run_for("market", base, requests=rows, idempotency_key="again").attempt()
    assert {task_id for _, task_id in owed(songs)} == {item["task_id"] for item in items}


def test_forget_ends_the_alerts_about_a_task(songs: Songs) -> None:
    made = run_for("market").attempt()
    told = songs.forget(made)
    assert (told.code, "is paid but not archived. It stays in the ledger." in told.out) == (0, True)
    assert not owed(songs)


def test_before_kie_deletes_results_they_are_named_unless_archived_failed_or_gone_long_ago(
    kie: SimulatorServer, songs: Songs, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = str(run_for("veo.generate").attempt())
    now = datetime.now(UTC)

    def names(days: float) -> list[str]:
        then = now + timedelta(days=days)
        return [one.task_id for one in expiring(songs.bucket, KEYS, "aws_default", then, timedelta(days=3))]

    assert names(10) == []
    assert names(12) == [made]
    with monkeypatch.context() as shorter:
        shorter.setattr(unarchived, "kept_for", lambda operation: timedelta(days=2))
        assert names(0) == [made]  # by the operation's own retention
    (one,) = unarchived_of(songs.bucket, KEYS, made)
    place = {"operation": "veo.generate", "kie_task_id": made, "bucket": songs.bucket.name, "prefix": "songs"}
    TaskRun(lambda: KieResultsToS3Operator(task_id="archive", **place)).attempt()
    one.write(songs.bucket, KEYS)  # the archiver died before it had deleted the record
    assert names(12) == []
    assert not owed(songs)
    kie.control.add_fault("task", "fail", times=1)
    failed = str(run_for("veo.generate", wait_for_completion=False, idempotency_key="fails").attempt())
    assert owed(songs) == {("veo.generate", failed)}
    assert names(12) == []
    assert not owed(songs)
    one.changed(task_id="gone").write(songs.bucket, KEYS)
    assert names(14.5) == ["gone"]
    assert names(15.5) == []
    assert not owed(songs)


def test_redrive_leaves_a_task_pending_until_its_results_are_listed_in_the_index(
    kie: SimulatorServer, songs: Songs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Index, entries: object) -> None:
        raise S3AccessDenied("PutObject on bucket b, key k: AccessDenied")

    made = str(run_for("veo.generate").attempt())
    with monkeypatch.context() as patched:
        patched.setattr(Index, "add", refuse)
        assert songs.redrive(id=made).code == 1
    assert owed(songs) == {("veo.generate", made)}
    assert songs.redrive(id=made).code == 0
    assert not owed(songs)
    index = Index(songs.bucket, KEYS)
    assert [entry.id for _, lines in index.read_many(index.segments()) for entry in lines] == [made]


def test_results_that_go_to_a_bucket_which_cannot_be_read_are_named_and_hide_no_others(
    kie: SimulatorServer, songs: Songs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def head(bucket: Bucket, key: str) -> Any:
        if bucket.name == "elsewhere":  # it is another connection's
            raise S3AccessDenied(f"HeadObject on bucket {bucket.name}, key {key}: AccessDenied")
        return real(bucket, key)

    real = Bucket.head
    monkeypatch.setattr(Bucket, "head", head)
    made = [str(run_for("veo.generate", idempotency_key=key).attempt()) for key in ("a", "b")]
    (one,) = unarchived_of(songs.bucket, KEYS, made[0])
    one.changed(to="s3://elsewhere/made").write(songs.bucket, KEYS)
    then = datetime.now(UTC) + timedelta(days=12)
    named = expiring(songs.bucket, KEYS, "aws_default", then, timedelta(days=3))
    assert {one.task_id for one in named} == set(made)
