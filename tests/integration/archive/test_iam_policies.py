"""The policies of docs/iam are enough, and each of their lines is needed (moto checks the rights of every request)."""

from __future__ import annotations

import copy
import functools
import io
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_connections import aws_connection, kie_connection
from airflow_kie.archive.archiver import Source, archive_song
from airflow_kie.archive.choice import Choice, changed_choice
from airflow_kie.archive.index.entry import entry_of
from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.layout import ArchiveKeys, SongKeys
from airflow_kie.archive.ledger_store import BucketLedgerStore
from airflow_kie.archive.manifest import FileKind, Manifest
from airflow_kie.archive.pending import Failure, list_pending, new_pending
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3AccessDenied
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.client.http.download import DownloadSettings, download
from airflow_kie.client.task_lookup import Claim as Asked
from airflow_kie.durable.active_runs import ActiveRuns
from airflow_kie.lifecycle.claims import Intent, RequestId
from airflow_kie.lifecycle.ledger import Ledger
from airflow_kie.operators.inbox import KieInboxCleanupOperator, KieInboxOperator
from airflow_kie.operators.reconcile import KieReconcileOperator
from airflow_kie.operators.report import KieSongReportOperator
from airflow_kie.operators.song_list import KieSongListOperator
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_kie.transfers.kie_to_s3 import KieCoverToS3Operator
from airflow_task import TaskInstance, TaskRun, Variables, close_clients
from iam_server import BUCKET, IamServer, iam_server
from kie_simulator.server import SimulatorServer
from media_server import body, media_server, picture
from spending_switches import read_from

DOCS = Path(__file__).parents[3] / "docs" / "iam"
POLICIES: dict[str, dict[str, Any]] = {file.stem: json.loads(file.read_text()) for file in DOCS.glob("*.json")}
NOT_CHECKED_BY_MOTO = {"s3:GetObjectTagging", "s3:PutObjectTagging", "kms:GenerateDataKey", "kms:Decrypt"}
SONG = "a" * 32
CLAIMED = "b" * 32
UNKNOWN = "c" * 32
"""A song that a callback alone has named, and that KIE said once that it does not know."""
FAILED = "d" * 32
PENDING = f"songs/_pending/{SONG}.json"
CLAIM = f"songs/_runs/claims/{'0' * 32}.json"


# --- what each process does with its rights ---


def archive_a_song(bucket: Bucket) -> None:
    """Do what song_list, generate_cover, archive_to_s3 and report do in the bucket."""
    archive = SongArchive(bucket, SongKeys("songs", SONG))
    archive.bucket.try_to_write(ArchiveKeys("songs").probe)  # doctor
    archive.update_pending(received_from="form")
    store = BucketLedgerStore(bucket, "songs/_paid/")
    assert store.honours_conditions("_probe")
    request = RequestId("kie_default", "suno.cover", "0" * 32)
    Ledger(store).claim(request, Intent.made_at(0.0))
    assert list(Ledger(store).attempts(request))
    archive.record_failure("generation_failed", "KIE could not generate this")
    now = datetime.now(UTC)
    with media_server({"/1": body(picture(1), "image/png")}) as media:
        archive_song(
            archive,
            Manifest(music_task_id=SONG, cover_task_ids=("cover-task",), created_at=now, updated_at=now),
            [Source(FileKind.COVER, 1, url=media.url("/1"), task_id="cover-task")],
            old=archive.manifest(),
            download=functools.partial(download, settings=DownloadSettings(private_hosts=frozenset({"127.0.0.1"}))),
        )


