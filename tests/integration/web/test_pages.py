"""The song pages over real HTTP, with Airflow's login, its database, and a real S3 server over a folder."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from urllib.parse import quote, unquote

import pytest

from airflow_kie.client.errors import KieContentRejected
from song_pages import LARGE, LYRICS, MP3, PNG, RUN, SONGS_OF_BATCHES, TITLES, SongPages, song_pages

OWN_SCRIPT = "<script>// Follows the theme"
"""How the script of our pages begins, which comes last in them."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SongPages]:
    with song_pages(tmp_path_factory.mktemp("song-pages")) as served:
        yield served


# --- who may see what ---

OF_MUSIC_COVER = ("/songs", "/songs/whole", "/songs/whole/files/cover-1.png", "/songs/none", "/songs?id=whole")
OF_OWN_DAG = (RUN, f"{RUN}/songs/inother", f"{RUN}/songs/inother/files/cover-1.png", f"{RUN}/tasks/archive_to_s3/1")


@pytest.mark.parametrize("path", [*OF_MUSIC_COVER, *OF_OWN_DAG, "/runs/none/none", "/runs/~/~"])
def test_without_a_login_nothing_is_shown(pages: SongPages, path: str) -> None:
    answer = pages.get(path, None)
    assert answer.status_code == 401
    assert "Log in" in answer.text
    assert pages.get(path, None, Authorization="Bearer forged").status_code in (401, 403)


@pytest.mark.parametrize("path", OF_MUSIC_COVER)
@pytest.mark.parametrize("user", ["nobody", "own_reader", "cover_reader", "viewer"])
def test_songs_are_shown_to_readers_of_music_cover_only(pages: SongPages, user: str, path: str) -> None:
    refused = pages.get(path, user).status_code == 403
    assert refused is (user in ("nobody", "own_reader"))


@pytest.mark.parametrize("path", OF_OWN_DAG)
@pytest.mark.parametrize("user", ["nobody", "own_reader", "cover_reader", "viewer"])
def test_a_runs_songs_are_shown_to_readers_of_its_dag_only(pages: SongPages, user: str, path: str) -> None:
    assert pages.get(path, user).status_code == (200 if user in ("own_reader", "viewer") else 403)


def test_the_right_to_read_one_dag_says_nothing_of_the_runs_of_another(pages: SongPages) -> None:
    assert pages.get("/runs/other_dag/r", "own_reader").status_code == 403
    assert pages.get("/runs/other_dag/r?dag_id=own_dag", "own_reader").status_code == 403


def test_the_receiver_beside_the_pages_asks_for_kies_signature_and_no_login(pages: SongPages) -> None:
    assert pages.client.post(f"{pages.url}/callback/kie_default", content=b"{}").status_code == 401
    assert pages.get("/callback/kie_default").status_code == 405


def test_where_the_receiver_is_off_every_route_wants_a_login(pages: SongPages) -> None:
    closed = pages.url.replace("/kie", "/closed")
    assert pages.client.post(f"{closed}/callback/kie_default", content=b"{}").status_code == 404
    assert pages.client.get(f"{closed}/songs/whole").status_code == 401


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/", "/songs/whole/files", "/songs/whole/files/"])
def test_nothing_else_is_served(pages: SongPages, path: str) -> None:
    assert pages.get(path).status_code == 404


@pytest.mark.parametrize("user", [None, "nobody", "viewer"])
@pytest.mark.parametrize(
    "path",
    [*OF_MUSIC_COVER, *OF_OWN_DAG, "/library", "/status", "/songs/large/files/track-1.mp3", "/callback/kie_default"],
)
def test_head_is_answered_as_get_is_without_the_body(pages: SongPages, path: str, user: str | None) -> None:
    cookie = {"Cookie": f"_token={pages.tokens[user]}"} if user else {}
    head = pages.client.head(pages.url + path, headers=cookie)
    with pages.client.stream("GET", pages.url + path, headers=cookie) as get:
        shown = [(one.status_code, one.headers.get("content-type"), one.headers.get("location")) for one in (head, get)]
        assert shown[0] == shown[1]
        if "/files/" in path:
            assert head.headers["content-length"] == get.headers["content-length"]
            assert head.headers.get("etag") == get.headers.get("etag")
    assert head.content == b""


