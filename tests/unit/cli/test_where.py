"""`airflow kie where`: what is known of a song."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_connections import kie_connection
from airflow_database import dag, stored
from airflow_kie.archive.pending import Failure, WaitingFor, Working
from airflow_kie.archive.run_songs import Claim, write_claim
from airflow_kie.client.errors import error_class
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.task import KieTaskOperator
from airflow_task import TaskRun
from cli_songs import COVER, KEYS, NOW, SONG, Songs, run_of
from kie_simulator.server import SimulatorServer


def test_an_archived_song_is_shown_by_its_id(songs: Songs, kie: SimulatorServer) -> None:
    songs.archived(SONG)
    told = songs.where(SONG)
    assert told.code == 0
    assert told.out.splitlines()[:2] == [
        f"Velvet Harbour, music task {SONG}",
        "Archived. All requested files are here, complete and verified.",
    ]
    assert f"file: s3://{songs.bucket.name}/songs/{SONG}/cover-1.png, 7 bytes" in told.out
    assert f"cover tasks: {COVER}" in told.out
    assert "run: music_cover event__7, archived it" in told.out
    assert not kie.control.state()["requests"], "KIE is asked only for what is not known here"


def test_a_cover_that_only_kie_knows_leads_to_its_song(songs: Songs, kie: SimulatorServer) -> None:
    song = kie.control.make_music("Paper Boats")[0].task_id
    from airflow_kie.client.operations.suno import COVER as KIND

    created: Any = KieHook().get_conn().create(KIND, {"taskId": song}, {"taskId": song}, "")
    songs.owed(song)
    assert f"music task {song}" in songs.where(created.task_id).out


@pytest.mark.parametrize("form", ["dedicated", "unified"])
def test_it_is_told_in_which_form_kie_was_asked_for_a_cover(
    songs: Songs, kie: SimulatorServer, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra={"api": ""}))
    song = kie.control.make_music("Paper Boats", form=form)[0].task_id
    cover = TaskRun(lambda: KieTaskOperator(task_id="make", operation="suno.cover", request={"taskId": song})).attempt()
    songs.owed(song)
    assert (
        f"requested in KIE's {form} API variant: {cover}. No recorded cover of either API variant is public"
        in songs.where(song).out
    )


def test_a_song_that_failed_says_why_and_what_to_do(songs: Songs) -> None:
    failure = Failure(reason="out_of_credits", message="The KIE account has too few credits: 0 left", at=NOW)
    songs.owed(SONG, title="Paper Boats", last_failure=failure)
    told = songs.where(SONG)
    assert told.out.splitlines()[1].startswith("Failed. ")
    assert "The KIE account has too few credits (2026-11-22T10:00:00+00:00)" in told.out
    assert "what to do: " in told.out
    assert "cover tasks: none" in told.out


def test_the_runs_of_a_song_are_told_with_their_states(songs: Songs) -> None:
    songs.owed(SONG, working=Working(dag_id="music_cover", run_id="manual__gone"))
    claim = Claim(dag_id="music_cover", run_id="event__9", songs=(SONG,))
    write_claim(songs.bucket, KEYS, "music_cover/event__9/song_list", claim)
    with stored(dag("music_cover"), run_of(SONG, "running")):
        told = songs.where(SONG)
    assert told.out.splitlines()[1].startswith("In progress. ")
    assert "run: music_cover event__9, has taken it" in told.out
    assert "run: music_cover event__1, running" in told.out
    assert "run: music_cover manual__gone, as the pending record says" in told.out


def test_an_id_of_which_nothing_is_known_is_exit_code_1(songs: Songs) -> None:
    assert "neither archived nor pending here" in songs.where("f" * 32).err
    assert songs.where("f" * 32).code == songs.where("not an id").code == 1


def test_an_archive_that_is_not_configured_is_looked_into_by_its_name(songs: Songs, monkeypatch: Any) -> None:
    songs.archived(SONG)
    assert songs.where(SONG, archive=f"s3://{songs.bucket.name}/elsewhere").code == 1
    monkeypatch.delenv("AIRFLOW__KIE__BUCKET")
    assert songs.where(SONG, archive=f"s3://{songs.bucket.name}/songs").code == 0
    unnamed = songs.where(SONG)
    assert unnamed.code == 1
    assert unnamed.err == "No bucket is set in [kie], and no archive was given, such as s3://my-covers/songs.\n"


def test_whether_kie_knows_a_cover_is_not_claimed_where_it_could_not_be_asked(
    songs: Songs, kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "and KIE knows no such cover." in songs.where("f" * 32).err
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, password="a-wrong-key"))
    told = songs.where("f" * 32)
    assert (told.code, "KIE knows no such cover" in told.err, "a-wrong-key" in told.err) == (1, False, False)
    assert "Connection kie_default: KIE refused the API key" in told.err


def test_a_song_in_work_that_waits_for_an_outage_says_so_and_what_to_do(songs: Songs) -> None:
    known = error_class("out_of_credits")
    assert known is not None
    songs.owed(SONG, waiting_for=WaitingFor(reason="out_of_credits", since=NOW))
    assert "Waiting since" not in songs.where(SONG).out  # no run works on it
    with stored(dag("music_cover"), run_of(SONG, "running")):
        line = songs.where(SONG).out.splitlines()[1]
    assert f" UTC: {known.what}. It continues automatically" in line and line.endswith(known.todo)


def test_a_connection_that_does_not_exist_hides_nothing_of_a_song_that_another_one_has_made(
    songs: Songs, kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    songs.archived(SONG)
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_missing,kie_default")
    told = songs.where(SONG)
    assert (told.code, f"cover tasks: {COVER}" in told.out, "run: music_cover event__7" in told.out) == (0, True, True)
    assert "Connection kie_missing: The connection cannot be used" in told.err