def read_the_inbox(bucket: Bucket) -> None:
    """Do what DAG cover_inbox does: read, record, reject, move away, look for songs that were lost."""
    run = TaskRun(lambda: KieInboxOperator(task_id="read_inbox"))
    run.execute()
    digests = run.ti.pushed["taken"]
    TaskRun(lambda: KieInboxCleanupOperator(task_id="move_to_done", digests=digests, events_sent=1)).execute()
    reconcile: Any = KieReconcileOperator(task_id="reconcile")
    inbox, runs = reconcile.inbox(), ActiveRuns(TaskInstance(runs={"goes on": "running"}))
    assert runs.songs_of_others(inbox.bucket, inbox.keys, read_only=True) == {CLAIMED}
    reconcile._ask = lambda *_: Asked.NOT_FOUND
    unknown = SongArchive(inbox.bucket, SongKeys("songs", UNKNOWN))
    unknown.update_pending(received_from="callback", unconfirmed="not_found")
    assert [pending.music_task_id for pending in reconcile._lost(inbox, runs, [SONG, UNKNOWN])] == [SONG]
    assert unknown.pending() is None


def show_a_song(bucket: Bucket) -> None:
    """Do what the song pages do."""
    archive = SongArchive(bucket, SongKeys("songs", SONG))
    list(list_pending(archive.bucket, ArchiveKeys("songs")))
    manifest = archive.manifest()
    assert manifest is not None
    assert archive.pending() is None


def edit_songs(bucket: Bucket) -> None:
    """Do what the pages do when somebody chooses, labels, and gives up or starts again a song that has failed."""
    show_a_song(bucket)
    archive, now = SongArchive(bucket, SongKeys("songs", SONG)), datetime.now(UTC)
    labelled = Manifest.update(bucket, archive.keys, lambda stored: stored.labelled("mood", "calm", by="me", at=now))
    choice = Choice.update(
        bucket, archive.keys, lambda stored: changed_choice(stored, labelled, {"rejected": True}, by="me", now=now)
    )
    Index(bucket, ArchiveKeys("songs")).add([entry_of(labelled, choice)])
    failed = SongArchive(bucket, SongKeys("songs", FAILED))
    record = failed.pending()
    assert record is not None
    failed.take(record)
    failed.drop_pending()
    assert failed.pending() is None


def hear_a_callback(bucket: Bucket) -> None:
    """Do what the callback receiver does before it answers KIE."""
    archive = SongArchive(bucket, SongKeys("songs", SONG))
    archive.bucket.create_on_loopback()
    assert archive.manifest() is None
    archive.update_pending(received_from="callback", kie_conn_id="kie_default")
    request = RequestId("kie_default", "suno.cover", "0" * 32)
    Ledger(BucketLedgerStore(bucket, "songs/_paid/")).record_task(request, 1, "cover-task")


def hand_in_a_song(bucket: Bucket) -> None:
    bucket.put_json(SONG, "inbox/song.json")


