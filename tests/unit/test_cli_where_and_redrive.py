"""`airflow kie where` and `airflow kie redrive`: what is known of a song, and starting again what nobody works on."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError

from airflow_connections import kie_connection
from airflow_database import dag, make_tables, stored
from airflow_kie import song_archive
from airflow_kie.archive.bucket import Bucket
from airflow_kie.archive.keys import ArchiveKeys
from airflow_kie.archive.manifest import AirflowRecord, FileRecord, Manifest, SongRecord, write_manifest
from airflow_kie.archive.pending import Failure, Working
from airflow_kie.assets import MUSIC
from airflow_kie.cli import redrive, where
from airflow_kie.song_archive import SongArchive
from kie_simulator.server import SimulatorServer
from s3_servers import S3Server

KEYS = ArchiveKeys("songs")
SONG, OTHER, THIRD = (f"{number:032x}" for number in range(1, 4))
COVER = "c0ffee00" * 4
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Ran:
    """What a command printed, and its exit code."""

    code: Any
    out: str
    err: str


@dataclass(frozen=True)
class Songs:
    """The bucket's songs, and the two commands."""

    bucket: Bucket
    capsys: pytest.CaptureFixture[str]

    def owed(self, music_task_id: str, **known: Any) -> None:
        SongArchive(self.bucket, KEYS.song(music_task_id)).note(heard_from="event", **known)

    def archived(self, music_task_id: str) -> None:
        own = KEYS.song(music_task_id)
        file = FileRecord(
            key=own.cover(1, "png"), kind="cover", position=1, size=7, sha256="0" * 64, content_type="image/png",
            archived_at=NOW,
        )  # fmt: skip
        manifest = Manifest(
            music_task_id=music_task_id, cover_task_ids=(COVER,), files=(file,),
            song=SongRecord(title="Velvet Harbour"), airflow=AirflowRecord(dag_id="music_cover", run_id="event__7"),
            created_at=NOW, updated_at=NOW,
        )  # fmt: skip
        write_manifest(self.bucket, own, manifest)

    def where(self, task_id: str, archive: str | None = None) -> Ran:
        return self._run(where.command, id=task_id, archive=archive)

    def redrive(self, **options: Any) -> Ran:
        defaults = {"reason": None, "since": None, "dry_run": False, "yes": True}
        return self._run(redrive.command, **defaults | options)

    def _run(self, command: Callable[[Namespace], None], **arguments: Any) -> Ran:
        with pytest.raises(SystemExit) as ended:
            command(Namespace(**arguments))
        printed = self.capsys.readouterr()
        return Ran(ended.value.code, printed.out, printed.err)


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands change how this process looks connections up, for one test."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")


