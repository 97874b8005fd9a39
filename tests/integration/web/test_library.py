"""The library as a browser gets it, from a server of its own with Airflow's login and a real S3 server."""

from __future__ import annotations

import html
import io
import re
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from PIL import Image

from media_server import picture
from song_pages import SongPages, song_pages

TASK = "/tasks/market/task1"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SongPages]:
    with song_pages(tmp_path_factory.mktemp("library")) as served:
        deadline = time.monotonic() + 200
        while "; the index is still being read" in served.get("/library").text:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield served


@pytest.mark.parametrize(
    "path", ["/library", "/library/thumbnails/suno.music/seen", TASK, f"{TASK}/files/result-1.png"]
)
def test_everything_needs_a_login_and_the_right_to_read_music_cover(pages: SongPages, path: str) -> None:
    assert [pages.get(path, user).status_code for user in (None, "nobody", "own_reader", "cover_reader")] == [
        *(401, 403, 403, 200)
    ]


def test_it_lists_songs_and_what_other_tasks_have_made(pages: SongPages) -> None:
    text = pages.get("/library").text
    assert {"/airflow/kie/songs/seen", "/airflow/kie/songs/whole", f"/airflow/kie{TASK}"} <= set(
        re.findall(r'<a href="([^"]+)" aria-label', text)
    )
    assert 'data-sound="/airflow/kie/songs/seen/files/track-1.mp3"' in text
    assert "songs/failed" not in text  # nothing is archived of it


def test_the_day_of_a_result_carries_its_time_for_the_readers_zone(pages: SongPages) -> None:
    (day,) = set(re.findall(r"<time .*?</time>", pages.get("/library?q=ete+sans&medium=audio").text))
    moment, utc = r"20\d\d-\d\d-\d\dT[\d:.]+\+00:00", r"[^\"]+, \d\d:\d\d UTC"
    found = re.fullmatch(rf'<time datetime="({moment})" title="{utc}" data-day>(\d+ \w{{3}} 20\d\d)</time>', day)
    assert found and f"{datetime.fromisoformat(found[1]):%-d %b %Y}" == found[2]


def test_search_and_filters_are_in_the_address(pages: SongPages) -> None:
    text = pages.get("/library?q=ete+sans&medium=audio").text
    there = "/airflow/kie/songs/seen?q=ete+sans&amp;medium=audio"
    assert "1 of " in text and re.findall(r'<a href="([^"]+)" aria-label', text) == [there]
    assert 'value="ete sans"' in text
    assert re.search(r'<option value="audio" selected>audio \(\d+\)</option>', text)  # of the whole library
    assert "Nothing in the archive matches" in pages.get("/library?q=nosuchword").text


def test_a_page_beyond_the_last_one_is_the_last_one(pages: SongPages) -> None:
    assert pages.get("/library?page=7").text == pages.get("/library").text


def test_it_is_a_grid_or_a_list_with_styles_and_labels_as_its_address_says(pages: SongPages) -> None:
    grid, rows = pages.get("/library?view=x").text, pages.get("/library?view=list").text
    assert '<ul class="grid">' in grid and 'class="more"' not in grid
    assert '<ul class="grid rows">' in rows and "synthwave, &lt;b&gt;driving" in rows


def test_a_result_leads_to_its_neighbours_in_the_search_and_back_to_it(pages: SongPages) -> None:
    titles = re.findall(r'aria-label="([^"]+)">\s*<(?:img|span)', pages.get("/library?sort=title&medium=image").text)
    before, _, after = (html.unescape(title) for title in titles[3:6])
    page = re.findall(r'<a href="([^"?]+)[^"]*" aria-label', pages.get("/library?sort=title&medium=image").text)[4]
    key = page.removeprefix("/airflow/kie/").replace("songs/", "suno.music/").removeprefix("tasks/")
    shown = pages.get(f"/library/neighbours/{key}?sort=title&medium=image").json()
    assert (shown["before"]["title"], shown["after"]["title"]) == (before, after)
    assert shown["back"] == "/airflow/kie/library?sort=title&medium=image"
    assert shown["after"]["page"].endswith("?sort=title&medium=image")
    rows = pages.get(f"/library/neighbours/{key}?sort=title&medium=image&view=list").json()
    assert rows["back"] == shown["back"] + "&view=list" and rows["after"]["page"].endswith("&view=list")
    alone = pages.get("/library/neighbours/suno.music/seen?q=ete").json()
    assert (alone["before"], alone["after"]) == (None, None)
    assert pages.get("/library/neighbours/suno.music/seen", "own_reader").status_code == 403


