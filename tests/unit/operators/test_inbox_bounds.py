"""Writing to the inbox is permission to spend: what it takes in a day is bounded, and under whose key is checked."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_kie.archive.inbox.song_request import SongsRefused
from airflow_kie.archive.s3.errors import ArchiveUnreadable, S3AccessDenied
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.operators.inbox import KieInboxOperator
from airflow_kie.operators.song_list import KieSongListOperator
from airflow_task import StoredFiles, TaskRun
from kie_simulator.server import SimulatorServer


def look(archive: StoredFiles, **objects: Any) -> list[str]:
    """Hand objects in, let the inbox be read, and return the keys that it took."""
    for name, value in objects.items():
        archive.put(f"inbox/{name}.json", json.dumps(value).encode())
    run = TaskRun(lambda: KieInboxOperator(task_id="read_inbox"))
    run.execute()
    digests: list[str] = run.ti.pushed["taken"]
    return [archive.json(f"songs/_inbox/{digest}.json")["key"] for digest in digests]


def ids(count: int, first: str = "a") -> list[str]:
    return [f"{first}{number:031x}" for number in range(count)]


def pending(archive: StoredFiles) -> int:
    return len([key for key in archive.listed() if "/_pending/" in key])


@pytest.fixture(autouse=True)
def _of_five(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__INBOX_SONGS_PER_DAY", "5")


def test_an_object_that_names_more_songs_than_a_day_takes_is_rejected(archive: StoredFiles) -> None:
    assert look(archive, large=ids(6), fits=ids(5, "b")) == ["inbox/fits.json"]
    reason = archive.body("inbox/rejected/large.json.reason.txt").decode()
    assert "It names 6 songs; at most 5 are accepted in 24 hours (inbox_songs_per_day" in reason
    assert pending(archive) == 5


def test_what_exceeds_the_day_waits_in_the_inbox_and_is_taken_the_next_day(
    archive: StoredFiles, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert look(archive, one=ids(3), two=ids(3, "b"), zero=ids(1, "c")) == ["inbox/one.json"]
    assert "inbox/two.json and later objects wait in the inbox: it names 3 songs, and 3 of at most 5" in (caplog.text)
    assert {"inbox/two.json", "inbox/zero.json"} < set(archive.listed())
    archive.client.delete_object(Bucket=archive.bucket, Key="inbox/one.json")  # as put_away does
    assert look(archive) == []
    count = archive.json("songs/_inbox.json")
    count["taken"][0]["at"] = (datetime.now(UTC) - timedelta(hours=24)).isoformat()
    archive.put("songs/_inbox.json", json.dumps(count).encode())
    assert look(archive) == ["inbox/two.json", "inbox/zero.json"]


def test_an_object_that_is_read_again_after_a_crash_counts_once(archive: StoredFiles) -> None:
    assert look(archive, one=ids(4)) == ["inbox/one.json"]
    assert look(archive) == ["inbox/one.json"]
    assert look(archive, one=ids(4, "b")) == []  # another object under the same name


def test_the_count_is_there_before_the_first_song_is_recorded(
    archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise S3AccessDenied("PutObject")

    monkeypatch.setattr(SongArchive, "update_pending", refuse)
    with pytest.raises(S3AccessDenied):
        look(archive, one=ids(1))
    assert [taken["songs"] for taken in archive.json("songs/_inbox.json")["taken"]] == [1]
    assert "inbox/one.json" in archive.listed()


def test_five_megabytes_of_wrong_ids_make_a_short_reason_and_a_short_line_of_the_log(
    archive: StoredFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [f"_{number:0100d}" for number in range(50_000)]
    archive.put("inbox/x.json", json.dumps(wrong, separators=(",", ":")).encode())
    assert look(archive) == []
    reason = archive.body("inbox/rejected/x.json.reason.txt").decode()
    assert (reason.count("is not a KIE task id"), "There are 49,980 more problems like these." in reason) == (20, True)
    assert 100 < max(map(len, capsys.readouterr().out.splitlines())) < 1000


@pytest.mark.parametrize("field", ["music_task_id", "kie_conn_id", "cover_task_id", "archive_audio", "labels"])
@pytest.mark.parametrize("character", ["x", "\u20ac", "\n"])
def test_no_field_of_five_megabytes_makes_a_long_reason(archive: StoredFiles, field: str, character: str) -> None:
    song = {"music_task_id": ids(1)[0], field: character * 800_000}
    archive.put("inbox/x.json", json.dumps(song).encode())
    look(archive)
    for key in archive.listed():
        if key.endswith(".reason.txt"):
            assert len(archive.body(key)) < 5000


def test_a_form_with_five_megabytes_of_wrong_ids_is_refused_in_a_short_message(
    kie: SimulatorServer, bucket: str
) -> None:
    wrong = "\n".join(f"_{number:0100d}" for number in range(50_000))
    with pytest.raises(SongsRefused, match="more problems like these") as refused:
        TaskRun(lambda: KieSongListOperator(task_id="song_list", music_task_ids=wrong)).execute()
    assert len(str(refused.value)) < 5000


def test_a_damaged_count_takes_nothing(archive: StoredFiles) -> None:
    archive.put("songs/_inbox.json", b"{")
    with pytest.raises(ArchiveUnreadable, match=r"songs/_inbox\.json is not JSON"):
        look(archive, one=ids(1))
    assert pending(archive) == 0


def test_an_object_that_airflow_cannot_map_is_rejected(archive: StoredFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__INBOX_SONGS_PER_DAY", "5000")
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "2")  # batches of 200 songs
    assert look(archive, large=ids(401)) == []
    assert "one run takes at most 400: split it" in archive.body("inbox/rejected/large.json.reason.txt").decode()


@pytest.mark.parametrize(
    ("kie_conn_id", "said"),
    [
        ("stolen", "The connection 'stolen' is not one of `kie_conn_ids` in the [kie] configuration"),
        ("kie_label_b", "Connection kie_label_b does not exist."),
        ("aws_default", "Connection aws_default is of type 'aws', not 'kie'."),
    ],
)
def test_an_object_under_a_connection_that_cannot_be_used_is_rejected_with_one_sentence(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch, kie_conn_id: str, said: str
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_default, kie_label_b, aws_default")
    assert look(archive, one={"music_task_id": ids(1)[0], "kie_conn_id": kie_conn_id}) == []
    assert archive.body("inbox/rejected/one.json.reason.txt").decode().startswith(said)
    assert pending(archive) == 0
