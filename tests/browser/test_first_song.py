"""A newcomer's way in Chromium: an archive without a song, the first run with its tabs in Airflow, a release of it.

The tests go this way together, one after the other.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from airflow_api_server import USERS, api_server, logged_in
from airflow_connections import aws_connection, kie_connection
from browser_pages import PHONE, Airflow, Opened, photograph
from dag_runner import PROJECT, dag_runner, run_dag
from kie_simulator.server import SimulatorServer
from s3_servers import S3Server, rclone_s3
from unused_ports import unused_port

TITLES = ("Velvet Harbour", "Paper Lanterns", "Été sans fin")
NAME = "Three summers, 2026"
DELIVERED = "kie://api.kie.ai/suno/delivered"
SAID = {"Title": "Three summers", "Artist": "The Examples", "Genre": "Pop", "Language": "fr", "UPC": "036000291452"}
SAID |= {"Writers, legal names": "Ada Example, Bo Example", "Release date": "2026-12-24"}
SAID |= {"℗ line": "2026 Example Records", "© line": "2026 Example Records"}
pytestmark = pytest.mark.timeout(1800)  # it runs DAGs


@dataclass(frozen=True)
class World:
    """What surrounds the Airflow of this file."""

    home: Path
    kie: SimulatorServer
    s3: S3Server


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("first song")
    plain = "KIE_PICTURES" not in os.environ
    # moto is one for all files of a process
    with SimulatorServer(cover_seconds=1, plain_images=plain) as kie, rclone_s3(folder) as s3:
        s3.client().create_bucket(Bucket="songs")
        yield World(folder / "home", kie, s3)


@pytest.fixture(scope="module")
def airflow(world: World) -> Iterator[Airflow]:
    environment = {
        "AIRFLOW_CONN_AWS_DEFAULT": aws_connection(world.s3),
        "AIRFLOW_CONN_KIE_DEFAULT": kie_connection(world.kie),
        "AIRFLOW__KIE__BUCKET": "songs",
    }
    with api_server(world.home, PROJECT / "dags", unused_port(), **environment) as server:
        yield Airflow(server.url, {name: logged_in(server.url, name) for name in USERS}, world.s3)


@pytest.fixture(scope="module")
def run(world: World, airflow: Airflow) -> Iterator[Callable[..., Any]]:
    """Give a function that runs a DAG in this Airflow, where no scheduler is: see :func:`dag_runner.run_dag`."""
    with dag_runner(world.home, world.kie, world.s3, AIRFLOW__OPENLINEAGE__DISABLED="True") as runner:
        yield lambda **conf: run_dag(runner, **conf)
        runner.kill()


@pytest.fixture(scope="module")
def first_run(world: World, run: Callable[..., Any]) -> Any:
    """Run music_cover for three songs and one that KIE refuses; return the run's id and the songs."""
    make = world.kie.control.make_music
    refused = make("Bad Words", state="SENSITIVE_WORD_ERROR", error_message="the word <b>X</b> is not allowed")
    songs = [song.task_id for song in (*make(*TITLES), *refused)]
    return run(music_task_ids=songs, archive_audio=True, archive_lyrics=True)["run_id"], songs


def framed(page: Page) -> Any:
    """Return our page in Airflow's frame."""
    return page.frame_locator("iframe")


def test_an_archive_without_a_song_says_what_to_do(opened: Opened) -> None:
    with opened("/library") as page:
        expect(page.locator("#results")).to_contain_text("Nothing is archived yet")
        expect(page.get_by_role("button", name="New song")).to_be_visible()
        photograph(page, "empty")
    with opened("/songs", viewport=PHONE, color_scheme="dark") as page:
        expect(page.locator("main")).to_contain_text("No song is pending at the moment.")


def test_the_tab_of_a_run_shows_its_songs_by_name_and_leads_to_each(
    opened: Opened, airflow: Airflow, first_run: Any
) -> None:
    run_id, songs = first_run
    with opened(f"{airflow.url}/dags/music_cover/runs/{quote(run_id, safe='')}/plugin/kie-run") as page:
        rows = framed(page).locator(".songs li")
        expect(rows).to_have_count(4)
        expect(rows.locator("strong")).to_have_text(
            [*TITLES, f"Song {songs[-1]}"]
        )  # KIE names no title of what it refuses
        expect(rows.locator(".badge")).to_have_text([*["Archived"] * 3, "Failed"])
        expect(framed(page).get_by_role("button", name="Retry failed")).to_be_visible()
        photograph(page, "run-tab")
        rows.first.locator("a").click()
        expect(framed(page).get_by_role("heading", level=1)).to_have_text(TITLES[0])
        framed(page).get_by_role("link", name="All songs of this run").click()
        expect(rows).to_have_count(4)