def test_hostile_titles_and_searches_are_text(pages: SongPages) -> None:
    text = pages.get("/library").text
    assert "<script>alert(1)" not in text and "<img src=x" not in text and "{{ 7 * 7 }}" in text
    assert "&lt;script&gt;alert(1)" in text
    for search in (
        "?q=%3Cscript%3Ealert(2)%3C/script%3E&model=%22%3E%3Cb%3E",
        "?page=-1&sort='",
        "?page=99999999",
        "?since=x",
    ):
        answer = pages.get(f"/library{search}")
        assert answer.status_code == 200 and "<script>alert(2)" not in answer.text


def test_the_form_for_a_new_song_is_shown_to_who_may_trigger_its_dag(pages: SongPages) -> None:
    assert 'id="new-song"' in pages.get("/library", "editor").text
    assert 'id="new-song"' not in pages.get("/library", "viewer").text
    shown = pages.get("/library/new-song?song=seen", "editor").json()
    assert {"name": "V5", "price": "12 credits"} in shown["models"]
    assert shown["fields"]["title"] == "Été <i>sans</i> fin" and shown["fields"]["style"] == "synthwave, <b>driving</b>"
    assert pages.get("/library/new-song", "own_reader").status_code == 403
    assert pages.get("/library/new-song?song=..%2Fx", "editor").status_code == 404


def test_the_page_may_load_nothing_foreign_and_run_one_script(pages: SongPages) -> None:
    policy = pages.get("/library").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy and "unsafe" not in policy


def test_a_page_that_has_not_changed_is_not_sent_again(pages: SongPages) -> None:
    tag = pages.get("/library").headers["etag"]
    assert pages.get("/library", **{"If-None-Match": tag}).status_code == 304


def test_a_small_picture_is_made_of_an_archived_one_and_of_nothing_else(pages: SongPages) -> None:
    answer = pages.get("/library/thumbnails/suno.music/seen")
    assert answer.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(answer.content)) as small, Image.open(io.BytesIO(picture(1))) as large:
        assert small.size == large.size  # it is smaller than 512 pixels already
    again = pages.get("/library/thumbnails/suno.music/seen", **{"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    for name in ("suno.music/whole", "suno.music/none", "market/..%2Fx", "suno.music/failed"):
        assert pages.get(f"/library/thumbnails/{name}").status_code == 404


def test_what_another_task_has_made_has_a_page_and_its_harmless_files(pages: SongPages) -> None:
    text = pages.get(TASK).text
    assert "market task1" in text and f'src="/airflow/kie{TASK}/files/result-1.png"' in text
    assert "1 more archived file is not shown on this page" in text
    assert pages.get(f"{TASK}/files/result-1.png").content == picture(2)
    assert pages.get(f"{TASK}/files/page-1.html").status_code == 404
    assert pages.get("/tasks/market/none").status_code == 404
    assert pages.get("/tasks/..%2Fx/none").status_code == 404


def test_a_songs_words_are_offered_to_who_may_make_a_new_one(pages: SongPages) -> None:
    offered = [user for user in ("editor", "chooser", "viewer") if "?new=seen" in pages.get("/songs/seen", user).text]
    assert offered == ["editor"]


def test_a_filter_that_is_not_among_the_most_frequent_is_shown_as_it_is(pages: SongPages) -> None:
    text = pages.get("/library?model=rare%3Cb%3E&label=none:+such").text
    assert '<option value="rare&lt;b&gt;" selected>rare&lt;b&gt;</option>' in text
    assert '<option value="none: such" selected>none: such</option>' in text


def test_days_of_a_search_and_their_zone_are_in_its_form_and_its_addresses(pages: SongPages) -> None:
    text = pages.get("/library?since=2000-01-01&zone=Asia/Tokyo").text
    assert '<input type="hidden" name="zone" value="Asia/Tokyo">' in text
    assert "?since=2000-01-01&amp;zone=Asia%2FTokyo" in text


def test_a_release_that_is_not_there_says_what_to_do(pages: SongPages) -> None:
    answer = pages.get("/releases/No%20such%20one")
    assert answer.status_code == 404 and "if no run has this name, nobody has requested it" in answer.text
