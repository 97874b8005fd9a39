"""A song goes into the bucket whole or not at all, from real downloads to real S3 servers."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from datetime import timedelta

import jsonschema
import pytest

from airflow_kie.archive.archiver import Source
from airflow_kie.archive.manifest import FileKind, Manifest, Wanted
from airflow_kie.archive.pending import Options, new_pending
from airflow_kie.archive.record_base import Label
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.client.errors import FileTruncated, FileUnreachable, KieNoFiles
from archived_song import NOON, Case, content_of
from media_server import body, mp3, mp3_with_header, one_after_the_other, picture, status


def test_two_covers_are_archived_with_a_manifest_that_follows_its_schema(case: Case) -> None:
    archived = case.archive(case.cover(1), case.cover(2))
    assert case.stored() == {"abc/cover-1.png", "abc/cover-2.png", "abc/manifest.json"}
    assert content_of(case.bucket, "music/abc/cover-1.png") == picture(1)
    manifest = case.bucket.get_json(case.keys.manifest)
    jsonschema.validate(manifest, Manifest.published_schema())
    first = manifest["files"][0]
    assert first == {
        "key": "music/abc/cover-1.png",
        "kind": "cover",
        "position": 1,
        "size": len(picture(1)),
        "sha256": hashlib.sha256(picture(1)).hexdigest(),
        "content_type": "image/png",
        "width": 64,
        "height": 48,
        "duration_seconds": None,
        "task_id": "cover-task",
        "audio_id": None,
        "expires_at": "2026-12-06T12:00:00.000Z",
        "archived_at": "2026-11-22T12:05:00.000Z",
        "warning": None,
        "by": None,
        "origin": None,
    }
    assert manifest["available"] == [{"kind": "cover", "positions": [1, 2]}]
    assert manifest["song"]["title"] == "Été"
    assert manifest["cover_task_ids"] == ["cover-task"]
    assert manifest["labels"] == [{"name": "isrc", "value": "X1", "by": None, "at": None}]
    assert manifest["airflow"]["task_id"] == "archive_to_s3"
    assert archived.changed
    assert len(archived.added) == 2


def test_one_cover_is_enough(case: Case) -> None:
    case.archive(case.cover(1))
    assert case.stored() == {"abc/cover-1.png", "abc/manifest.json"}


def test_no_secret_of_a_link_reaches_the_bucket_or_the_log(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "airflow_kie")
    case.archive(case.cover(1))
    written = content_of(case.bucket, case.keys.manifest)
    assert written is not None
    assert b"secret" not in written
    assert "secret" not in caplog.text


def test_an_image_that_comes_under_another_type_is_named_by_its_content(case: Case) -> None:
    case.media.scripts["/cover-1"] = body(picture(1, "JPEG"), "text/html")
    archived = case.archive(case.cover(1))
    assert archived.manifest.files[0].key == "music/abc/cover-1.jpg"
    stored = case.bucket.head("music/abc/cover-1.jpg")
    assert stored is not None
    assert stored.content_type == "image/jpeg"


def test_audio_and_lyrics_are_archived_beside_the_covers(case: Case) -> None:
    lyrics = Source(FileKind.LYRICS, 1, text="[Verse]\nÉté", audio_id="t1")
    archived = case.archive(case.cover(1), case.track(1), case.track(2), lyrics)
    assert {file.key.rpartition("/")[2] for file in archived.manifest.files} == {
        "cover-1.png", "track-1.wav", "track-2.wav", "lyrics-1.txt",
    }  # fmt: skip
    assert content_of(case.bucket, "music/abc/lyrics-1.txt") == "[Verse]\nÉté\n".encode()
    track = archived.manifest.file("track", 1)
    assert track is not None
    assert (track.duration_seconds, track.audio_id) == (0.5, "t1")


def test_a_rerun_that_asks_for_no_more_changes_nothing_and_says_so(case: Case) -> None:
    first = case.archive(case.cover(1), case.cover(2))
    before = {facts.key: facts.last_modified for facts in case.bucket.list("")}
    case.now += timedelta(hours=3)
    again = case.archive(case.cover(1), case.cover(2))
    assert not again.changed
    assert again.manifest == first.manifest
    assert not again.added
    assert {facts.key: facts.last_modified for facts in case.bucket.list("")} == before
    assert case.media.asked("/cover-1") == 1


def test_a_rerun_that_asks_for_more_adds_files_and_then_the_manifest(case: Case) -> None:
    first = case.archive(case.cover(1))
    case.now += timedelta(hours=3)
    more = case.archive(case.cover(1), case.track(1))
    assert [file.key for file in more.added] == ["music/abc/track-1.wav"]
    assert case.media.asked("/cover-1") == 1
    manifest = SongArchive(case.bucket, case.keys).manifest()
    assert manifest is not None
    assert manifest.file("cover", 1) == first.manifest.file("cover", 1)
    assert (manifest.created_at, manifest.updated_at) == (first.manifest.created_at, case.now)


def test_a_rerun_that_asks_for_less_takes_nothing_away(case: Case) -> None:
    case.archive(case.cover(1), case.track(1))
    assert not case.archive(case.cover(1)).changed
    assert "abc/track-1.wav" in case.stored()


def test_a_link_that_changed_is_the_same_file(case: Case) -> None:
    case.archive(case.cover(1))
    assert not case.archive(case.cover(1, "/elsewhere/cover-1")).changed


def test_a_file_of_another_cover_task_replaces_the_old_one_under_its_position(case: Case) -> None:
    case.archive(case.cover(1))
    case.media.scripts["/new"] = body(picture(9, "JPEG"))
    replaced = case.archive(replace(case.cover(1, "/new"), task_id="cover-task-2"))
    assert replaced.changed
    assert case.stored() == {"abc/cover-1.jpg", "abc/manifest.json"}


def test_while_a_file_is_replaced_the_manifest_does_not_name_it(case: Case) -> None:
    case.archive(case.cover(1), case.cover(2))
    case.media.scripts["/new"] = status(500)
    with pytest.raises(FileUnreachable):
        case.archive(replace(case.cover(1, "/new"), task_id="cover-task-2"), case.cover(2))
    manifest = SongArchive(case.bucket, case.keys).manifest()
    assert manifest is not None
    assert [file.key for file in manifest.files] == ["music/abc/cover-2.png"]


def test_a_file_that_vanished_from_the_bucket_is_fetched_again(case: Case) -> None:
    case.archive(case.cover(1), case.cover(2))
    case.bucket.delete("music/abc/cover-2.png")
    healed = case.archive(case.cover(1), case.cover(2))
    assert [file.key for file in healed.added] == ["music/abc/cover-2.png"]
    assert "abc/cover-2.png" in case.stored()


def test_a_file_that_was_changed_in_the_bucket_is_fetched_again(case: Case) -> None:
    case.archive(case.cover(1))
    case.bucket.put_bytes(b"overwritten", "music/abc/cover-1.png", content_type="image/png")
    case.archive(case.cover(1))
    assert content_of(case.bucket, "music/abc/cover-1.png") == picture(1)


def test_the_pending_record_goes_after_the_manifest_also_when_a_crash_left_it(case: Case) -> None:
    case.archive(case.cover(1))
    assert SongArchive(case.bucket, case.keys).pending() is None
    SongArchive(case.bucket, case.keys).merge_pending(new_pending("abc", received_from="form", now=NOON))
    assert not case.archive(case.cover(1)).changed
    assert SongArchive(case.bucket, case.keys).pending() is None


def test_a_run_for_covers_alone_leaves_the_pending_record_of_one_that_also_asks_for_audio(case: Case) -> None:
    asked = new_pending("abc", received_from="form", now=NOON).changed(options=Options(audio=True))
    SongArchive(case.bucket, case.keys).merge_pending(asked)
    case.archive(case.cover(1))
    pending = SongArchive(case.bucket, case.keys).pending()
    assert pending is not None, "the audio is still to be archived"
    assert pending.options.audio
    case.archive(case.track(1))
    assert SongArchive(case.bucket, case.keys).pending() is None


def test_a_track_that_is_missing_of_two_is_pending_and_its_kind_is_not_archived(case: Case) -> None:
    case.archive(case.cover(1), case.track(1), case.track(2))
    case.bucket.delete("music/abc/track-2.wav")
    case.media.scripts["/track-2"] = status(500)
    with pytest.raises(FileUnreachable):
        case.archive(case.track(1), case.track(2))
    pending, manifest = SongArchive(case.bucket, case.keys).pending(), SongArchive(case.bucket, case.keys).manifest()
    assert pending is not None
    assert pending.wanted.missing_in(manifest) == ("track",)


def test_lyrics_that_kie_does_not_have_are_asked_for_once(case: Case) -> None:
    wanted = Wanted(lyrics=True)
    asked = new_pending("abc", received_from="form", now=NOON).changed(options=Options(lyrics=True))
    SongArchive(case.bucket, case.keys).merge_pending(asked)
    archived = case.archive(case.cover(1), wanted=wanted)
    assert wanted.missing_in(archived.manifest) == ()
    assert SongArchive(case.bucket, case.keys).pending() is None
    assert not case.archive(case.cover(1), wanted=wanted).changed


def test_a_song_of_which_kie_names_no_track_keeps_its_covers_and_stays_pending(case: Case) -> None:
    wanted = Wanted(audio=True)
    asked = new_pending("abc", received_from="form", now=NOON).changed(options=Options.of(wanted))
    SongArchive(case.bucket, case.keys).merge_pending(asked)
    with pytest.raises(KieNoFiles, match="names no track"):
        case.archive(case.cover(1), wanted=wanted)
    assert "abc/cover-1.png" in case.stored()
    assert SongArchive(case.bucket, case.keys).pending() is not None


def test_new_labels_and_cover_tasks_reach_a_manifest_and_nothing_is_forgotten(case: Case) -> None:
    case.archive(case.cover(1))
    news = Manifest(
        music_task_id="abc",
        labels=(Label(name="shelf", value="7"),),
        cover_task_ids=("c2",),
        created_at=NOON,
        updated_at=NOON,
    )
    told = case.archive(case.cover(1), song=news)
    assert told.changed
    assert not told.added
    assert [(label.name, label.value) for label in told.manifest.labels] == [("isrc", "X1"), ("shelf", "7")]
    assert told.manifest.cover_task_ids == ("cover-task", "c2")
    assert told.manifest.song.title == "Été"


def test_two_tracks_with_the_same_content_are_archived_with_a_warning(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    case.media.scripts["/track-2"] = case.media.scripts["/track-1"]
    archived = case.archive(case.track(1), case.track(2))
    (warning,) = archived.manifest.warnings
    assert warning.startswith("music/abc/track-2.wav has the same content as music/abc/track-1.wav.")
    assert warning in caplog.text


def test_a_track_that_is_shorter_than_kie_says_is_fetched_again_and_stored_with_a_warning(case: Case) -> None:
    case.media.scripts["/track-1"] = body(mp3(1))
    archived = case.archive(replace(case.track(1), duration_seconds=180.0))
    assert case.media.asked("/track-1") == 3
    (warning,) = archived.manifest.warnings
    assert warning.startswith("music/abc/track-1.mp3: the track plays 1 s of the 180 s that KIE names")
    assert "play its end" in warning


def test_a_track_that_was_cut_at_its_source_is_stored_with_a_warning_though_all_its_bytes_came(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    whole = mp3_with_header(mp3(4))
    case.media.scripts["/track-1"] = body(whole[: len(whole) // 5])
    archived = case.archive(case.track(1))
    (warning,) = archived.manifest.warnings
    assert "the track plays 1 s of the 4 s that its own header names" in warning
    assert archived.manifest.files[0].duration_seconds == pytest.approx(0.8, abs=0.1)
    assert warning in caplog.text


def test_a_track_that_is_whole_when_it_is_fetched_again_has_no_warning(case: Case) -> None:
    whole = mp3_with_header(mp3(4))
    case.media.scripts["/track-1"] = one_after_the_other(body(whole[: len(whole) // 5]), body(whole))
    archived = case.archive(replace(case.track(1), duration_seconds=4.0))
    assert archived.manifest.warnings == ()
    assert archived.manifest.files[0].size == len(whole)


def test_a_track_that_ends_with_the_connection_must_be_as_long_as_kie_says(case: Case) -> None:
    def unframed(request: object) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + mp3(1))  # type: ignore[attr-defined]

    case.media.scripts["/track-1"] = unframed
    with pytest.raises(FileTruncated):
        case.archive(replace(case.track(1), duration_seconds=180.0))
    assert case.archive(replace(case.track(1), duration_seconds=1.0)).changed


@pytest.mark.parametrize("kind", ["track", "cover"])
def test_a_file_of_which_nothing_says_where_it_ends_is_fetched_again_and_stored_with_a_warning(
    case: Case, kind: str
) -> None:
    sent = {"track": mp3(1), "cover": picture(1)}[kind]

    def unframed(request: object) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + sent)  # type: ignore[attr-defined]

    case.media.scripts[f"/{kind}-1"] = unframed
    (file,) = case.archive(getattr(case, kind)(1)).manifest.files
    says_itself = kind == "cover"
    assert case.media.asked(f"/{kind}-1") == (1 if says_itself else 3)
    assert ("says where it ends, so it may be truncated" in (file.warning or "")) is not says_itself


def test_embedded_provenance_survives(case: Case) -> None:
    from io import BytesIO

    from PIL import Image, PngImagePlugin

    notes = PngImagePlugin.PngInfo()
    notes.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta>trainedAlgorithmicMedia</x:xmpmeta>")
    out = BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=notes)
    case.media.scripts["/cover-1"] = body(out.getvalue())
    case.archive(case.cover(1))
    assert content_of(case.bucket, "music/abc/cover-1.png") == out.getvalue()
