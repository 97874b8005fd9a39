"""Choosing a cover and a take over real HTTP: who may, what it leaves behind, and that no other site can do it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

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
    assert pages.get("/songs/strange").status_code == 404
    assert pages.change("/songs/strange/forget", {}).json()["message"] == "It is not pending any more."
    assert pages.stored("select extra from log where event = 'kie_forget'") == [(json.dumps({"song": "strange"}),)]


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
