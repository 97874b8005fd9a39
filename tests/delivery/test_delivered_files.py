"""What is delivered, read back by programs that are not ours: soxi, eyeD3, ImageMagick's identify, exiftool."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_kie.archive.delivery.check import problems
from airflow_kie.archive.delivery.keys import ReleaseKeys
from airflow_kie.archive.delivery.metadata import TrackSource
from airflow_kie.archive.delivery.release import deliver
from airflow_kie.archive.s3.bucket import Bucket
from media_server import mp3
from s3_servers import moto_s3
from songs_to_deliver import PREFIX, SAID, archive_song, stereo_wav

REFUSE_ENLARGED = ("hearyoumusic", "Sundesire")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a release of three songs as files."""
    with moto_s3() as s3:
        bucket = Bucket(s3.client(), "songs")
        bucket.create_on_loopback()
        wavs = [archive_song(bucket, song, isrc="QZ-ABC-26-00001") for song in ("one", "two", "three")]
        chosen = [TrackSource(task.task_id.removeprefix("wav-of-"), take=2, cover=2, wav=task) for task in wavs]
        keys = ReleaseKeys(PREFIX, "Three summers (2026)")
        deliver(bucket, keys, chosen, credits=SAID)
        refused = [f"{who} rejects enlarged pictures; this one was enlarged." for who in REFUSE_ENLARGED]
        assert list(problems(bucket, keys)) == refused
        out = tmp_path_factory.mktemp("release")
        for facts in bucket.list(keys.folder):
            with (out / facts.key.removeprefix(keys.folder)).open("wb") as file:
                bucket.read_facts(facts.key, file)
        yield out


def printed(*command: object) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def test_the_cover_is_a_square_rgb_jpeg_of_3000_pixels_that_says_a_model_made_it(folder: Path) -> None:
    form = printed("identify", "-format", "%m %w %h %[colorspace] %[channels]", folder / "cover.jpg")
    assert form.lower().startswith("jpeg 3000 3000 srgb")
    assert (folder / "cover.jpg").stat().st_size <= 5 * 1024 * 1024
    [read] = json.loads(printed("exiftool", "-json", "-n", "-XMP-iptcExt:DigitalSourceType", folder / "cover.jpg"))
    assert read["DigitalSourceType"].endswith("/trainedAlgorithmicMedia")


def test_the_wav_has_kies_samples_at_their_rate_and_depth_and_no_tag(folder: Path) -> None:
    wave = folder / "track-02.wav"
    asked = stereo_wav()
    assert wave.read_bytes() == asked
    rate, bits = int.from_bytes(asked[24:28], "little"), int.from_bytes(asked[34:36], "little")
    assert [printed("soxi", option, wave).strip() for option in ("-r", "-b", "-t")] == [str(rate), str(bits), "wav"]
    assert float(printed("soxi", "-D", wave)) == 0.5
    told = json.loads((folder / "metadata.json").read_text())["tracks"][1]
    assert (told["sample_rate"], told["bit_depth"]) == (rate, bits)


def test_the_mp3_carries_title_artist_album_date_lyrics_cover_and_the_ids(folder: Path) -> None:
    read = printed("eyeD3", "--no-color", folder / "track-02.mp3")
    for text in (
        "title: Été two",
        "artist: The Examples",
        "album: Three summers",
        "track: 2",
        "la la é",
        "FRONT_COVER",
    ):
        assert text in read
    assert "KIE task two, audio two-2" in read
    tags = json.loads(printed("exiftool", "-json", "-ID3:all", folder / "track-02.mp3"))[0]
    assert (tags["ISRC"], tags["Genre"], str(tags["Year"])) == ("QZABC2600001", "Pop", "2026")
    picture = subprocess.run(["exiftool", "-b", "-Picture", folder / "track-02.mp3"], check=True, capture_output=True)
    assert picture.stdout == (folder / "cover.jpg").read_bytes()


def test_the_sound_of_the_mp3_is_the_archived_one_frame_by_frame(folder: Path) -> None:
    song = folder / "track-02.mp3"
    content = song.read_bytes()
    size = sum((byte & 0x7F) << shift for byte, shift in zip(content[6:10], (21, 14, 7, 0), strict=True))
    assert content[10 + size :] == mp3(2)
    read = json.loads(printed("exiftool", "-json", "-MPEG:SampleRate", song))[0]
    assert read["SampleRate"] == 44_100


def test_the_metadata_names_every_part_that_a_model_made_and_lacks_nothing(folder: Path) -> None:
    told = json.loads((folder / "metadata.json").read_text())
    assert told["missing"] == []
    assert told["cover_upscaled"] is True
    assert [track["title"] for track in told["tracks"]] == ["Été one", "Été two", "Été three"]
    assert told["tracks"][0]["ai"] == {
        "vocals": "generated",
        "music": "generated",
        "lyrics": None,
        "cover": "generated",
    }
    assert told["ai"]["lyrics"] == "assisted"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {file["name"] for file in manifest["files"]} == {
        path.name for path in folder.iterdir() if path.name != "manifest.json"
    }
    assert manifest["songs"] == ["one", "two", "three"]
    assert all(file["made_from"] for file in manifest["files"] if file["name"] != "metadata.json")