WORK: dict[str, Callable[[Bucket], None]] = {
    "archive-writer": archive_a_song,
    "inbox-reader": read_the_inbox,
    "picture-reader": show_a_song,
    "library-editor": edit_songs,
    "callback-receiver": hear_a_callback,
    "inbox-writer": hand_in_a_song,
}
REFUSED = {
    ("archive-writer", "TellMissingFromForbidden", "s3:ListBucket"): ("HeadBucket", ""),
    ("archive-writer", "SongsAndTheirRecords", "s3:GetObject"): ("GetObject", PENDING),
    ("archive-writer", "SongsAndTheirRecords", "s3:PutObject"): ("PutObject", "songs/_probe"),
    ("archive-writer", "SongsAndTheirRecords", "s3:DeleteObject"): ("DeleteObject", "songs/_probe"),
    ("inbox-reader", "ListInboxAndRecords", "s3:ListBucket"): ("HeadBucket", ""),
    ("inbox-reader", "WhatIsHandedIn", "s3:GetObject"): ("GetObject", "inbox/bad.json"),
    ("inbox-reader", "WhatIsHandedIn", "s3:DeleteObject"): ("DeleteObject", "inbox/song.json"),
    ("inbox-reader", "PutAwayOrReject", "s3:PutObject"): ("CopyObject", "inbox/done/song.json"),
    ("inbox-reader", "NoteSongs", "s3:GetObject"): ("GetObject", PENDING),
    ("inbox-reader", "NoteSongs", "s3:PutObject"): ("PutObject", PENDING),
    ("inbox-reader", "DropWhatKieDoesNotKnow", "s3:DeleteObject"): ("DeleteObject", f"songs/_pending/{UNKNOWN}.json"),
    ("inbox-reader", "WhatRunsWorkOn", "s3:GetObject"): ("GetObject", CLAIM),
    ("inbox-reader", "CountSongsOfTheDay", "s3:GetObject"): ("GetObject", "songs/_inbox.json"),
    ("inbox-reader", "CountSongsOfTheDay", "s3:PutObject"): ("PutObject", "songs/_inbox.json"),
    ("inbox-reader", "WhatWasTaken", "s3:GetObject"): ("GetObject", "songs/_inbox/"),
    ("inbox-reader", "WhatWasTaken", "s3:PutObject"): ("PutObject", "songs/_inbox/"),
    ("inbox-reader", "WhatWasTaken", "s3:DeleteObject"): ("DeleteObject", "songs/_inbox/"),
    ("picture-reader", "ListRecords", "s3:ListBucket"): ("ListBucket", "songs/_pending/"),
    ("picture-reader", "Songs", "s3:GetObject"): ("GetObject", f"songs/{SONG}/manifest.json"),
    ("library-editor", "ListRecords", "s3:ListBucket"): ("ListBucket", "songs/_pending/"),
    ("library-editor", "Songs", "s3:GetObject"): ("GetObject", f"songs/{SONG}/manifest.json"),
    ("library-editor", "Songs", "s3:PutObject"): ("PutObject", f"songs/{SONG}/manifest.json"),
    ("library-editor", "GiveUpOrStartAgain", "s3:DeleteObject"): ("DeleteObject", f"songs/_retry/{FAILED}.1"),
    ("callback-receiver", "TellMissingFromForbidden", "s3:ListBucket"): ("HeadBucket", ""),
    ("callback-receiver", "IsItArchived", "s3:GetObject"): ("GetObject", f"songs/{SONG}/manifest.json"),
    ("callback-receiver", "RecordSongs", "s3:GetObject"): ("GetObject", PENDING),
    ("callback-receiver", "RecordSongs", "s3:PutObject"): ("PutObject", PENDING),
    ("callback-receiver", "RecordTasksOfOurRequests", "s3:PutObject"): (
        "PutObject",
        f"songs/_paid/kie_default/suno.cover/{'0' * 32}/1.task.cover-task",
    ),
    ("inbox-writer", "HandInSongsWhichSpendsMoney", "s3:PutObject"): ("PutObject", "inbox/song.json"),
}
"""Line of a policy -> the request that S3 refuses without it, and its key."""
SHOWN_BELOW = {("archive-writer", "SongsAndTheirRecords", "s3:AbortMultipartUpload")}


def actions_of(statement: dict[str, Any]) -> list[str]:
    actions = statement["Action"]
    return [actions] if isinstance(actions, str) else list(actions)


def without(policy: str, sid: str, action: str) -> dict[str, Any]:
    """Return a policy with one action taken out of one statement."""
    changed = copy.deepcopy(POLICIES[policy])
    (statement,) = [it for it in changed["Statement"] if it["Sid"] == sid]
    statement["Action"] = [it for it in actions_of(statement) if it != action]
    changed["Statement"] = [it for it in changed["Statement"] if it["Action"]]
    return changed


@pytest.fixture(scope="module")
def aws() -> Iterator[IamServer]:
    with iam_server() as server:
        yield server


Become = Callable[[dict[str, Any]], Bucket]