def test_the_tab_of_a_task_shows_its_song_and_why_another_has_failed(
    opened: Opened, airflow: Airflow, first_run: Any
) -> None:
    run_id, songs = first_run
    task = f"{airflow.url}/dags/music_cover/runs/{quote(run_id, safe='')}/tasks/music_complete/mapped"
    with opened(f"{task}/0/plugin/kie-song", color_scheme="dark") as page:
        expect(framed(page).get_by_role("heading", level=1)).to_have_text(TITLES[0])
        expect(framed(page).locator("audio")).to_have_count(2)
        photograph(page, "task-tab")
        page.goto(f"{task}/{len(songs) - 1}/plugin/kie-song")
        expect(framed(page).locator(".trouble")).to_contain_text("the word <b>X</b> is not allowed")


def test_what_the_first_run_has_archived_is_in_the_library(opened: Opened, first_run: Any) -> None:
    with opened("/library?sort=title") as page:
        expect(page.locator(".tile strong")).to_have_text(["Été sans fin", "Paper Lanterns", "Velvet Harbour"])


def test_three_songs_become_a_release_with_the_chosen_takes_and_covers_in_the_order_of_the_selection(
    opened: Opened, world: World, airflow: Airflow, first_run: Any, run: Callable[..., Any]
) -> None:
    made = first_run[1]
    with opened(f"/songs/{made[2]}") as page:
        page.locator("#choose-cover-2").click()
        expect(page.locator("#choice")).to_contain_text("Cover 2 is chosen")
        page.locator("#choose-track-2").click()
        expect(page.locator("#choice")).to_contain_text("Cover 2 and take 2 are chosen")

        page.goto(f"{airflow.kie}/library")
        order = [TITLES[2], TITLES[0], TITLES[1]]
        for title in order:
            page.get_by_label(f"Select {title}", exact=True).click()
        page.get_by_role("button", name="Make a release").click()
        form = page.locator("#new-release")
        form.get_by_label("Name of the release").fill(NAME)
        for label, text in SAID.items():
            form.get_by_label(label, exact=True).fill(text)
        form.get_by_label("Explicit").select_option("no")
        form.get_by_label("Lyrics").select_option("generated")
        form.get_by_label("Let KIE's Topaz enlarge the cover").check()
        expect(page.locator("#release-price")).to_have_text(
            "3 tracks, in the order of your selection. "
            "Costs 1.2 credits for WAVs and up to 20 credits for the cover, paid for once."
        )
        page.get_by_role("button", name="Make the release", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("This release is not finished")
        (asked,) = airflow.read("dags/deliver_songs/dagRuns")["dag_runs"]
        assert run(_dag="deliver_songs", **asked["conf"])["state"] == "success"

        page.goto(f"{airflow.kie}/releases/{NAME}")
        expect(page.get_by_role("heading", level=1)).to_have_text("Three summers")
        expect(page.locator("main")).to_contain_text("All fields that distributors require are set.")
        expect(page.locator(".track")).to_contain_text([f"{n}. {title} (WAV)" for n, title in enumerate(order, 1)])
        assert page.evaluate("document.querySelector('audio').play().then(() => 'plays', String)") == "plays"
        expect(page.locator("main img").first).to_have_js_property("naturalWidth", 3000)
        with page.expect_download() as download:
            page.get_by_role("link", name="Download as zip").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            assert archive.testzip() is None
            content = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    tracks = [f"track-0{n}.{form}" for n in (1, 2, 3) for form in ("wav", "mp3")]
    assert set(content) == {"cover.jpg", "metadata.json", *tracks}
    assert Image.open(io.BytesIO(content["cover.jpg"])).size == (3000, 3000)
    metadata = json.loads(content["metadata.json"])
    assert [track["music_task_id"] for track in metadata["tracks"]] == [made[2], made[0], made[1]]
    assert (metadata["missing"], metadata["cover_upscaled_with"]) == ([], "topaz/image-upscale")
    assert world.s3.root is not None
    manifest = json.loads((world.s3.root / "songs" / "songs" / "release" / NAME / "manifest.json").read_text())
    origins = {file["name"]: file for file in manifest["files"]}
    assert origins["cover.jpg"]["enlarged_from"] == f"songs/{made[2]}/cover-2.png"
    assert origins["track-01.mp3"]["made_from"] == f"songs/{made[2]}/track-2.mp3"
    paid = Counter(charge["kind"] for charge in world.kie.control.ledger())
    assert (paid["wav"], paid["jobs"]) == (3, 1)
    events = [event for event in airflow.read("assets/events?limit=100")["asset_events"] if event["uri"] == DELIVERED]
    assert [(event["partition_key"], event["extra"]["missing"]) for event in events] == [(NAME, 0)]
