"""A selection of the library as a zip, from a server with Airflow's login and a real S3 server."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote, urlencode

import httpx
import pytest

from song_pages import LARGE, PNG, TITLES, SongPages, song_pages


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SongPages]:
    with song_pages(tmp_path_factory.mktemp("zips")) as served:
        yield served


def asked(pages: SongPages, *results: str, user: str | None = "viewer", **headers: str) -> httpx.Response:
    """Send the library's form."""
    sent = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin", **headers}
    cookie = {"Cookie": f"_token={pages.tokens[user]}"} if user else {}
    body = urlencode([("result", result) for result in results])
    return pages.client.post(f"{pages.url}/library/zip", content=body, headers={**sent, **cookie})


def opened(answer: httpx.Response) -> zipfile.ZipFile:
    assert answer.status_code == 200, answer.text
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    return archive


def test_it_holds_every_file_with_its_manifest_and_a_page_that_leads_to_each(pages: SongPages) -> None:
    pages.change("/songs/whole/choice", {"cover": 2})
    answer = asked(pages, "suno.music/whole", "market/task1", "suno.music/whole")
    assert re.fullmatch(r'attachment; filename="kie-library-[0-9-]+\.zip"', answer.headers["content-disposition"])
    archive = opened(answer)
    whole = "Velvet Harbour - whole"
    assert set(archive.namelist()) == {
        *(f"{whole}/{name}" for name in ("cover-1.png", "cover-2.png", "track-1.mp3", "lyrics-1.txt")),
        *(f"{whole}/{name}.json" for name in ("manifest", "choice")),
        *(f"market task1 - task1/{name}" for name in ("result-1.png", "manifest.json")),
        "index.html",
    }
    assert archive.read(f"{whole}/cover-1.png") == PNG
    assert json.loads(archive.read(f"{whole}/manifest.json"))["music_task_id"] == "whole"
    page = archive.read("index.html").decode()
    links = {unquote(link) for link in re.findall(r'(?:src|href)="([^"]+)"', page)}
    assert links == set(archive.namelist()) - {"index.html", f"{whole}/choice.json"}
    assert page.index("cover-2.png") < page.index("cover-1.png")  # the chosen one comes first
    assert "2 results" in page and "1 more archived file is not included here." in page


def test_a_song_whose_choice_is_damaged_is_there_with_its_files(pages: SongPages) -> None:
    choice = pages.home / "s3" / "songs" / "songs" / "seen" / "choice.json"
    choice.write_text("{")
    try:
        names = opened(asked(pages, "suno.music/seen")).namelist()
    finally:
        choice.unlink()
    assert [name for name in names if name.endswith("track-1.mp3")]


def test_names_are_harmless_whatever_the_titles_are(pages: SongPages) -> None:
    archive = opened(asked(pages, *(f"suno.music/{song}" for song in TITLES)))
    for name in archive.namelist():
        assert name.count("/") == (0 if name == "index.html" else 1)
        assert name.isprintable() and not set(name) & set('\\:*?"<>|%') and len(name) < 150
        assert ".." not in name.split("/")
    page = archive.read("index.html").decode()
    assert "<script" not in page and "<img src=x" not in page and "{{ 7 * 7 }}" in page


def test_what_cannot_be_read_does_not_stop_the_others_and_is_named(pages: SongPages) -> None:
    archive = opened(asked(pages, "suno.music/damaged", "suno.music/failed", "suno.music/tampered", "suno.music/more"))
    page = archive.read("index.html").decode()
    assert "Song damaged could not be read" in page and "Song failed could not be read" in page
    assert re.search(r"cover-4.png: .*different size", page)  # the bucket has another size than the manifest
    assert "More - more/cover-1.png" in archive.namelist()
    assert not any("secret" in name or name.endswith((".html", ".svg")) for name in archive.namelist() if "/" in name)


def test_it_is_sent_while_it_is_read(pages: SongPages) -> None:
    before, sent, most = pages.process.memory_info().rss, 0, 0
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": f"_token={pages.tokens['viewer']}"}
    url, body = f"{pages.url}/library/zip", "result=suno.music%2Flarge"
    with pages.client.stream("POST", url, content=body, headers=headers) as answer:
        for piece in answer.iter_bytes(1 << 20):
            sent += len(piece)
            most = max(most, pages.process.memory_info().rss)
    assert sent > LARGE and most - before < 64 << 20


def test_it_needs_the_right_to_read_music_cover_and_our_own_form(pages: SongPages) -> None:
    one = "suno.music/whole"
    assert [asked(pages, one, user=user).status_code for user in (None, "nobody", "own_reader")] == [401, 403, 403]
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "", "Origin": "https://evil.example.com"}):
        assert asked(pages, one, **headers).status_code == 403


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ([], 400),
        ([f"suno.music/s{number}" for number in range(501)], 400),
        (["suno.music/" + "x" * 70_000], 400),
        (["../secret"], 404),
        (["suno.music/../x"], 404),
        (["nonsense"], 404),
    ],
)
def test_what_no_form_of_ours_sends_is_refused(pages: SongPages, results: list[str], status: int) -> None:
    assert asked(pages, *results).status_code == status
