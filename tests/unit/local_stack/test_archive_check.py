"""What the demo believes of an archive: only what it has read back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from local_stack.archive_check import check_song

DATA = b"a picture"


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """A bucket with one song that is whole."""
    song = tmp_path / "covers" / "songs" / "abc"
    song.mkdir(parents=True)
    (song / "cover-1.png").write_bytes(DATA)
    write_manifest(tmp_path / "covers")
    return tmp_path / "covers"


def write_manifest(bucket: Path, **changes: object) -> None:
    """Write the song's manifest, with changes to its one file."""
    entry = {"key": "songs/abc/cover-1.png", "size": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest(), **changes}
    (bucket / "songs" / "abc" / "manifest.json").write_text(json.dumps({"files": [entry]}))


def test_a_song_whose_files_are_as_the_manifest_says_is_whole(bucket: Path) -> None:
    song = check_song(bucket, "songs", "abc")
    assert song.whole
    assert [(file.key, file.size) for file in song.files] == [("songs/abc/cover-1.png", len(DATA))]


def test_a_song_without_manifest_is_not_archived(bucket: Path) -> None:
    assert check_song(bucket, "songs", "other").problem == "no manifest"
    assert not check_song(bucket, "songs", "other").whole


@pytest.mark.parametrize("text", ["{", "[]", '{"files": [{"key": "x"}]}', '{"files": "abc"}', '{"files": [1]}'])
def test_a_manifest_that_cannot_be_read_is_a_problem_and_no_crash(bucket: Path, text: str) -> None:
    (bucket / "songs" / "abc" / "manifest.json").write_text(text)
    assert "unreadable manifest" in check_song(bucket, "songs", "abc").problem


def test_a_manifest_of_no_files_is_not_an_archive(bucket: Path) -> None:
    (bucket / "songs" / "abc" / "manifest.json").write_text('{"files": []}')
    assert not check_song(bucket, "songs", "abc").whole


def test_a_missing_file_is_found(bucket: Path) -> None:
    (bucket / "songs" / "abc" / "cover-1.png").unlink()
    song = check_song(bucket, "songs", "abc")
    assert not song.whole
    assert song.files[0].problem == "missing"


def test_a_truncated_file_is_found(bucket: Path) -> None:
    (bucket / "songs" / "abc" / "cover-1.png").write_bytes(DATA[:4])
    assert check_song(bucket, "songs", "abc").files[0].problem == "4 bytes instead of 9"


def test_a_file_with_other_bytes_of_the_same_length_is_found(bucket: Path) -> None:
    (bucket / "songs" / "abc" / "cover-1.png").write_bytes(DATA[::-1])
    assert check_song(bucket, "songs", "abc").files[0].problem.startswith("SHA-256 ")


def test_a_key_that_leads_out_of_the_bucket_is_not_followed(bucket: Path) -> None:
    write_manifest(bucket, key="../outside.png")
    (bucket.parent / "outside.png").write_bytes(DATA)
    assert check_song(bucket, "songs", "abc").files[0].problem == "its key is outside the bucket"