@pytest.fixture
def become(aws: IamServer, monkeypatch: pytest.MonkeyPatch) -> Become:
    """Give a way to become a user with a policy: it returns the bucket as that user, and so does ``aws_default``."""

    def as_user(policy: dict[str, Any]) -> Bucket:
        user = aws.user(policy)
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection(user))
        monkeypatch.setenv("AIRFLOW__KIE__BUCKET", BUCKET)
        return Bucket(user.client(), BUCKET, principal=f"access key {user.access_key}")

    return as_user


@pytest.fixture
def filled(aws: IamServer, request: pytest.FixtureRequest) -> None:
    """Put into the bucket what the policy's process finds there: an inbox, or an archived song."""
    client = aws.admin.client()
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])
    policy = request.getfixturevalue("policy")
    found = {
        "inbox-reader": {
            "inbox/bad.json": b"no song",
            "inbox/song.json": json.dumps(SONG).encode(),
            CLAIM: json.dumps({"dag_id": "music_cover", "run_id": "goes on", "songs": [CLAIMED]}).encode(),
        },
        "picture-reader": {f"songs/{SONG}/manifest.json": manifest()},
        "library-editor": {
            f"songs/{SONG}/manifest.json": manifest(),
            f"songs/_pending/{FAILED}.json": failed(),
            f"songs/_retry/{FAILED}.1": b"",
        },
    }
    for key, content in found.get(policy, {}).items():
        client.put_object(Bucket=BUCKET, Key=key, Body=content)


def failed() -> bytes:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    failure = Failure(reason="timeout", message="KIE took too long.", at=now, times=1)
    record = new_pending(FAILED, received_from="form", now=now).changed(last_failure=failure)
    return json.dumps(record.to_json()).encode()


def manifest() -> bytes:
    now = "2026-11-22T12:00:00.000Z"
    return json.dumps({"music_task_id": SONG, "created_at": now, "updated_at": now}).encode()


# --- the tests ---


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_policy_is_enough_for_its_process(policy: str, filled: None, become: Become) -> None:
    WORK[policy](become(POLICIES[policy]))


def test_the_steps_of_the_chain_need_no_more_rights_than_the_archive_writer_has(
    aws: IamServer, become: Become, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(POLICIES["archive-writer"])
    monkeypatch.setenv("AIRFLOW__KIE__CONFIRM_FAILURE_SECONDS", "0")
    monkeypatch.setenv("AIRFLOW__KIE__ALLOW_LOOPBACK_FILES", "True")
    read_from(Variables(), monkeypatch)
    with SimulatorServer(music_seconds=0, cover_seconds=0, plain_images=True) as kie:
        monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie))
        song = kie.control.make_music("Velvet Harbour")[0].task_id
        other = kie.control.make_music("Never Finished")[0].task_id
        run_the_chain(song, other)
        close_clients()
    stored = aws.admin.client().list_objects_v2(Bucket=BUCKET)["Contents"]
    names = {item["Key"].removeprefix("songs/") for item in stored}
    assert names >= {f"{song}/{name}" for name in ("cover-1.png", "cover-2.png", "track-1.mp3", "manifest.json")}
    assert f"_pending/{song}.json" not in names
    assert f"_pending/{other}.json" in names


def run_the_chain(song: str, failed: str) -> None:
    """Run the tasks of `archive_covers` for one song that comes to its end and one that fails on the way."""
    (arguments, owed) = TaskRun(
        lambda: KieSongListOperator(task_id="song_list", music_task_ids=[song, failed], archive_audio=True)
    ).execute()
    common = {name: arguments[name] for name in ("music_task_id", "bucket", "prefix")}
    cover = TaskRun(
        lambda: KieGenerateCoverOperator(task_id="generate_cover", deferrable=False, poll_interval=0.05, **common)
    ).execute()
    archived = TaskRun(
        lambda: KieCoverToS3Operator(task_id="archive_to_s3", cover_task_id=cover, archive_audio=True, **common)
    ).execute()
    failure = {"music_task_id": failed, "task_id": "generate_cover", "reason": "generation_failed", "message": "failed"}
    pulls = {("archive_to_s3", "return_value"): archived, ("generate_cover", "failure"): failure}
    report = TaskRun(
        lambda: KieSongReportOperator(
            task_id="report",
            songs=[arguments, owed],
            list_task_id="song_list",
            chain_task_ids=("generate_cover", "archive_to_s3"),
        ),
        ti=TaskInstance(pulls=pulls),
    )
    with pytest.raises(AirflowFailException, match="1 song is archived, 1 failed"):
        report.execute()