def test_a_run_that_has_generated_a_song_leads_to_it_and_to_the_run_of_its_cover(pages: SongPages) -> None:
    assert 'href="/airflow/kie/runs/own_dag/generated/songs/waits"' in pages.get("/runs/own_dag/generated").text
    text = pages.get("/runs/own_dag/generated/tasks/generate_music/-1").text
    assert "<h1><bdi>Waits</bdi></h1>" in text
    assert f"/airflow/dags/own_dag/runs/{quote(RUN[14:], safe='')}" in text


def test_a_run_of_batches_shows_their_songs(pages: SongPages) -> None:
    text = pages.get("/runs/own_dag/batches").text
    shown = re.findall(r'href="/airflow/kie/runs/own_dag/batches/songs/([^"]+)"', text)
    assert shown == [song for songs in SONGS_OF_BATCHES for song in songs]
    assert pages.get("/runs/own_dag/batches/songs/inother/files/cover-1.png").status_code == 200


# --- stopped spending ---


@pytest.mark.parametrize("path", ["/songs", "/songs/whole", "/songs/none", RUN, f"{RUN}/songs/inother"])
def test_every_page_says_who_has_stopped_new_paid_tasks_when_and_why(pages: SongPages, path: str) -> None:
    notice = (
        "jane@bastion has stopped new paid tasks of account held on 28 Nov 2026 20:15 UTC "
        "(&#34;a &lt;b&gt;loop&lt;/b&gt;&#34;); nothing new is "
        "sent to KIE until `airflow kie spending resume --account held`."
    )
    assert pages.get(path).text.count(f'<p class="notice" role="status">{notice}</p>') == 1


@pytest.mark.parametrize("user", [None, "nobody"])
def test_who_may_not_see_a_page_does_not_learn_who_has_stopped_what(pages: SongPages, user: str | None) -> None:
    assert "jane" not in pages.get("/songs", user).text


# --- one song ---


def test_an_archived_song_shows_its_pictures_sound_lyrics_and_state(pages: SongPages) -> None:
    answer = pages.get("/songs/whole")
    text = answer.text
    assert answer.status_code == 200
    for shown in ("Velvet Harbour", ">Archived<", "synthwave, &lt;b&gt;driving", "2:18", "s3://songs/songs/whole/"):
        assert shown in text
    for name in ("cover-1.png", "cover-2.png", "track-1.mp3"):
        assert f'src="/airflow/kie/songs/whole/files/{name}"' in text
    assert 'href="/airflow/kie/songs/whole/files/lyrics-1.txt?download=1" download' in text
    assert 'href="/airflow/dags/music_cover/runs/r%2B1"' in text
    assert not re.search(r"X-Amz|Signature|AWSAccessKeyId|127\.0\.0\.1", text)


def test_inside_airflows_frame_no_link_leads_out_of_it(pages: SongPages) -> None:
    assert "/airflow/dags/" not in pages.get("/songs/whole", **{"Sec-Fetch-Dest": "iframe"}).text


def test_a_page_may_load_nothing_but_its_own_pictures_and_sound(pages: SongPages) -> None:
    answer = pages.get("/songs/whole")
    policy = answer.headers["content-security-policy"]
    style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    for rule in ("default-src 'none'", "img-src 'self'", "media-src 'self'", "frame-ancestors 'self'", digest):
        assert rule in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("name", "content", "content_type", "how"),
    [
        ("cover-1.png", PNG, "image/png", "inline"),
        ("track-1.mp3", MP3, "audio/mpeg", "inline"),
        ("lyrics-1.txt", LYRICS, "text/plain; charset=utf-8", "attachment"),
    ],
)
def test_a_file_comes_byte_for_byte_under_the_type_that_was_checked(
    pages: SongPages, name: str, content: bytes, content_type: str, how: str
) -> None:
    answer = pages.get(f"/songs/whole/files/{name}")
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["content-type"] == content_type  # S3 has it as text/html
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["content-disposition"].startswith(how)
    download = pages.get(f"/songs/whole/files/{name}?download=1").headers["content-disposition"]
    assert download.startswith("attachment;")
    assert unquote(download.partition("UTF-8''")[2]) == f"Velvet Harbour - {name}"


