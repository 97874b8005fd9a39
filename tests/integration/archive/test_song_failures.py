"""Files that are bad, dead or gone, and a bucket that refuses: a song that cannot be archived whole is not archived."""

from __future__ import annotations

import functools
from datetime import timedelta

import pytest

from airflow_kie.archive.archiver import Source, archive_song
from airflow_kie.archive.manifest import FileKind
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3NoSuchBucket
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.client.errors import (
    DownloadRefused,
    FileEmpty,
    FileGone,
    FileLinkDead,
    FileTooLarge,
    FileTruncated,
    FileUnreachable,
    FileWrongType,
    KieError,
    KieInvalidRequest,
    KieNoFiles,
)
from airflow_kie.client.http.download import download
from archived_song import LOCAL, NOON, SONG, Case
from media_server import body, one_after_the_other, picture, status, wav


@pytest.mark.parametrize(
    ("script", "error", "asked"),
    [
        (body(b""), FileEmpty, 3),
        (body(picture(1)[:-20]), FileTruncated, 3),
        (body(picture(1), length=10**5), FileTruncated, 3),
        (body(b"<html>oops</html>", "image/png"), FileWrongType, 3),
        (body(b"<svg onload=alert(1)>", "image/svg+xml"), FileWrongType, 3),
        (body(wav(), "image/png"), FileWrongType, 3),
        (status(503), FileUnreachable, 3),
        (body(b"x" * 2_000_000), FileTooLarge, 1),
    ],
    ids=["empty", "cut", "length", "html", "svg", "audio", "503", "large"],
)
def test_a_bad_file_fails_the_song_and_nothing_unchecked_is_stored(
    case: Case, script: object, error: type[KieError], asked: int
) -> None:
    case.media.scripts["/cover-2"] = script  # type: ignore[assignment]
    with pytest.raises(error) as caught:
        case.archive(case.cover(1), case.cover(2), max_file_bytes=1_000_000)
    assert case.stored() == {"_pending/abc.json", "abc/cover-1.png"}
    assert case.media.asked("/cover-2") == asked
    assert len(case.pauses) == asked - 1
    assert "2026-12-06T12:00:00.000Z" in str(caught.value)
    assert "abc" in str(caught.value)


def test_a_file_that_comes_whole_at_the_second_try_is_archived(case: Case) -> None:
    case.media.scripts["/cover-1"] = one_after_the_other(body(b""), body(picture(1)))
    assert case.archive(case.cover(1)).changed
    assert len(case.pauses) == 1


def test_a_song_without_files_is_not_archived(case: Case) -> None:
    with pytest.raises(KieNoFiles):
        case.archive()
    assert case.stored() == {"_pending/abc.json"}


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_dead_link_is_refreshed_once(case: Case, code: int) -> None:
    case.media.scripts |= {"/cover-1": status(code), "/fresh": body(picture(1))}
    asked: list[str] = []

    def refresh(url: str) -> str:
        asked.append(url)
        return case.media.url("/fresh?sig=1")

    case.archive(case.cover(1), refresh=refresh)
    assert asked == [case.cover(1).url]


def test_a_link_that_stays_dead_before_the_files_expire_says_so(case: Case) -> None:
    case.media.scripts["/cover-1"] = status(404)
    with pytest.raises(FileLinkDead):
        case.archive(case.cover(1), refresh=lambda url: url)
    assert case.media.asked("/cover-1") == 2


def test_a_link_that_kie_does_not_refresh_stays_a_dead_link(case: Case) -> None:
    def refresh(url: str) -> str:
        raise KieInvalidRequest("url is wrong", code=422)

    case.media.scripts["/cover-1"] = status(404)
    with pytest.raises(FileLinkDead):
        case.archive(case.cover(1), refresh=refresh)


def test_after_fourteen_days_a_dead_link_is_a_file_that_is_gone(case: Case) -> None:
    case.media.scripts["/cover-1"] = status(404)
    case.now = NOON + timedelta(days=14)
    with pytest.raises(FileGone, match="kept until 2026-12-06"):
        case.archive(case.cover(1), refresh=lambda url: url)


def test_a_file_that_still_stands_after_fourteen_days_is_archived(case: Case) -> None:
    case.now = NOON + timedelta(days=20)
    assert case.archive(case.cover(1)).changed


def test_an_address_that_is_refused_fails_the_song_at_once(case: Case) -> None:
    with pytest.raises(DownloadRefused):
        case.archive(Source(FileKind.COVER, 1, url="http://10.0.0.1/x.png"))
    assert case.pauses == []


def test_a_refusal_of_s3_names_the_song_and_until_when_kie_keeps_it(case: Case) -> None:
    missing = Bucket(case.bucket.client, "gone-bucket")
    with pytest.raises(S3NoSuchBucket) as caught:
        archive_song(
            SongArchive(missing, case.keys),
            SONG,
            [case.cover(1)],
            old=None,
            download=functools.partial(download, settings=LOCAL),
        )
    assert "for abc" in str(caught.value)
    assert "KIE keeps them until 2026-12-06" in str(caught.value)
