"""KieCoverToS3Operator: a song's files, whole and its own, fetched once."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from tenacity import wait_none

from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.pending import Options
from airflow_kie.client.errors import DownloadRefused, FileGone, KieError, KieInvalidRequest, KieWrongParent
from airflow_kie.client.rate_limiter import store
from airflow_kie.hooks.archive import open_song
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_kie.transfers.kie_to_s3 import KieCoverToS3Operator
from airflow_task import StoredFiles, TaskRun
from kie_simulator.server import SimulatorServer


def song(kie: SimulatorServer, **order: Any) -> str:
    return kie.control.make_music("Café Été", **order)[0].task_id


def cover_of(music_task_id: str, **options: Any) -> str:
    run = TaskRun(
        lambda: KieGenerateCoverOperator(
            task_id="generate_cover", music_task_id=music_task_id, deferrable=False, poll_interval=0.05, **options
        )
    )
    return str(run.attempt())


def archived(music_task_id: str, cover_task_id: str | None, bucket: str, **options: Any) -> dict[str, Any]:
    settings = {"prefix": "songs"} | options
    run = TaskRun(
        lambda: KieCoverToS3Operator(
            task_id="archive_to_s3",
            music_task_id=music_task_id,
            cover_task_id=cover_task_id,
            bucket=bucket,
            **settings,
        )
    )
    result: dict[str, Any] = run.attempt()
    return result


def requests_to_kie(kie: SimulatorServer) -> int:
    return sum(kie.control.state()["requests"].values())


def downloads_of(kie: SimulatorServer) -> int:
    return sum(kie.control.state()["downloads"].values())


def test_covers_are_archived_byte_for_byte_with_the_manifest(kie: SimulatorServer, archive: StoredFiles) -> None:
    from PIL import Image

    music = song(kie)
    result = archived(music, cover_of(music), archive.bucket, labels={"our_id": "A-17"})
    assert archive.listed() == [
        f"songs/{music}/cover-1.png",
        f"songs/{music}/cover-2.png",
        f"songs/{music}/manifest.json",
    ]
    manifest = archive.json(f"songs/{music}/manifest.json")
    assert (manifest["song"]["title"], manifest["labels"]) == (
        "Café Été",
        [{"name": "our_id", "value": "A-17", "by": None, "at": None}],
    )
    for told, file in zip(result["files"], manifest["files"], strict=True):
        body = archive.body(file["key"])
        assert hashlib.sha256(body).hexdigest() == file["sha256"] == told["sha256"]
        assert Image.open(io.BytesIO(body)).size == (file["width"], file["height"])
    assert (result["changed"], result["manifest_key"]) == (True, f"songs/{music}/manifest.json")


def test_audio_and_lyrics_are_archived_if_asked(kie: SimulatorServer, archive: StoredFiles) -> None:
    music = song(kie, prompt="[Verse]\nLa pluie d'été")
    archived(music, cover_of(music), archive.bucket, archive_audio=True, archive_lyrics="True")
    names = [key.rpartition("/")[2] for key in archive.listed()]
    assert [name.partition(".")[0] for name in names] == [
        "cover-1",
        "cover-2",
        "lyrics-1",
        "lyrics-2",
        "manifest",
        "track-1",
        "track-2",
    ]
    assert "La pluie d'été" in archive.body(f"songs/{music}/lyrics-1.txt").decode()


def test_a_task_for_covers_alone_leaves_what_another_run_asked_for(kie: SimulatorServer, archive: StoredFiles) -> None:
    music = song(kie)
    cover = cover_of(music)
    pending = open_song("aws_default", archive.bucket, "songs", music)
    pending.update_pending(received_from="form", options=Options(audio=True))
    for _ in range(2):  # the second time nothing is to be done
        archived(music, cover, archive.bucket)
        assert pending.pending() is not None
    archived(music, cover, archive.bucket, archive_audio=True)
    assert pending.pending() is None


def test_lyrics_that_kie_does_not_have_are_asked_for_once(kie: SimulatorServer, archive: StoredFiles) -> None:
    music = song(kie, prompt=" ")
    cover = cover_of(music)
    first = archived(music, cover, archive.bucket, archive_lyrics=True)
    before = requests_to_kie(kie)
    assert archived(music, cover, archive.bucket, archive_lyrics=True) == {**first, "changed": False}
    assert requests_to_kie(kie) == before


def test_a_track_that_kie_keeps_cut_is_named_in_the_result(kie: SimulatorServer, archive: StoredFiles) -> None:
    music = song(kie)
    kie.control.add_fault("file", "cut", role="audio", times=3)
    result = archived(music, None, archive.bucket, archive_covers=False, archive_audio=True)
    (warning,) = result["warnings"]
    assert f"{music}/track-1.mp3: the track plays 1 s of the 4 s" in warning
    assert [file["kind"] for file in result["files"]] == ["track", "track"]


@pytest.mark.parametrize("images", [1, 3])
def test_one_image_is_archived_as_well_as_many(kie: SimulatorServer, archive: StoredFiles, images: int) -> None:
    kie.control.set(cover_images=images)
    music = song(kie)
    assert len(archived(music, cover_of(music), archive.bucket)["files"]) == images


def test_a_run_that_asks_for_no_more_asks_kie_nothing_and_writes_nothing(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    music = song(kie)
    cover = cover_of(music)
    first = archived(music, cover, archive.bucket)
    before, manifest = requests_to_kie(kie), archive.body(first["manifest_key"])
    again = archived(music, cover, archive.bucket)
    assert again == {**first, "changed": False}
    assert (requests_to_kie(kie), archive.body(first["manifest_key"])) == (before, manifest)


def test_a_run_that_asks_for_more_adds_only_that(kie: SimulatorServer, archive: StoredFiles) -> None:
    music = song(kie)
    cover = cover_of(music)
    archived(music, cover, archive.bucket)
    written = {
        item["Key"]: item["LastModified"] for item in archive.client.list_objects_v2(Bucket=archive.bucket)["Contents"]
    }
    downloads = downloads_of(kie)
    archived(music, cover, archive.bucket, archive_audio=True)
    assert len(archive.listed()) == 5
    assert downloads_of(kie) - downloads == 2
    listed = archive.client.list_objects_v2(Bucket=archive.bucket)["Contents"]
    assert {item["Key"]: item["LastModified"] for item in listed if "cover" in item["Key"]}.items() <= written.items()


def test_audio_alone_needs_no_cover(kie: SimulatorServer, archive: StoredFiles) -> None:
    music = song(kie)
    result = archived(music, None, archive.bucket, archive_covers=False, archive_audio=True)
    assert [file["kind"] for file in result["files"]] == ["track", "track"]


def test_the_pending_record_goes_when_the_song_is_archived(kie: SimulatorServer, archive: StoredFiles) -> None:
    music = song(kie)
    cover = cover_of(music, bucket=archive.bucket, prefix="songs")
    open_song("aws_default", archive.bucket, "songs", music).update_pending(received_from="form")
    archived(music, cover, archive.bucket)
    assert f"songs/_pending/{music}.json" not in archive.listed()


def test_what_is_archived_is_listed_in_the_index_once_and_again_when_more_is_added(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    music = song(kie)
    cover = cover_of(music)
    archived(music, cover, archive.bucket)
    archived(music, cover, archive.bucket)
    (line,) = archive.indexed()
    assert (line["id"], line["title"], [file["name"] for file in line["files"]]) == (
        *(music, "Café Été"),
        ["cover-1.png", "cover-2.png"],
    )
    archived(music, cover, archive.bucket, archive_audio=True)
    assert [len(line["files"]) for line in archive.indexed()] == [2, 4]


def test_a_task_that_died_before_it_listed_the_song_lists_it_in_its_retry(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    music = song(kie)
    cover = cover_of(music, bucket=archive.bucket, prefix="songs")
    open_song("aws_default", archive.bucket, "songs", music).update_pending(received_from="form")

    def die(self: Index, entries: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched, pytest.raises(ConnectionError):
        patched.setattr(Index, "add", die)
        archived(music, cover, archive.bucket)
    assert f"songs/{music}/manifest.json" in archive.listed() and archive.indexed() == []
    assert f"songs/_pending/{music}.json" in archive.listed()  # it goes after the song is listed
    archived(music, cover, archive.bucket)
    assert [line["id"] for line in archive.indexed()] == [music]
    assert f"songs/_pending/{music}.json" not in archive.listed()


def test_a_cover_of_another_song_is_never_archived(kie: SimulatorServer, archive: StoredFiles) -> None:
    music, other = song(kie), song(kie)
    with pytest.raises(KieWrongParent, match=other):
        archived(music, cover_of(other), archive.bucket)
    assert archive.listed() == []


def test_an_expired_link_is_refreshed(kie: SimulatorServer, archive: StoredFiles) -> None:
    music = song(kie)
    cover = cover_of(music)
    kie.control.add_fault("file", "expired", role="image")
    assert len(archived(music, cover, archive.bucket)["files"]) == 2


def test_files_that_kie_has_deleted_are_told_as_gone(kie: SimulatorServer, archive: StoredFiles) -> None:
    music = song(kie, age_days=15)
    with pytest.raises(FileGone, match="14 days"):
        archived(music, None, archive.bucket, archive_covers=False, archive_audio=True)


def test_files_of_this_machine_are_refused_unless_the_setting_allows_them(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    music = song(kie)
    cover = cover_of(music)
    monkeypatch.setenv("AIRFLOW__KIE__ALLOW_LOOPBACK_FILES", "False")
    with pytest.raises(DownloadRefused):
        archived(music, cover, archive.bucket)
    assert archive.listed() == []


def test_the_key_never_reaches_the_host_of_the_files(kie: SimulatorServer, archive: StoredFiles) -> None:
    music = song(kie)
    archived(music, cover_of(music), archive.bucket, archive_audio=True)
    assert (downloads_of(kie), kie.control.state()["authorization_leaks"]) == (4, [])


@pytest.mark.parametrize("fault", ["zero_bytes", "truncated", "html", "content_type", "reset_before"])
def test_a_file_that_comes_damaged_once_is_fetched_again(
    kie: SimulatorServer, archive: StoredFiles, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_kie.archive import file_transfer

    monkeypatch.setattr(file_transfer, "_PAUSES", wait_none())
    music = song(kie)
    cover = cover_of(music)
    kie.control.add_fault("file", fault, role="image")
    assert len(archived(music, cover, archive.bucket)["files"]) == 2


def test_a_file_that_stays_damaged_leaves_no_manifest_and_the_retry_completes_the_song(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_kie.archive import file_transfer

    monkeypatch.setattr(file_transfer, "_PAUSES", wait_none())
    music = song(kie)
    cover = cover_of(music)
    fault = kie.control.add_fault("file", "zero_bytes", role="image", times=-1, skip=1)
    with pytest.raises(KieError, match="0 bytes"):
        archived(music, cover, archive.bucket)
    assert f"songs/{music}/manifest.json" not in archive.listed()
    kie.control.clear_faults(fault)
    assert len(archived(music, cover, archive.bucket)["files"]) == 2


def test_a_file_larger_than_allowed_is_refused(kie: SimulatorServer, archive: StoredFiles) -> None:
    music = song(kie)
    with pytest.raises(KieError, match="larger than allowed"):
        archived(music, cover_of(music), archive.bucket, max_file_bytes=100)
    assert archive.listed() == []


@pytest.mark.parametrize(("missing", "named"), [({"music_task_id": ""}, "music_task_id"), ({"bucket": ""}, "bucket")])
def test_an_empty_argument_is_named_before_anything_is_asked(
    kie: SimulatorServer, bucket: str, missing: dict[str, str], named: str
) -> None:
    given = {"music_task_id": "a" * 32, "cover_task_id": "b" * 32, "bucket": bucket} | missing
    with pytest.raises(KieInvalidRequest, match=f"has no {named}"):
        archived(**given)
    assert requests_to_kie(kie) == 0


def test_write_arguments_reach_s3(kie: SimulatorServer, archive: StoredFiles) -> None:
    music = song(kie)
    result = archived(music, cover_of(music), archive.bucket, extra_args={"ServerSideEncryption": "AES256"})
    head = archive.client.head_object(Bucket=archive.bucket, Key=result["files"][0]["key"])
    assert (head["ServerSideEncryption"], head["ContentType"]) == ("AES256", "image/png")


RAW = "songs/_raw/suno.cover.kie_default.json"


def test_the_first_cover_answer_of_an_account_is_kept_without_links_and_texts(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    music = song(kie, prompt="a private prompt")
    cover = cover_of(music)
    archived(music, cover, archive.bucket)
    data = archive.json(RAW)["data"]
    assert (data["taskId"], data["parentTaskId"], data["successFlag"]) == (cover, music, 1)
    assert [image.partition("<")[0] for image in data["response"]["images"]] == ["http://127.0.0.1/"] * 2
    assert not [word for word in (b"?", b"private", b"Caf", kie.api_key.encode()) if word in archive.body(RAW)]
    archived(another := song(kie), cover_of(another), archive.bucket)
    assert archive.json(RAW)["data"]["taskId"] == cover


def test_a_limiters_database_that_cannot_be_used_keeps_no_song_from_being_archived(
    kie: SimulatorServer, archive: StoredFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(store, "default_store", lambda: f"sqlite:///{tmp_path}/file/kie.db")
    music = song(kie)
    assert archived(music, cover_of(music), archive.bucket)["changed"] is True
    assert archive.json(RAW)


def test_a_raw_answer_that_cannot_be_kept_fails_nothing(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.archive.s3.errors import S3StoredWrong

    put = Bucket.put_json

    def refusing(bucket: Bucket, value: object, key: str) -> None:
        if "/_raw/" in key:
            raise S3StoredWrong("no")
        put(bucket, value, key)

    monkeypatch.setattr(Bucket, "put_json", refusing)
    music = song(kie)
    assert archived(music, cover_of(music), archive.bucket)["changed"] is True


def test_a_task_that_is_to_archive_nothing_says_so_and_asks_nobody(kie: SimulatorServer, bucket: str) -> None:
    with pytest.raises(KieInvalidRequest, match="covers, audio and lyrics are all off in task archive_to_s3"):
        archived("a" * 32, None, bucket, archive_covers=False, archive_audio="False")
    assert requests_to_kie(kie) == 0