@pytest.mark.parametrize(("song", "title"), TITLES.items(), ids=str)
def test_a_hostile_title_is_text_on_the_page_and_a_harmless_file_name(pages: SongPages, song: str, title: str) -> None:
    text = pages.get(f"/songs/{song}").text
    assert not re.search(r"<script|<img src=x|<b>|49", text.partition("</style>")[2].partition(OWN_SCRIPT)[0])
    assert len(text.partition("</style>")[2].partition(OWN_SCRIPT)[0]) < 5_000
    headers = pages.get(f"/songs/{song}/files/cover-1.png?download=1").headers
    name = unquote(headers["content-disposition"].partition("UTF-8''")[2])
    assert "set-cookie" not in headers
    assert name.endswith(" - cover-1.png")
    assert len(name) <= 100
    assert not re.search(r'[\x00-\x1f\u202a-\u202e\u2066-\u2069/\\:*?"<>|]', name)


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "cover-9.png",
        "..%2F..%2Fsecret%2Fcover-1.png",
        "..%2Fwhole%2Fcover-1.png",
        "%2e%2e%2fcover-1.png",
        "sub%2Fcover-1.png",
        "cover-1.png%00",
        "cover-2.html",
        "cover-3.svg",
        "cover-1.png",  # the manifest names it in another folder
    ],
)
def test_only_files_that_the_manifest_names_in_the_songs_own_folder_are_served(pages: SongPages, name: str) -> None:
    answer = pages.get(f"/songs/tampered/files/{name}")
    assert answer.status_code == 404
    assert b"not for you" not in answer.content


def test_files_of_other_kinds_are_counted_and_not_offered(pages: SongPages) -> None:
    text = pages.get("/songs/tampered").text
    assert "5 more archived files are not shown on this page" in text
    assert "cover-2.html" not in text


def test_a_file_of_another_size_than_its_manifest_says_is_not_served(pages: SongPages) -> None:
    answer = pages.get("/songs/tampered/files/cover-4.png")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")


def test_a_failed_song_says_why_and_what_to_do(pages: SongPages) -> None:
    text = pages.get("/songs/failed").text
    assert ">Failed<" in text and "Rude &lt;b&gt;Words" in text
    assert KieContentRejected.what in text
    assert "The prompt has &lt;i&gt;sensitive&lt;/i&gt; words" in text
    assert text.count(KieContentRejected.todo.partition("'")[0]) == 1
    assert "ZeroDivisionError" not in pages.get("/songs/strange").text
    assert "Read the log of the failed task" in pages.get("/songs/strange").text


def test_a_song_without_a_manifest_shows_no_file_even_if_some_are_there(pages: SongPages) -> None:
    text = pages.get("/songs/half").text
    assert ">Waiting<" in text and "<img" not in text
    assert pages.get("/songs/half/files/cover-1.png").status_code == 404


def test_a_song_in_work_that_waits_for_an_outage_says_so(pages: SongPages) -> None:
    text = pages.get("/songs/held").text
    assert ">In progress<" in text
    assert re.search(r"Waiting since .* UTC: The KIE account has too few credits\. It continues automatically", text)
    assert "Waiting since" not in pages.get("/songs/half").text


