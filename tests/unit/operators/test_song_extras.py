"""Extras of archived songs: each paid for once, in the song's own folder, one failure beside the others."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, TaskGroup
from airflow.sdk.exceptions import AirflowSkipException

from airflow_connections import kie_connection
from airflow_kie.archive.archiver import song_of
from airflow_kie.archive.extras.table import EXTRAS, Take, with_needs
from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.layout import ArchiveKeys, SongKeys
from airflow_kie.archive.manifest import Manifest
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.verify import verify_archive
from airflow_kie.client.catalogue.prices import quote
from airflow_kie.client.errors import KieInvalidRequest, KieSomeFailed, NotArchived
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.ledger import open_ledger, request_named
from airflow_kie.operators.lists import task_list
from airflow_kie.operators.song_extras import KieSongExtraOperator, KieSongExtrasPlanOperator
from airflow_kie.operators.timed_lyrics import KieTimedLyricsOperator
from airflow_kie.task_groups.song_extras import song_extras
from airflow_task import TaskRun
from kie_simulator.server import SimulatorServer
from s3_servers import S3Server

PREFIX = "songs"


@pytest.fixture
def songs(kie: SimulatorServer, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give two songs of two takes that are archived, without files."""
    kie.control.set(task_seconds=0)
    monkeypatch.setattr(task_list, "LINGER_SECONDS", 0.0)
    made = [song.task_id for song in kie.control.make_music("Rain", "Snow")]
    for song in made:
        manifest = song_of(KieHook().wait("suno.music", song), None, "kie_default", None)
        Bucket(s3_server.client(), bucket).put_json(manifest.to_json(), SongKeys(PREFIX, song).manifest)
    return made


def planned(songs: Any, extras: Any, **options: Any) -> dict[str, Any]:
    run = TaskRun(lambda: KieSongExtrasPlanOperator(task_id="plan", songs=songs, extras=extras, **options))
    plan: dict[str, Any] = run.attempt()
    return plan


def run_of(extra: str, plan: Any) -> TaskRun:
    def make() -> BaseOperator:
        if extra == "timed_lyrics":
            return KieTimedLyricsOperator(task_id=extra, plan=plan)
        return KieSongExtraOperator(task_id=extra, extra=extra, plan=plan, deferrable=True, poll_interval=0.05)

    return TaskRun(make)


@pytest.fixture
def stored(s3_server: S3Server, bucket: str) -> Callable[[str], Manifest]:
    def read(song: str) -> Manifest:
        manifest = Manifest.read(Bucket(s3_server.client(), bucket), SongKeys(PREFIX, song))[0]
        assert manifest
        return manifest

    return read


def test_the_price_that_people_read_is_the_catalogues() -> None:
    take = Take("s" * 32, 1, "a" * 36, model="V6", made_from="m" * 32)
    prices = {name: quote(extra.operation, extra.body(take)).high for name, extra in EXTRAS.items()}
    assert prices == {name: extra.credits for name, extra in EXTRAS.items()}


def test_midi_brings_the_cheapest_of_what_it_is_made_from_unless_that_is_asked_for() -> None:
    assert with_needs(["midi", "wav"]) == ("wav", "vocals", "midi")
    assert with_needs(["midi", "stems"]) == ("stems", "midi")


@pytest.mark.parametrize("extra", [name for name, extra in EXTRAS.items() if not extra.adds_to])
def test_an_extra_is_in_the_songs_folder_and_asked_for_again_by_anybody_pays_nothing(
    kie: SimulatorServer,
    s3_server: S3Server,
    bucket: str,
    songs: list[str],
    stored: Callable[[str], Manifest],
    extra: str,
) -> None:
    plan = planned(songs, [extra], take="2")
    for need in [name for name in plan["extras"] if name != extra]:
        run_of(need, plan).attempt()
    run_of(extra, plan).attempt()
    paid, files = kie.control.ledger(), stored(songs[0]).files
    own = [file for file in files if EXTRAS[extra].has(file.kind)]
    assert own and all(file.key.startswith(f"{PREFIX}/{songs[0]}/extras/{file.kind}-") for file in own)
    assert {file.audio_id for file in own} == {stored(songs[0]).tracks[1].audio_id}
    assert {file.position % 100 for file in own} == {2}
    again = run_of(extra, plan)  # another run
    again.attempt()
    assert (kie.control.ledger(), stored(songs[0]).files) == (paid, files)
    assert len([charge for charge in paid if charge["kind"] != "music"]) in (0, 2 * len(plan["extras"]))
    archive = ArchiveKeys(PREFIX)
    assert [song.problems for song in verify_archive(Bucket(s3_server.client(), bucket), archive)] == [(), ()]
    listed = {entry.id: entry for _, entries in segments(s3_server, bucket) for entry in entries}
    assert {file.kind for file in own} <= {file.kind for file in listed[songs[0]].files}


def test_another_cover_is_one_more_of_the_songs_in_each_run_and_the_same_in_a_clear(
    kie: SimulatorServer, songs: list[str], stored: Callable[[str], Manifest]
) -> None:
    plan = planned(songs[0], ["another_cover"])
    first = run_of("another_cover", plan)
    first.attempt()
    first.store.rows.clear()
    first.cleared().attempt()  # whatever the worker has known is lost
    assert len(stored(songs[0]).files) == 1
    run_of("another_cover", plan).attempt()
    covers = stored(songs[0]).files
    assert [(file.kind, file.origin, file.content_type) for file in covers] == [
        ("cover", "another_cover", "image/png")
    ] * 2
    assert all(file.key == f"{PREFIX}/{songs[0]}/cover-{file.position}.png" for file in covers)
    assert {file.position for file in covers} <= set(range(101, 1000))
    prompts = {charge["request"]["input"]["prompt"] for charge in kie.control.ledger() if charge["kind"] != "music"}
    assert len(prompts) == 1 and "for a song called Rain" in prompts.pop()


