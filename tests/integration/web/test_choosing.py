"""Choosing a cover and a take over real HTTP: who may, what it leaves behind, and that no other site can do it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from media_server import picture
from song_pages import RUN, SongPages, song_pages

CHOICE = "/songs/whole/choice"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SongPages]:
    with song_pages(tmp_path_factory.mktemp("choosing")) as served:
        yield served


def test_an_editor_chooses_and_the_page_the_library_the_audit_log_and_other_dags_know(pages: SongPages) -> None:
    assert "Nothing is chosen yet. Choose a cover." in pages.get("/songs/whole").text
    answer = pages.change(CHOICE, {"cover": 2})
    assert answer.status_code == 200
    assert answer.json()["message"].startswith("Cover 2 is chosen, by editor on ")
    for user in ("editor", "viewer"):
        assert "Cover 2 is chosen, by editor on " in pages.get("/songs/whole", user).text
    library = pages.get("/library?state=chosen").text
    assert "Velvet Harbour" in library and "1 of " in library
    assert "/library/thumbnails/suno.music/whole?cover-2.png" in library
    logged = pages.stored("select event, owner, dag_id, extra from log where event like 'kie%'")
    assert logged == [("kie_choose", "editor", "music_cover", json.dumps({"song": "whole", "cover": 2}))]
    ((key, extra),) = pages.stored("select partition_key, extra from asset_event where asset_id = 2")
    told = json.loads(extra)
    assert (key, told["by"], told["choice_key"]) == ("whole", "editor", "songs/whole/choice.json")
    assert told["cover"] == "songs/whole/cover-2.png" and told["track"] is None


def test_reject_and_undo(pages: SongPages) -> None:
    pages.change(CHOICE, {"cover": 1})
    assert pages.change(CHOICE, {"rejected": True}).json()["message"].startswith("Rejected by editor")
    assert pages.get("/library?state=rejected").text.count('class="tile"') == 1
    assert pages.change(CHOICE, {"undo": True}).json()["message"].startswith("Cover 1 is chosen")


def test_a_pending_song_is_given_up_and_started_again_only_where_a_run_would_follow(pages: SongPages) -> None:
    text = pages.get("/songs/strange", "editor").text
    assert 'id="retry"' in text and 'id="forget"' in text
    assert 'id="retry"' not in pages.get("/songs/strange", "viewer").text
    answer = pages.change("/songs/strange/retry", {})
    assert answer.status_code == 400 and "Nothing was started" in answer.json()["message"]  # no DAG is here
    assert pages.change("/songs/strange/forget", {}, "viewer").status_code == 403
    assert pages.change("/songs/strange/forget", {}).status_code == 200
    assert pages.change("/songs/called/forget", {}).status_code == 200  # a callback alone names it: no run works on it
    assert pages.get("/songs/strange").status_code == 404
    assert pages.change("/songs/strange/forget", {}).json()["message"] == "It is no longer pending."
    assert pages.stored("select extra from log where event = 'kie_forget'") == [
        (json.dumps({"song": song}),) for song in ("strange", "called")
    ]


def test_a_selection_of_pending_songs_is_given_up_by_who_may_and_what_a_run_works_on_stays(pages: SongPages) -> None:
    assert 'aria-label="Select ' in pages.get("/songs", "editor").text
    assert 'aria-label="Select ' not in pages.get("/songs", "viewer").text
    chosen = {"songs": ["held", "failed", "nowhere"]}
    assert pages.change("/songs/selected/forget", chosen, "viewer").status_code == 403
    answer = pages.change("/songs/selected/retry", chosen)
    assert answer.status_code == 400 and "Nothing was started" in answer.json()["message"]  # no DAG is here
    message = pages.change("/songs/selected/forget", chosen).json()["message"]
    assert message.startswith("1 song given up.") and "2 songs skipped" in message
    assert pages.get("/songs/failed").status_code == 404 and pages.get("/songs/held").status_code == 200
    assert (json.dumps({"songs": ["failed"]}),) in pages.stored("select extra from log where event = 'kie_forget'")
    rest = pages.change("/songs/selected/forget", {"songs": ["broken", "more"]})
    assert rest.status_code == 200 and "1 song skipped" in rest.json()["message"]  # a record that cannot be read
    for songs in ([], None, "failed", ["x"] * 201 + [str(n) for n in range(201)]):
        assert pages.change("/songs/selected/forget", {"songs": songs}).status_code == 400
    assert pages.change("/songs/selected/forget", {"songs": ["../x"]}).status_code == 404


def test_only_who_may_trigger_the_dag_may_choose(pages: SongPages) -> None:
    refused = {user: pages.change(CHOICE, {"cover": 1}, user).status_code for user in (None, "viewer", "own_editor")}
    assert refused == {None: 401, "viewer": 403, "own_editor": 403}
    assert 'data-change="' not in pages.get("/songs/whole", "viewer").text
    assert 'data-change="' in pages.get("/songs/whole", "editor").text
    of_run = f"{RUN}/songs/inother/choice"
    assert pages.change(of_run, {"cover": 1}, "own_editor").status_code == 200
    assert pages.change(of_run, {"cover": 1}, "editor").status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "", "Origin": "https://evil.example.com"},
        {"Sec-Fetch-Site": "", "Origin": "null"},
        {"Sec-Fetch-Site": "", "Origin": "http://["},
    ],
)
def test_no_other_site_can_choose_with_somebodys_login(pages: SongPages, headers: dict[str, str]) -> None:
    assert pages.change(CHOICE, {"cover": 1}, **headers).status_code == 403


def test_a_form_cannot_choose(pages: SongPages) -> None:
    cookie = {"Cookie": f"_token={pages.tokens['editor']}", "Sec-Fetch-Site": "same-origin"}
    assert pages.client.post(pages.url + CHOICE, data={"cover": "1"}, headers=cookie).status_code == 403


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (CHOICE, {"cover": 9}, 400),
        (CHOICE, {"cover": "<b>"}, 400),
        (CHOICE, {"cover": [[[[]]]]}, 400),
        (CHOICE, ["cover"], 400),
        (CHOICE, {"x": "y" * 70_000}, 400),
        ("/songs/none/choice", {"cover": 1}, 404),
        ("/songs/failed/choice", {"cover": 1}, 404),
        ("/songs/..%2Fx/choice", {"cover": 1}, 404),
    ],
)
def test_what_cannot_be_chosen_is_refused_with_a_sentence(
    pages: SongPages, path: str, body: object, status: int
) -> None:
    answer = pages.change(path, body)
    assert answer.status_code == status
    assert status != 400 or answer.json()["message"].endswith(".")


def test_a_label_is_set_and_removed_on_a_selection_and_found(pages: SongPages) -> None:
    results = ["suno.music/seen", "market/task1", "suno.music/none"]
    answer = pages.change("/library/labels", {"results": results, "name": " album ", "value": "<b>A</b>"})
    assert answer.json()["message"] == (
        "Label album: <b>A</b> is set on 2 results. 1 result unchanged: not archived, or already with 10 labels."
    )
    found = pages.get("/library?label=album:%20%3Cb%3EA%3C/b%3E").text
    assert "2 of " in found and "album: &lt;b&gt;A&lt;/b&gt; (2)" in found
    for page in ("/songs/seen", "/tasks/market/task1"):
        assert "<bdi>album: &lt;b&gt;A&lt;/b&gt;</bdi>" in pages.get(page).text
        assert "Remove the label album" in pages.get(page, "editor").text
        assert "Remove the label album" not in pages.get(page, "viewer").text
    removed = pages.change("/library/labels", {"results": "suno.music/seen", "name": "album", "value": ""})
    assert removed.json()["message"] == "Label album is removed from 1 result."
    assert "1 of " in pages.get("/library?label=album:%20%3Cb%3EA%3C/b%3E").text
    logged = pages.stored("select owner, extra from log where event = 'kie_label' order by id limit 1")
    assert logged == [("editor", json.dumps({"results": results, "label": "album", "value": "<b>A</b>"}))]


@pytest.mark.parametrize(
    "body",
    [
        {"results": [], "name": "a", "value": "b"},
        {"results": ["suno.music/seen"], "name": "", "value": "b"},
        {"results": ["suno.music/seen"], "name": "a" * 300, "value": "b"},
        {"results": ["suno.music/seen"], "name": "a", "value": ["b"]},
        {"results": ["suno.music/../x"], "name": "a", "value": "b"},
        {"results": ["suno.music/none"], "name": "a", "value": "b"},
        {"results": 5, "name": "a", "value": "b"},
        {"results": [["suno.music/seen"]], "name": "a", "value": "b"},
        {"results": ["suno.music/seen"], "name": ["a"], "value": "b"},
    ],
)
def test_what_is_no_label_is_refused_with_a_sentence(pages: SongPages, body: object) -> None:
    answer = pages.change("/library/labels", body)
    assert answer.status_code == 400 and answer.json()["message"].endswith(".")
    assert pages.change("/library/labels", body, "viewer").status_code == 403


def test_a_picture_is_uploaded_chosen_and_told_apart_from_kies_covers(pages: SongPages) -> None:
    def sent(content: bytes, user: str | None = "editor", **headers: str) -> httpx.Response:
        known = {"X-Kie-Change": "1", "Sec-Fetch-Site": "same-origin", "Content-Type": "image/png", **headers}
        cookie = {"Cookie": f"_token={pages.tokens[user]}"} if user else {}
        return pages.client.post(f"{pages.url}/songs/seen/cover", content=content, headers=known | cookie)

    assert [sent(picture(7), user).status_code for user in (None, "viewer", "own_editor")] == [401, 403, 403]
    assert sent(picture(7), **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    for wrong in (b"<svg xmlns='http://www.w3.org/2000/svg'/>", picture(7)[:-20], b""):
        assert sent(wrong).json()["message"].startswith("This is not a PNG, JPEG or WebP that can be stored: ")
    Image.new("L", (5000, 5000)).save(large := io.BytesIO(), "PNG")
    assert "the image has 5,000 x 5,000 pixels, more than" in sent(large.getvalue()).json()["message"]
    assert sent(bytes(21 * 1024 * 1024)).json()["message"] == "A picture has at most 20 MiB."
    for _ in range(2):  # the same picture is one
        assert sent(picture(7)).status_code == 200
    page = pages.get("/songs/seen", "editor").text
    ((position,),) = {tuple(found) for found in [re.findall(r'id="choose-cover-(\d{3})"', page)]}
    assert page.count("Uploaded cover") >= 1
    assert pages.get(f"/songs/seen/files/cover-{position}.png").content == picture(7)
    assert (
        pages.change("/songs/seen/choice", {"cover": int(position)})
        .json()["message"]
        .startswith("Another cover is chosen, by editor")
    )
    assert f"thumbnails/suno.music/seen?cover-{position}.png" in pages.get("/library?q=ete").text
    assert "editor chose another cover" in pages.get("/songs/seen").text  # its history
    ((extra,),) = set(pages.stored("select extra from log where event = 'kie_upload'"))
    assert json.loads(extra)["key"] == f"songs/seen/cover-{position}.png"