@pytest.mark.parametrize("path", ["/songs/held", "/songs/half", RUN, f"{RUN}/songs/waits"])
def test_a_page_of_a_song_that_is_pending_asks_for_itself_again_and_for_nothing_else(
    pages: SongPages, path: str
) -> None:
    answer = pages.get(path)
    policy, script = answer.headers["content-security-policy"], re.search(r"<script>(.*?)</script>", answer.text, re.S)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'; connect-src 'self'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert '<noscript><p class="subtitle">JavaScript is off. <a href="">Reload</a>' in answer.text
    assert pages.get(path, **{"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert pages.get(path, **{"If-None-Match": '"other"'}).text == answer.text


@pytest.mark.parametrize("path", ["/songs/failed", "/songs/none", "/songs", "/runs/own_dag/refused"])
def test_a_page_on_which_nothing_changes_by_itself_asks_for_nothing(pages: SongPages, path: str) -> None:
    answer = pages.get(path)
    assert "data-refresh" not in answer.text and "fetch(" not in answer.text
    assert "connect-src" not in answer.headers["content-security-policy"]


def test_a_page_that_asks_for_itself_from_airflows_frame_stays_one_of_the_frame(pages: SongPages) -> None:
    framed = pages.get("/songs/held", **{"Sec-Fetch-Dest": "iframe"}).text
    assert pages.get("/songs/held", **{"Sec-Fetch-Dest": "empty", "X-Kie-Framed": "1"}).text == framed
    assert "/airflow/dags/" not in framed


def test_an_archived_song_that_is_pending_says_so_and_shows_what_it_has(pages: SongPages) -> None:
    text = pages.get("/songs/more").text
    assert "still pending: audio" in text and ">Waiting<" in text and "files/cover-1.png" in text


@pytest.mark.parametrize(
    ("song", "sentence"),
    [
        ("none", "This song is neither archived nor pending"),
        ("_pending", "not a KIE task id"),
        ("a..b", "not a KIE task id"),
        ("%3Cscript%3E", "not a KIE task id"),
        ("x" * 500, "longer than 128 characters"),
    ],
)
def test_a_song_that_is_not_there_gets_a_sentence(pages: SongPages, song: str, sentence: str) -> None:
    answer = pages.get(f"/songs/{song}")
    assert answer.status_code == 404
    assert sentence in answer.text and "<script" not in answer.text


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/songs/damaged", "s3://songs/songs/damaged/manifest.json is not JSON"),
        ("/runs/own_dag/no_bucket", "The S3 bucket does not exist"),
        ("/runs/own_dag/no_bucket/songs/whole/files/cover-1.png", "The S3 bucket does not exist"),
    ],
)
def test_what_s3_refuses_is_a_sentence(pages: SongPages, path: str, sentence: str) -> None:
    answer = pages.get(path)
    assert answer.status_code == 503
    assert sentence in answer.text and "Traceback" not in answer.text


# --- parts of a file ---


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-99", 206, MP3[:100]),
        ("bytes=10000-", 206, MP3[10000:]),
        ("bytes=-5", 206, MP3[-5:]),
        ("bytes=5-99999999", 206, MP3[5:]),
        (f"bytes={len(MP3)}-", 416, b""),
        ("bytes=-0", 416, b""),
        ("bytes=9-3", 200, MP3),
        ("bytes=0-1,5-6", 200, MP3),
        ("lines=1-2", 200, MP3),
    ],
)
def test_a_part_of_a_file_is_sent_as_asked_for(pages: SongPages, asked: str, status: int, part: bytes) -> None:
    answer = pages.get("/songs/whole/files/track-1.mp3", Range=asked)
    assert (answer.status_code, answer.content) == (status, part)
    if status == 206:
        assert answer.headers["content-range"].endswith(f"/{len(MP3)}")


def test_a_browser_that_has_the_file_gets_a_304(pages: SongPages) -> None:
    path = "/songs/whole/files/cover-1.png"
    tag = pages.get(path).headers["etag"]
    assert pages.get(path, **{"If-None-Match": tag}).status_code == 304
    assert pages.get(path, **{"Range": "bytes=0-9", "If-Range": tag}).status_code == 206
    assert pages.get(path, **{"Range": "bytes=0-9", "If-Range": '"other"'}).status_code == 200


def test_a_large_file_needs_little_memory(pages: SongPages) -> None:
    assert pages.get("/songs/whole/files/cover-1.png").status_code == 200
    before, most, got = pages.process.memory_info().rss, 0, 0
    headers = {"Cookie": f"_token={pages.tokens['viewer']}"}
    with pages.client.stream("GET", f"{pages.url}/songs/large/files/track-1.mp3", headers=headers) as answer:
        for number, piece in enumerate(answer.iter_raw()):
            got += len(piece)
            if number % 50 == 0:
                most = max(most, pages.process.memory_info().rss)
    assert got == LARGE
    assert most - before < 40 * 1024 * 1024


