"""The two ends of a run of many songs: what is checked and noted before it, what is said after it."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from tenacity import wait_none

from airflow_kie.archive.inbox.song_request import SongsRefused
from airflow_kie.archive.s3 import retrying
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3AccessDenied, S3NoSuchBucket, S3SlowDown
from airflow_kie.client.errors import KieConnectionInvalid, KieContentRejected
from airflow_kie.durable.xcom import FAILURE_KEY, MADE_TWICE_KEY
from airflow_kie.hooks.archive import open_song
from airflow_kie.operators.report import KieSongReportOperator, record_failure
from airflow_kie.operators.song_list import KieSongListOperator
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_kie.transfers.kie_to_s3 import KieCoverToS3Operator
from airflow_task import StoredFiles, TaskInstance, TaskRun
from answering_server import serving
from kie_simulator.server import SimulatorServer

A, B, C = "a" * 32, "b" * 32, "c" * 32


def list_run(extra: dict[str, Any] | None = None, **asked: Any) -> TaskRun:
    return TaskRun(lambda: KieSongListOperator(task_id="song_list", **asked), extra=extra or {})


def listed(extra: dict[str, Any] | None = None, **asked: Any) -> list[dict[str, Any]]:
    songs: list[dict[str, Any]] = list_run(extra, **asked).execute()
    return songs


def event_run(key: str, *extras: dict[str, Any]) -> dict[str, Any]:
    """Return the context of a run that events have made."""
    return {
        "partition_key": key,
        "triggering_asset_events": {"kie://api.kie.ai/suno/music": [SimpleNamespace(extra=extra) for extra in extras]},
    }


def archive_song(kie: SimulatorServer, bucket: str, **options: Any) -> str:
    """Archive a new song and return its id."""
    music: str = kie.control.make_music("Velvet Harbour")[0].task_id
    facts: dict[str, Any] = {"music_task_id": music, "bucket": bucket, "prefix": "songs"}
    cover = TaskRun(
        lambda: KieGenerateCoverOperator(task_id="generate_cover", deferrable=False, poll_interval=0.05, **facts)
    ).attempt()
    TaskRun(lambda: KieCoverToS3Operator(task_id="archive_to_s3", cover_task_id=cover, **facts, **options)).attempt()
    return music


# --- the list ---


def test_every_song_becomes_one_map_of_arguments(kie: SimulatorServer, bucket: str) -> None:
    assert listed(music_task_ids=f"{A}, {B} {A}", labels='{"album": "x"}', archive_audio="True") == [
        {
            "music_task_id": task_id,
            "kie_conn_id": "kie_default",
            "bucket": bucket,
            "prefix": "songs",
            "archive_audio": True,
            "archive_lyrics": False,
            "labels": {"album": "x"},
        }
        for task_id in (A, B)
    ]


def test_songs_may_carry_labels_of_their_own(kie: SimulatorServer, bucket: str) -> None:
    songs = json.dumps([{"music_task_id": B, "labels": {"our_id": "B-2", "album": "y"}}])
    first, second = listed(music_task_ids=[A], songs=songs, labels={"album": "x"})
    assert (first["labels"], second["labels"]) == ({"album": "x"}, {"album": "y", "our_id": "B-2"})


def test_a_run_that_an_event_made_works_on_its_partition(kie: SimulatorServer, bucket: str) -> None:
    extra = {"labels": {"our_id": "A-1"}, "archive_lyrics": True}
    (song,) = listed(event_run(A, {"labels": {"our_id": "old"}}, extra), music_task_ids="[]", songs="[]", labels="{}")
    assert (song["music_task_id"], song["labels"], song["archive_lyrics"]) == (A, {"our_id": "A-1"}, True)


def test_a_partition_of_somebody_elses_is_no_song_where_songs_are_named(kie: SimulatorServer, bucket: str) -> None:
    assert [song["music_task_id"] for song in listed(event_run("2026-11-30"), music_task_ids=f"{B} {C}")] == [B, C]


def test_an_event_without_extra_is_enough(kie: SimulatorServer, bucket: str) -> None:
    assert listed(event_run(A))[0]["music_task_id"] == A


def test_an_event_cannot_name_a_connection_that_nobody_allowed(kie: SimulatorServer, bucket: str) -> None:
    with pytest.raises(SongsRefused, match="'stolen' is not one of `kie_conn_ids`"):
        listed(event_run(A, {"kie_conn_id": "stolen"}))


def test_an_empty_list_from_a_person_fails_at_once(kie: SimulatorServer, bucket: str) -> None:
    with pytest.raises(SongsRefused, match=r"No music task ids were given.*kie\.ai/logs"):
        listed(music_task_ids="[]", songs="[]")


def test_all_mistakes_come_in_one_message_and_nothing_is_written(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW__KIE__BUCKET")
    with pytest.raises(SongsRefused) as refused:
        listed(
            music_task_ids=f"{A} ../etc",
            prefix="a/../b",
            kie_conn_id="nobody",
            labels='{"a": {"b": 1}}',
            songs="nonsense",
            batch_size="many",
        )
    said = str(refused.value)
    wrong = ("'../etc'", "'a/../b'", "'nobody'", "labels 'a'", "Songs are a list of maps", "No bucket is set", "'many'")
    for problem in wrong:
        assert problem in said
    assert archive.listed() == []


def test_more_songs_than_airflow_can_map_come_in_fewer_batches(
    kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "2")
    ids = [f"{number:032x}" for number in range(5)]
    batches = listed(music_task_ids=ids, batch_size=1)
    place = {"bucket": bucket, "prefix": "songs", "kie_conn_id": "kie_default"}
    assert [(batch["first"], batch["songs"]) for batch in batches] == [(1, 3), (4, 2)]
    assert all(place.items() <= batch.items() for batch in batches)
    with pytest.raises(SongsRefused, match="401 songs were given, but one run takes at most 400: split"):
        listed(music_task_ids=[f"{number:032x}" for number in range(401)])


def test_labels_of_run_and_song_together_are_at_most_ten(kie: SimulatorServer, archive: StoredFiles) -> None:
    run, own = ({f"{side}{number}": "x" for number in range(6)} for side in ("run", "own"))
    with pytest.raises(SongsRefused, match="at most 10 items"):
        listed(labels=run, songs=[{"music_task_id": A, "labels": own}])
    assert archive.listed() == []


def test_a_connection_that_is_not_there_is_named_before_anything_is_written(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_default, kie_label_b")
    with pytest.raises(KieConnectionInvalid, match="Connection kie_label_b does not exist"):
        listed(music_task_ids=[A], kie_conn_id="kie_label_b")
    assert archive.listed() == []


def test_every_song_is_noted_before_anything_is_paid(kie: SimulatorServer, archive: StoredFiles) -> None:
    run = list_run(music_task_ids=[A, B], labels={"our_id": "1"}, archive_lyrics=True)
    run.execute()
    assert archive.listed() == [f"songs/_pending/{A}.json", f"songs/_pending/{B}.json"]
    noted = archive.json(f"songs/_pending/{A}.json")
    assert (noted["received_from"], noted["kie_conn_id"], noted["options"]["lyrics"]) == ("form", "kie_default", True)
    assert (noted["working"]["dag_id"], noted["working"]["run_id"]) == ("music_cover", run.ti.run_id)
    assert kie.control.ledger() == []


def test_songs_that_have_all_that_is_asked_for_are_left_out(kie: SimulatorServer, archive: StoredFiles) -> None:
    music = archive_song(kie, archive.bucket)
    open_song("aws_default", archive.bucket, "songs", music).update_pending(received_from="event")  # an event came late
    run = list_run(music_task_ids=[music, A])
    assert [song["music_task_id"] for song in run.execute()] == [A]
    (done,) = run.ti.pushed["archived_already"]
    assert (done["music_task_id"], done["changed"], len(done["files"])) == (music, False, 2)
    assert f"songs/_pending/{music}.json" not in archive.listed()


def test_a_list_for_covers_alone_leaves_the_record_of_a_song_of_which_another_run_asked_for_audio(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    music = archive_song(kie, archive.bucket)
    listed(music_task_ids=music, archive_audio=True)
    assert listed(music_task_ids=[music, A]) and archive.json(f"songs/_pending/{music}.json")["options"]["audio"]


def test_a_song_that_lacks_what_is_asked_for_now_is_worked_on_again(kie: SimulatorServer, bucket: str) -> None:
    music = archive_song(kie, bucket)
    assert [song["music_task_id"] for song in listed(music_task_ids=music, archive_audio=True)] == [music]


@pytest.mark.parametrize(("refusals", "is_listed"), [(2, True), (3, False)])
def test_s3_trouble_with_one_songs_record_is_waited_out_before_it_ends_the_list(
    kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch, refusals: int, is_listed: bool
) -> None:
    read, left = Bucket.get_version, [S3SlowDown("a moment")] * refusals

    def refusing(self: Bucket, key: str, **options: Any) -> Any:
        if key == f"songs/_pending/{B}.json" and left:
            raise left.pop()
        return read(self, key, **options)

    monkeypatch.setattr(Bucket, "get_version", refusing)
    monkeypatch.setattr(retrying, "_PAUSES", wait_none())
    if is_listed:
        assert [song["music_task_id"] for song in listed(music_task_ids=[A, B])] == [A, B]
        return
    with pytest.raises(S3SlowDown):
        listed(music_task_ids=[A, B])


def test_a_bucket_that_is_denied_is_named_before_anything_is_paid(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = b"<Error><Code>AccessDenied</Code><Message>arn:aws:iam::1:user/x may not</Message></Error>"
    with serving(lambda seen: (403, {"Content-Type": "application/xml"}, denied)) as s3:
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_at(s3.url))
        with pytest.raises(S3AccessDenied, match="bucket songs-of-ours"):
            listed(music_task_ids=[A], bucket="songs-of-ours")
    assert kie.control.ledger() == []


def test_a_bucket_that_is_missing_is_named_and_not_created_elsewhere(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_kie.archive.s3 import bucket as buckets

    monkeypatch.setattr(buckets, "is_loopback", lambda url: False)  # as if the server were another machine
    answer = b"<Error><Code>NoSuchBucket</Code></Error>"
    with serving(lambda s: (404, {"Content-Type": "application/xml"}, b"" if s.method == "HEAD" else answer)) as s3:
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_at(s3.url))
        with pytest.raises(S3NoSuchBucket, match="does not exist: HeadBucket on bucket songs-of-ours"):
            listed(music_task_ids=[A], bucket="songs-of-ours")
        assert [seen.method for seen in s3.seen] == ["GET", "HEAD"]


def aws_at(url: str) -> str:
    extra = {"endpoint_url": url, "region_name": "us-east-1", "config_kwargs": {"s3": {"addressing_style": "path"}}}
    return json.dumps({"conn_type": "aws", "login": "x", "password": "y", "extra": extra})


# --- the report ---


def song_arguments(task_id: str, bucket: str = "") -> dict[str, Any]:
    return {"music_task_id": task_id, "bucket": bucket, "prefix": "songs", "kie_conn_id": "kie_default"}


def archived_song(task_id: str) -> dict[str, Any]:
    files = [{"key": f"songs/{task_id}/cover-1.png", "kind": "cover", "size": 1, "sha256": "0" * 64}]
    return {"music_task_id": task_id, "title": f"Song {task_id[0]}", "manifest_key": "m", "files": files}


def failure(task_id: str, message: str, at: str = "generate_cover") -> dict[str, Any]:
    return {"music_task_id": task_id, "task_id": at, "reason": "content_rejected", "message": message}


def report_run(songs: Any, **pulls: Any) -> TaskRun:
    def make() -> KieSongReportOperator:
        return KieSongReportOperator(
            task_id="report",
            songs=songs,
            list_task_id="song_list",
            chain_task_ids=("music_complete", "generate_cover", "cover_details", "archive_to_s3"),
        )

    names = {
        "before": ("song_list", "archived_already"),
        "archived": ("archive_to_s3", "return_value"),
        "failed": ("generate_cover", FAILURE_KEY),
        "made_twice": ("generate_cover", MADE_TWICE_KEY),
        "failed_later": ("archive_to_s3", FAILURE_KEY),
    }
    return TaskRun(make, ti=TaskInstance(pulls={names[name]: value for name, value in pulls.items()}))


def test_a_run_whose_songs_are_archived_says_so_in_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rows = report_run([song_arguments(A), song_arguments(B)], archived=[archived_song(A), archived_song(B)]).execute()
    assert [row["result"] for row in rows] == ["archived", "archived"]


@pytest.mark.parametrize(
    ("archived", "failed", "said"),
    [
        (9, 3, "9 songs are archived, 3 failed: "),
        (1, 1, "1 song is archived, 1 failed: "),
        (0, 2, "0 songs are archived, 2 failed: "),
        (14, 13, "14 songs are archived, 13 failed: "),
    ],
)
def test_a_run_with_a_failed_song_is_never_green_and_counts_both_kinds(
    kie: SimulatorServer, bucket: str, archived: int, failed: int, said: str
) -> None:
    ids = [f"{number:032x}" for number in range(archived + failed)]
    run = report_run(
        [song_arguments(task_id, bucket) for task_id in ids],
        archived=[archived_song(task_id) for task_id in ids[:archived]],
        failed=[failure(task_id, "the word X") for task_id in ids[archived:]],
    )
    with pytest.raises(AirflowFailException) as told:
        run.execute()
    assert str(told.value).startswith(said)
    assert str(told.value).count("the word X") == failed
    assert len(run.ti.pushed["table"]) == archived + failed


def test_one_song_pulls_as_a_single_value_and_is_reported_all_the_same(kie: SimulatorServer, bucket: str) -> None:
    assert report_run([song_arguments(A)], archived=archived_song(A)).execute()[0]["result"] == "archived"
    run = report_run([song_arguments(A, bucket)], failed=failure(A, "the word X"))
    with pytest.raises(AirflowFailException, match=r"0 songs are archived, 1 failed: .*the word X"):
        run.execute()


def test_the_first_task_that_failed_explains_a_song(kie: SimulatorServer, bucket: str) -> None:
    run = report_run(
        [song_arguments(A, bucket)], failed=[failure(A, "first")], failed_later=[failure(A, "later", "archive_to_s3")]
    )
    with pytest.raises(AirflowFailException, match="first"):
        run.execute()
    (row,) = run.ti.pushed["table"]
    assert (row["result"], row["cause"]) == ("failed at generate_cover", failure(A, "first")["reason"])


def test_a_song_that_was_archived_in_the_end_is_no_failure(kie: SimulatorServer) -> None:
    run = report_run([song_arguments(A)], archived=[archived_song(A)], failed=[failure(A, "an earlier attempt")])
    assert run.execute()[0]["reason"] is None


def test_covers_that_were_made_twice_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    songs = [archived_song(A), archived_song(B)]
    run = report_run([song_arguments(A), song_arguments(B)], archived=songs, made_twice=[{"music_task_id": B}, None])
    assert [row["made_twice"] for row in run.execute()] == [False, True]
    assert "2 songs are archived. 1 cover may have been made twice, at no cost: " in capsys.readouterr().out


def test_a_song_that_nobody_speaks_of_counts_as_failed() -> None:
    run = report_run([song_arguments(A), song_arguments(B)], archived=[archived_song(A)])
    with pytest.raises(AirflowFailException, match="did not finish"):
        run.execute()


def test_a_song_that_may_be_cut_off_is_archived_with_a_warning_in_the_table_and_the_log(
    kie: SimulatorServer, capsys: pytest.CaptureFixture[str]
) -> None:
    song = {**archived_song(A), "warnings": ["songs/a/track-1.mp3: the track plays 1 s of the 4 s that KIE names."]}
    (row,) = report_run([song_arguments(A)], archived=[song]).execute()
    assert (row["result"], row["warnings"]) == ("archived", song["warnings"])
    assert "Warning: songs/a/track-1.mp3: the track plays 1 s" in capsys.readouterr().out


@pytest.mark.parametrize("before", [[archived_song(A), archived_song(B)], archived_song(A)])
def test_songs_that_were_archived_before_the_run_are_in_the_table(before: Any) -> None:
    rows = report_run([], before=before).execute()
    assert {row["result"] for row in rows} == {"archived already"}


def test_a_list_that_failed_is_told_as_nothing_started() -> None:
    with pytest.raises(AirflowFailException, match="Nothing was started: task song_list did not finish"):
        report_run(None).execute()


def test_a_failed_song_says_in_the_bucket_why_it_is_owed(kie: SimulatorServer, archive: StoredFiles) -> None:
    listed(music_task_ids=[A])
    failed = {**failure(A, "the word X"), "title": "Velvet Harbour"}
    with pytest.raises(AirflowFailException):
        report_run([song_arguments(A, archive.bucket)], failed=[failed]).execute()
    noted = archive.json(f"songs/_pending/{A}.json")
    assert noted["last_failure"]["reason"] == "content_rejected"
    assert noted["title"] == "Velvet Harbour"
    assert noted["received_from"] == "form"


def test_a_bucket_that_is_gone_does_not_hide_the_report(kie: SimulatorServer, bucket: str) -> None:
    with pytest.raises(AirflowFailException, match="the word X"):
        report_run([song_arguments(A, "no-such-bucket")], failed=[failure(A, "the word X")]).execute()


def test_a_bucket_that_cannot_be_opened_hides_neither_the_table_nor_the_verdict(
    kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", '{"conn_type": "aws", "extra": {"endpoint_url": "no address"}}')
    run = report_run(
        [song_arguments(A, bucket), song_arguments(B, bucket)],
        archived=[archived_song(B)],
        failed=[failure(A, "the word X")],
    )
    with pytest.raises(AirflowFailException, match=r"1 song is archived, 1 failed: .*the word X"):
        run.execute()
    assert [row["music_task_id"] for row in run.ti.pushed["table"]] == [A, B]


def test_a_line_break_in_a_title_or_a_reason_makes_no_line_of_its_own(
    kie: SimulatorServer, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = "Rain\n2026-11-28 ERROR The account is empty\r\x07\u2028\u202e\ud83d"
    run = report_run(
        [song_arguments(A, bucket), song_arguments(B, bucket)],
        archived=[{**archived_song(B), "title": forged}],
        failed=[{**failure(A, forged), "title": forged}],
    )
    with pytest.raises(AirflowFailException) as told:
        run.execute()
    logged = capsys.readouterr().out
    assert "The account is empty" in logged
    for text in (*logged.split("\n"), str(told.value)):
        assert not text.startswith("2026-11-28 ERROR")
        assert not set("\n\r\x07\u2028\u202e\ud83d") & set(text)


def test_a_failed_task_tells_the_report_reason_and_sentence() -> None:
    ti = TaskInstance(task_id="generate_cover")
    task = SimpleNamespace(music_task_id=A)
    context: Any = {"exception": KieContentRejected("the word X", source_id=A), "task": task, "ti": ti}
    record_failure(context)
    told = ti.pushed[FAILURE_KEY]
    assert (told["music_task_id"], told["task_id"], told["reason"]) == (A, "generate_cover", "content_rejected")
    assert "the word X" in told["message"]


def test_a_song_is_reported_once_when_it_is_asked_for_twice(kie: SimulatorServer, bucket: str) -> None:
    assert len(listed(music_task_ids=[A, A], songs=[{"music_task_id": A}])) == 1