@pytest.mark.parametrize(("policy", "sid", "action"), REFUSED, ids=str)
def test_without_a_line_s3_refuses_and_the_error_names_action_bucket_key_and_principal(
    policy: str, sid: str, action: str, filled: None, become: Become, aws: IamServer
) -> None:
    if sid in ("NoteSongs", "WhatWasTaken"):  # where another object can be rejected, one that S3 refuses only stays
        aws.admin.client().delete_object(Bucket=BUCKET, Key="inbox/bad.json")
    bucket = become(without(policy, sid, action))
    request, key = REFUSED[policy, sid, action]
    with pytest.raises(S3AccessDenied) as refused:
        WORK[policy](bucket)
    said = str(refused.value)
    named = f", key {key}" + ("" if key.endswith("_inbox/") else ", ") if key else ", "  # of an order: its digest
    assert f"{request} on bucket {BUCKET}{named}" in said
    assert f"as {bucket.principal}" in said
    assert action in said


def test_every_line_of_every_policy_is_shown_or_told_as_not_shown() -> None:
    lines = {
        (name, statement["Sid"], action)
        for name, policy in POLICIES.items()
        for statement in policy["Statement"]
        for action in actions_of(statement)
        if statement["Effect"] == "Allow"
    }
    unchecked = {line for line in lines if line[2] in NOT_CHECKED_BY_MOTO}
    assert lines - unchecked == {*REFUSED, *SHOWN_BELOW}
    told = re.search(r"Not shown by the tests.*?\n\n", (DOCS / "README.md").read_text(), re.S)
    assert told is not None
    assert set(re.findall(r"`(\w+:\w+)`", told[0])) >= {action for _, _, action in unchecked}


class BreaksOff(io.BytesIO):
    """A file that cannot be read to its end: the upload in parts is given up."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 8_000_000:
            raise OSError("the disk is gone")
        return super().read(size)


@pytest.mark.parametrize(("abort", "left"), [(True, 0), (False, 1)])
def test_without_the_right_to_abort_parts_of_given_up_uploads_stay_and_are_paid_for(
    aws: IamServer, become: Become, abort: bool, left: int
) -> None:
    (line,) = SHOWN_BELOW
    bucket = become(POLICIES["archive-writer"] if abort else without(*line))
    key, size = f"songs/{SONG}/track-{left}.mp3", 9_000_000
    with pytest.raises(OSError, match="the disk is gone"):
        bucket.put_file(BreaksOff(b"x" * size), key, size=size, content_type="audio/mpeg", sha256="0" * 64)
    uploads = aws.admin.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())
    assert len([upload for upload in uploads if upload["Key"] == key]) == left


@pytest.mark.parametrize("key", ["inbox/done/song.json", "inbox/rejected/song.json", PENDING, "songs/_inbox.json"])
def test_who_hands_songs_in_can_write_nothing_else(key: str, become: Become) -> None:
    bucket = become(POLICIES["inbox-writer"])
    with pytest.raises(S3AccessDenied):
        bucket.put_json({}, key)


@pytest.mark.parametrize("policy", ["inbox-reader", "picture-reader", "library-editor", "callback-receiver"])
def test_no_other_process_can_hand_songs_in(policy: str, become: Become) -> None:
    bucket = become(POLICIES[policy])
    with pytest.raises(S3AccessDenied):
        hand_in_a_song(bucket)