@pytest.fixture
def songs(
    kie: SimulatorServer, bucket: str, s3_server: S3Server, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> Songs:
    opened = Bucket(s3_server.client(), bucket)
    for module in (song_archive, where, redrive):
        monkeypatch.setattr(module, "open_bucket", lambda *_: opened)  # a new S3 client takes a second
    return Songs(opened, capsys)


@pytest.fixture(scope="module", autouse=True)
def tables() -> None:
    make_tables()


@pytest.fixture
def asset() -> Iterator[None]:
    """The asset that music_cover waits for, as a DAG has declared it, and music_cover."""
    from airflow.models.asset import DagScheduleAssetReference

    with stored(declared(), dag("music_cover"), DagScheduleAssetReference(asset_id=7, dag_id="music_cover")):
        yield


def declared() -> Any:
    from airflow.models.asset import AssetModel

    return AssetModel(id=7, name=MUSIC.name, uri=MUSIC.uri, group="asset")


def run_of(music_task_id: str, state: str, run_id: str = "event__1") -> Any:
    from airflow.models.dagrun import DagRun
    from airflow.utils.types import DagRunType

    return DagRun(
        dag_id="music_cover", run_id=run_id, run_type=DagRunType.ASSET_TRIGGERED, state=state,
        partition_key=music_task_id,
    )  # fmt: skip


def events() -> list[tuple[str, Any]]:
    """Return partition and extra of the events that were sent."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return [(event.partition_key, event.extra) for event in session.scalars(select(AssetEvent))]


@pytest.fixture(autouse=True)
def no_events() -> Iterator[None]:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    yield
    with create_session() as session:
        session.execute(delete(AssetEvent))


# --- where ---


@pytest.mark.parametrize("task_id", [SONG, COVER])
def test_an_archived_song_is_told_by_its_id_or_by_its_covers(songs: Songs, kie: SimulatorServer, task_id: str) -> None:
    songs.archived(SONG)
    if task_id == COVER:
        songs.owed(SONG, cover_task_ids=(COVER,))
    told = songs.where(task_id)
    assert told.code == 0
    assert told.out.splitlines()[:2] == [
        f"Velvet Harbour, music task {SONG}",
        "Archived. Everything that was asked for is here, whole and checked.",
    ]
    assert f"file: s3://{songs.bucket.name}/songs/{SONG}/cover-1.png, 7 bytes" in told.out
    assert f"paid cover tasks: {COVER}" in told.out
    assert "run: music_cover event__7, archived it" in told.out
    assert bool(kie.control.state()["requests"]) is (task_id == COVER), "KIE is asked only for what is not known here"


def test_a_cover_that_only_kie_knows_leads_to_its_song(songs: Songs, kie: SimulatorServer) -> None:
    song = kie.control.make_music("Paper Boats")[0].task_id
    from airflow_kie.client.registry import COVER as KIND
    from airflow_kie.hooks.kie import KieHook

    created: Any = KieHook().get_conn().create(KIND, {"taskId": song}, {"taskId": song}, "")
    songs.owed(song)
    assert f"music task {song}" in songs.where(created.task_id).out


def test_a_song_that_failed_says_why_and_what_to_do(songs: Songs) -> None:
    failure = Failure(reason="out_of_credits", message="The KIE account has too few credits: 0 left", at=NOW)
    songs.owed(SONG, title="Paper Boats", last_failure=failure)
    told = songs.where(SONG)
    assert told.out.splitlines()[1].startswith("Failed. ")
    assert "The KIE account has too few credits (2026-11-22T10:00:00+00:00)" in told.out
    assert "what to do: " in told.out
    assert "paid cover tasks: none" in told.out


def test_the_runs_of_a_song_are_told_with_their_states(songs: Songs) -> None:
    songs.owed(SONG, working=Working(dag_id="music_cover", run_id="manual__gone"))
    with stored(dag("music_cover"), run_of(SONG, "running")):
        told = songs.where(SONG)
    assert told.out.splitlines()[1].startswith("In work. ")
    assert "run: music_cover event__1, running" in told.out
    assert "run: music_cover manual__gone, as the pending record says" in told.out


def test_an_id_of_which_nothing_is_known_is_exit_code_1(songs: Songs) -> None:
    assert "neither archived nor owed here" in songs.where("f" * 32).err
    assert songs.where("f" * 32).code == songs.where("not an id").code == 1


def test_an_archive_that_is_not_configured_is_looked_into_by_its_name(songs: Songs, monkeypatch: Any) -> None:
    songs.archived(SONG)
    assert songs.where(SONG, archive=f"s3://{songs.bucket.name}/elsewhere").code == 1
    monkeypatch.delenv("AIRFLOW__KIE__BUCKET")
    assert songs.where(SONG, archive=f"s3://{songs.bucket.name}/songs").code == 0
    unnamed = songs.where(SONG)
    assert unnamed.code == 1
    assert unnamed.err == "No bucket is set in [kie]: name the archive, such as s3://my-covers/songs.\n"


def test_whether_kie_knows_a_cover_is_not_claimed_where_it_could_not_be_asked(
    songs: Songs, kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "and KIE knows no such cover." in songs.where("f" * 32).err
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, password="a-wrong-key"))
    told = songs.where("f" * 32)
    assert (told.code, "KIE knows no such cover" in told.err, "a-wrong-key" in told.err) == (1, False, False)
    assert "Connection kie_default: KIE refused the API key" in told.err


# --- redrive ---


@pytest.mark.usefixtures("asset")
def test_every_owed_song_gets_its_event_and_a_second_call_sends_none(songs: Songs, monkeypatch: Any) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__CREDITS_PER_COVER", "4")
    songs.owed(SONG, kie_conn_id="kie_default")
    songs.owed(OTHER, cover_task_ids=(COVER,))
    first = songs.redrive()
    assert first.code == 0
    assert "Two songs to start. At most one cover will be paid for (4 credits); one is paid for already." in first.out
    assert events() == [
        (SONG, {"music_task_id": SONG, "kie_conn_id": "kie_default", "heard_from": "inbox"}),
        (OTHER, {"music_task_id": OTHER, "heard_from": "inbox"}),
    ]
    again = songs.redrive()
    assert (again.code, "Nothing is to be started again." in again.out) == (0, True)
    assert "left, its run is about to start" in again.out
    assert len(events()) == 2


@pytest.mark.usefixtures("asset")
def test_a_song_that_a_run_works_on_is_left_alone(songs: Songs) -> None:
    songs.owed(SONG)
    songs.owed(OTHER, working=Working(dag_id="music_cover", run_id="manual__1"))
    songs.owed(THIRD, working=Working(dag_id="music_cover", run_id="manual__2"))
    with stored(
        run_of(SONG, "queued"),
        run_of("", "running", "manual__1"),
        run_of("", "failed", "manual__2"),
    ):
        told = songs.redrive(dry_run=True)
    assert f"left, run event__1 of music_cover works on it: {SONG}" in told.out
    assert f"left, run manual__1 of music_cover works on it: {OTHER}" in told.out
    assert f"start: {THIRD}" in told.out
    assert events() == []


def test_reason_and_date_choose_songs(songs: Songs) -> None:
    for song, reason, age in ((SONG, "s3_access_denied", 1), (OTHER, "s3_access_denied", 30), (THIRD, "timeout", 1)):
        at = datetime.now(UTC) - timedelta(days=age)
        songs.owed(song, last_failure=Failure(reason=reason, message="x", at=at))
    since = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    chosen = songs.redrive(dry_run=True, reason="s3_access_denied", since=since).out
    assert (SONG in chosen, OTHER in chosen, THIRD in chosen) == (True, False, False)
    assert songs.redrive(since="last week").code == 1


@pytest.mark.usefixtures("asset")
def test_a_damaged_record_is_told_of_and_holds_up_no_other_song(songs: Songs, caplog: Any) -> None:
    songs.owed(SONG)
    songs.bucket.put_bytes(b"{", KEYS.song(OTHER).pending, content_type="application/json")
    told = songs.redrive(dry_run=True)
    assert (told.code, SONG in told.out, OTHER in caplog.text) == (0, True, True)


@pytest.mark.usefixtures("asset")
def test_a_bucket_that_lists_and_does_not_read_is_no_bucket_that_owes_nothing(songs: Songs, monkeypatch: Any) -> None:
    songs.owed(SONG)
    refused = ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject")
    monkeypatch.setattr(songs.bucket.client, "get_object", Mock(side_effect=refused))
    told = songs.redrive()
    assert (told.code, "S3 denied the access" in told.err) == (1, True)


@pytest.mark.usefixtures("asset")
def test_nothing_is_sent_to_a_paused_dag_nor_without_an_agreement(songs: Songs) -> None:
    songs.owed(SONG)
    pause(True)
    paused = songs.redrive()
    pause(False)
    assert (paused.code, "is paused" in paused.err) == (1, True)
    assert songs.redrive(yes=False).code == 1
    assert events() == []


def pause(paused: bool) -> None:
    from airflow.utils.session import create_session

    with create_session() as session:
        session.merge(dag("music_cover", paused=paused))


@pytest.mark.parametrize("known", [False, True], ids=["no asset", "an asset that another DAG sends events for"])
def test_without_a_dag_that_waits_for_songs_it_says_so_and_hands_nothing_on(songs: Songs, known: bool) -> None:
    songs.owed(SONG)
    with stored(*([declared()] if known else [])):
        told = songs.redrive()
        assert (told.code, "No DAG here waits for" in told.err) == (1, True)
        assert events() == []


@pytest.mark.usefixtures("asset")
def test_what_has_changed_while_a_person_read_the_list_is_left_alone(
    songs: Songs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for song in (SONG, OTHER, THIRD):
        songs.owed(song)
    run = run_of(OTHER, "running")

    def answer(question: str, *, yes: bool) -> bool:
        SongArchive(songs.bucket, KEYS.song(SONG)).drop_pending()  # it is archived now
        working.enter_context(stored(run))
        return True

    monkeypatch.setattr(redrive, "agreed", answer)
    with ExitStack() as working:
        told = songs.redrive()
    assert told.code == 0
    assert [song for song, _ in events()] == [THIRD]
    assert songs.bucket.head(KEYS.song(SONG).pending) is None
    assert f"left, nothing of it is owed any more: {SONG}" in told.out
    assert f"left, run event__1 of music_cover works on it: {OTHER}" in told.out
    assert "One song handed on; a run of music_cover follows for each." in told.out


def test_an_empty_date_or_reason_chooses_no_song(songs: Songs) -> None:
    songs.owed(SONG)
    assert songs.redrive(since="").code == 1
    assert SONG not in songs.redrive(reason="").out
    assert SONG in songs.redrive(reason="never failed", dry_run=True).out


def failed(songs: Songs, *reasons: str) -> None:
    for number, reason in enumerate(reasons, start=1):
        songs.owed(f"{number:032x}", last_failure=Failure(reason=reason, message="x", at=NOW))
    songs.owed(f"{len(reasons) + 1:032x}")


@pytest.mark.parametrize("typed", ["out_of_credit", "Out_of_credits", "no such thing", ""])
def test_a_reason_that_there_is_not_is_exit_code_1_and_the_reasons_that_songs_have_are_named(
    songs: Songs, typed: str
) -> None:
    failed(songs, "out_of_credits", "timeout", "timeout")
    told = songs.redrive(reason=typed)
    assert (told.code, told.out) == (1, "")
    assert told.err == (
        f"There is no reason {typed!r}: docs/on-call.md has them all. "
        "Songs that are owed something have now: timeout (2), never failed (1), out_of_credits (1).\n"
    )


@pytest.mark.parametrize("reason", ["content_rejected", "s3_access_denied", "AirflowTaskTimeout"])
def test_a_reason_that_no_song_has_is_exit_code_0_and_the_reasons_that_songs_have_are_named(
    songs: Songs, reason: str
) -> None:
    failed(songs, "timeout")
    told = songs.redrive(reason=reason)
    assert (told.code, told.err) == (0, "")
    assert told.out == (
        f"No song that is owed something has the reason {reason}. Reasons now: never failed (1), timeout (1).\n"
    )


def test_where_nothing_is_owed_a_reason_is_not_looked_for_among_nothing(songs: Songs) -> None:
    assert songs.redrive(reason="timeout").out == "Nothing is owed.\n"
    assert songs.redrive(reason="timeot").err == "There is no reason 'timeot': docs/on-call.md has them all.\n"
