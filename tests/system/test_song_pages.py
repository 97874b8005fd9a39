"""The page of a song in a real Airflow: the task's link leads there, its pictures come, the UI knows the tabs."""

from __future__ import annotations

import re
from urllib.parse import quote

import httpx

from song_stack import SongStack
from system.conftest import Begun


def opened(songs: SongStack, path: str) -> httpx.Response:
    """Open a page below the address of Airflow."""
    token = songs.airflow._http.headers["Authorization"]
    return httpx.get(f"{songs.airflow.url}/{path}", headers={"Authorization": token}, trust_env=False, timeout=300)


def test_the_link_of_a_task_leads_to_a_page_with_the_songs_pictures(songs: SongStack, begun: Begun) -> None:
    songs.ended("music_cover", begun.form)
    task = f"/dags/music_cover/dagRuns/{quote(begun.form, safe='')}/taskInstances/archive_to_s3"
    link = songs.airflow.call("GET", f"{task}/links", map_index=0)["extra_links"]["Song"]
    assert link == f"kie/songs/{begun.good[0]}"
    page = opened(songs, link)
    assert page.status_code == 200 and "Velvet Harbour" in page.text and ">Archived<" in page.text
    picture = re.search(r'src="/([^"]+/cover-1\.png)"', page.text)
    assert picture is not None
    assert opened(songs, picture[1]).content == songs.contents(begun.good[0])["cover-1.png"]


def test_the_page_of_a_run_shows_its_songs_and_why_one_failed(songs: SongStack, begun: Begun) -> None:
    songs.ended("music_cover", begun.form)
    run = f"kie/runs/music_cover/{quote(begun.form, safe='')}"
    text = opened(songs, run).text
    assert "3 songs" in text and "Velvet Harbour" in text and "KIE rejected the content" in text
    assert "The prompt has sensitive words" in opened(songs, f"{run}/tasks/music_complete/1").text


def test_the_ui_knows_the_tabs(songs: SongStack) -> None:
    (plugin,) = [found for found in songs.airflow.call("GET", "/plugins")["plugins"] if found["name"] == "kie"]
    assert {view["destination"] for view in plugin["external_views"]} == {"nav", "dag_run", "task_instance"}