def segments(s3_server: S3Server, bucket: str) -> Any:
    index = Index(Bucket(s3_server.client(), bucket), ArchiveKeys(PREFIX))
    return index.read_many(sorted(index.segments()))


def test_one_that_fails_stops_no_other_and_only_it_is_asked_for_again(
    kie: SimulatorServer, songs: list[str], stored: Callable[[str], Manifest]
) -> None:
    kie.control.add_fault("create", "code", kind="wav", code=422, msg="no such audio", times=1)
    plan = planned(" ".join(songs), "wav", take="all")
    run = run_of("wav", plan)
    with pytest.raises(KieSomeFailed, match="1 of 4 requests failed"):
        run.attempt()
    assert sorted(len(stored(song).files) for song in songs) == [1, 2]
    run.cleared().attempt()
    assert [len(stored(song).files) for song in songs] == [2, 2]
    assert len(kie.control.ledger("wav")) == 4


def test_lyrics_whose_answer_was_lost_are_in_doubt_and_not_paid_for_again(
    kie: SimulatorServer, songs: list[str], stored: Callable[[str], Manifest]
) -> None:
    kie.control.add_fault("call", "reset_after", times=1)
    run = run_of("timed_lyrics", planned(songs, ["timed_lyrics"]))
    with pytest.raises(KieSomeFailed, match=r"1 of 2 takes failed.*not known whether KIE created a task"):
        run.attempt()
    assert [len(stored(song).files) for song in songs] == [0, 1]
    with pytest.raises(KieSomeFailed, match="1 of 2 takes failed") as refused:
        run.cleared().attempt()
    named = re.search(r"airflow kie release (suno\.timestamped_lyrics/[0-9a-f]{32})", str(refused.value))
    assert named
    hook = KieHook()  # what the command does
    open_ledger(hook, hook.ledger_database()[0]).ledger.record(request_named(named[1], hook), 1, "released", by="ada")
    run.cleared().attempt()
    assert [len(stored(song).files) for song in songs] == [1, 1]


def test_a_plan_names_what_cannot_be_made_before_anything_is_paid(kie: SimulatorServer, songs: list[str]) -> None:
    with pytest.raises(KieInvalidRequest, match="mp3 cannot be made, only wav"):
        planned(songs, ["mp3"])
    with pytest.raises(KieInvalidRequest, match="has no songs"):
        planned([], ["wav"])
    with pytest.raises(KieInvalidRequest, match="has no extras"):
        planned(songs, [])
    with pytest.raises(NotArchived, match="0123456789abcdef"):
        planned([*songs, "0123456789abcdef0123456789abcdef"], ["wav"])
    with pytest.raises(KieInvalidRequest, match=r"has no take \[3\], only \[1, 2\]"):
        planned(songs, ["wav"], take="3")
    assert [take["position"] for take in planned(songs, ["wav"])["takes"]] == [1, 1]
    with pytest.raises(AirflowSkipException):
        run_of("video", planned(songs, ["wav"])).attempt()
    event = TaskRun(
        lambda: KieSongExtrasPlanOperator(task_id="plan", extras=["wav"]), extra={"partition_key": songs[1]}
    )
    assert [take["song"] for take in event.attempt()["takes"]] == [songs[1]]
    theirs = TaskRun(
        lambda: KieSongExtrasPlanOperator(task_id="plan", songs=songs[0], extras=["wav"]),
        extra={"partition_key": "2026-11-30"},  # of somebody's own asset
    )
    assert [take["song"] for take in theirs.attempt()["takes"]] == [songs[0]]
    assert asdict(Take(**planned(songs, ["wav"])["takes"][0]))["song"] == songs[0]


def test_extras_are_made_with_the_account_that_has_made_the_songs(
    kie: SimulatorServer, s3_server: S3Server, bucket: str, songs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_default,kie_b")
    monkeypatch.setenv("AIRFLOW_CONN_KIE_B", kie_connection(kie))
    keys, files = SongKeys(PREFIX, songs[1]), Bucket(s3_server.client(), bucket)
    files.put_json({**files.get_json(keys.manifest), "kie_conn_id": "kie_b"}, keys.manifest)
    assert [planned(song, ["wav"])["kie_conn_id"] for song in songs] == ["kie_default", "kie_b"]
    with pytest.raises(KieInvalidRequest, match="with the accounts of kie_b, kie_default: make the extras of each"):
        planned(songs, ["wav"])
    assert planned(songs, ["wav"], kie_conn_id="kie_b")["kie_conn_id"] == "kie_b"
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_default")
    assert planned(songs, ["wav"])["kie_conn_id"] == "kie_default"


def test_every_task_of_a_group_takes_the_account_of_the_plan() -> None:
    with DAG("extras") as dag, TaskGroup("inner"):
        song_extras(["a"], extras=["wav"])
    for one in dag.tasks:
        if one.task_id != "inner.plan":
            text = dag.get_template_env().from_string(one.kie_conn_id)
            for found, account in (({"kie_conn_id": "kie_b"}, "kie_b"), (None, "kie_default"), ({}, "kie_default")):
                ti = SimpleNamespace(xcom_pull={"inner.plan": found}.__getitem__)
                assert text.render(ti=ti) == account
