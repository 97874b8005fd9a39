"""`airflow kie deliver check`: what a distributor would refuse, in a sentence each, and the exit code that says so."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

import pytest

from airflow_kie.archive.delivery import cover_image, rules
from airflow_kie.archive.delivery.keys import ReleaseKeys
from airflow_kie.archive.delivery.metadata import TrackSource
from airflow_kie.archive.delivery.release import deliver
from airflow_kie.archive.delivery.rules import DISTRIBUTORS, Picture, Sound, refused_pictures, refused_sounds
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.cli.library import deliver as command
from s3_servers import S3Server
from songs_to_deliver import PREFIX, SAID, archive_song


def test_a_whole_release_passes_and_one_that_lacks_something_is_told_who_asks_for_it(
    s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored, small = Bucket(s3_server.client(), bucket), [replace(row, pixels=(0, 0)) for row in DISTRIBUTORS]
    monkeypatch.setattr(cover_image, "SIDE", 64)
    monkeypatch.setattr(rules, "DISTRIBUTORS", small)
    task = archive_song(stored, "one", side=64)
    args, said = Namespace(action="check", release="Single", archive=f"s3://{bucket}/{PREFIX}"), []
    for credits, code in ((SAID, 0), ({**SAID, "writers": [], "ai": {}}, 1)):
        deliver(stored, ReleaseKeys(PREFIX, "Single"), [TrackSource("one", wav=task)], credits=credits)
        with pytest.raises(SystemExit) as ended:
            command(args)
        assert ended.value.code == code
        said.append(capsys.readouterr().out)
    assert "Nothing was found that they would reject." in said[0]
    assert "- metadata.json lacks tracks[1].writers (required by Labelcaster, DistroKid, AMM)." in said[1]
    assert "- metadata.json lacks tracks[1].ai.lyrics (required by Spotify (AI credits" in said[1]
    assert "2 problems." in said[1]


GOOD = Picture("image/jpeg", 3000, 3000, "RGB", 4_000_000, upscaled=False)
LOUD = Sound("audio/wav", 44_100, 16, 2, tagged=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"width": 2999}, ["2999 by 3000 pixels", "iMusician requires covers of at least 3000"]),
        (
            {"width": 4000, "height": 4000},
            ["DistroKid requires covers of exactly 3000", "FreshTunes requires covers of at most"],
        ),
        ({"mode": "CMYK"}, ["colour mode is CMYK"]),
        ({"content_type": "image/png"}, ["iMusician accepts covers as JPEG", "Sundesire accepts covers as JPEG"]),
        ({"size": 6 * rules.MB}, ["DistroKid (as its users check it) accepts covers up to 5 MB"]),
        ({"size": 11 * rules.MB}, ["FreshTunes accepts covers up to 10 MB"]),
        ({"upscaled": True}, ["Sundesire rejects enlarged pictures"]),
    ],
)
def test_a_cover_that_somebody_refuses_is_told_with_who_and_why(change: dict[str, object], said: list[str]) -> None:
    found = list(refused_pictures(replace(GOOD, **change)))  # type: ignore[arg-type]
    assert bool(found) is bool(change)
    assert [text for text in said if not any(text in line for line in found)] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"rate": 48_000}, ["Labelcaster requires 16 bits at 44,100", "melabel requires 16 bits at 44,100"]),
        ({"rate": 32_000}, ["Symphonic requires 44,100 Hz"]),
        ({"depth": 32}, ["Symphonic requires 16 or 24 bits"]),
        ({"channels": 1}, ["Labelcaster requires 2 channels"]),
        ({"tagged": True}, ["Symphonic rejects files with embedded tags", "Spotify (direct delivery) rejects files"]),
        ({"content_type": "audio/mpeg"}, ["AMM accepts WAV or FLAC, not audio/mpeg"]),
    ],
)
def test_a_track_that_somebody_refuses_is_told_with_who_and_why(change: dict[str, object], said: list[str]) -> None:
    found = list(refused_sounds(replace(LOUD, **change), "track-01.wav"))  # type: ignore[arg-type]
    assert bool(found) is bool(change)
    assert [text for text in said if not any(text in line for line in found)] == []


def test_each_rule_names_the_page_that_says_so() -> None:
    assert all(row.source.startswith("https://") for row in DISTRIBUTORS)
    assert len({row.name for row in DISTRIBUTORS}) == len(DISTRIBUTORS)