# --- many songs ---


def test_the_overview_shows_what_is_pending_and_what_was_archived_last_but_never_the_archive(
    pages: SongPages,
) -> None:
    pending, archived = (
        re.findall(r'<a href="/airflow/kie/songs/([^"]+)"', part)
        for part in pages.get("/songs").text.split("Recently archived")
    )
    assert set(pending) == {"failed", "half", "held", "strange", "more", "broken", "called"}
    assert archived == ["slashes", "whole", "rtl"]  # by events: the newest first, once, of this archive alone


def test_a_damaged_record_does_not_hide_the_other_songs(pages: SongPages) -> None:
    text = pages.get("/songs").text
    assert "Song broken" in text and "A record in the bucket cannot be read" in text and "Rude &lt;b&gt;Words" in text


def test_an_id_that_is_typed_leads_to_its_song(pages: SongPages) -> None:
    answer = pages.get("/songs?id=%20whole%20")
    assert (answer.status_code, answer.headers["location"]) == (303, "/airflow/kie/songs/whole")
    answer = pages.get("/songs?id=//evil.example")
    assert answer.status_code == 404
    assert "is not a KIE task id" in answer.text and "clear the task" not in answer.text  # nobody has one here
    assert 'href="/airflow/kie/songs"' in answer.text


def test_a_run_lists_its_songs_from_the_bucket_that_its_tasks_have_stored(pages: SongPages) -> None:
    text = pages.get(RUN).text
    assert "This run has 3 songs" in text
    assert [text.index(title) for title in ("Elsewhere", "Waits", "Early")] == sorted(
        text.index(title) for title in ("Elsewhere", "Waits", "Early")
    )
    assert ">In progress<" in text  # the run that the pending record names is running
    picture = re.search(r'src="(/airflow/kie/runs/[^"]+/songs/inother/files/cover-1.png)"', text)
    assert picture is not None
    assert pages.get(picture[1].removeprefix("/airflow/kie")).content == PNG


def test_a_run_whose_list_was_refused_says_why_and_what_to_do(pages: SongPages) -> None:
    text = pages.get("/runs/own_dag/refused").text
    assert "<h2>Nothing was started, because the request is invalid</h2>" in text
    assert "&lt;b&gt;&#39; is no id." in text and "Correct it and trigger the run again." in text
    assert "has not listed them yet" in pages.get("/runs/own_dag/none").text


def test_no_address_names_a_bucket_or_a_song_that_the_run_has_not_stored(pages: SongPages) -> None:
    for query in ("", "?bucket=other", "?bucket=other&prefix=deep/er"):
        assert pages.get(f"{RUN}/songs/private{query}").status_code == 404
        assert pages.get(f"{RUN}/songs/whole{query}").status_code == 404
        assert pages.get(f"/songs/inother{query}").status_code == 404


def test_a_run_that_is_not_ours_gets_one_sentence_whatever_its_tasks_have_stored(pages: SongPages) -> None:
    answer = pages.get("/runs/other_dag/r")
    assert answer.status_code == 200
    assert "This run has no KIE songs" in answer.text
    assert pages.get("/runs/other_dag/r/songs/whole").status_code == 404


def test_a_tasks_page_shows_its_song_and_a_task_without_one_shows_its_run(pages: SongPages) -> None:
    text = pages.get(f"{RUN}/tasks/archive_to_s3/1").text
    assert "<h1><bdi>Elsewhere" in text
    assert 'src="/airflow/kie/runs/own_dag/manual__2026-11-20T12%3A00%3A00%2B00%3A00/songs/inother/files/' in text
    assert f'<a href="/airflow/kie{quote(RUN)}">' in text
    for task in ("song_list/-1", "archive_to_s3/7", "song_list/{MAP_INDEX}", "none/x"):
        assert "This run has 3 songs" in pages.get(f"{RUN}/tasks/{task}").text
