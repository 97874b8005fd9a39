"""A newcomer's way in Chromium: an archive without a song, the first run, its tab and its tasks' in Airflow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from airflow_api_server import api_server, logged_in
from airflow_connections import aws_connection, kie_connection
from browser_pages import PHONE, Airflow, Opened, photograph
from dag_runner import PROJECT, dag_runner
from kie_simulator.server import SimulatorServer
from s3_servers import S3Server, rclone_s3
from unused_ports import unused_port

TITLES = ("Velvet Harbour", "Paper Lanterns", "Été sans fin")
pytestmark = pytest.mark.timeout(600)  # it runs a DAG


@dataclass(frozen=True)
class World:
    """What surrounds the Airflow of this file."""

    home: Path
    kie: SimulatorServer
    s3: S3Server


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("first song")
    with SimulatorServer(cover_seconds=1) as kie, rclone_s3(folder) as s3:  # moto is one for all files of a process
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
        yield Airflow(server.url, {"receiver": logged_in(server.url, "receiver")}, world.s3)


@pytest.fixture(scope="module")
def first_run(world: World, airflow: Airflow) -> Any:
    """Run music_cover for three songs and one that KIE refuses, in this Airflow; return the run's id and the songs."""
    make = world.kie.control.make_music
    refused = make("Bad Words", state="SENSITIVE_WORD_ERROR", error_message="the word <b>X</b> is not allowed")
    songs = [song.task_id for song in (*make(*TITLES), *refused)]
    with dag_runner(world.home, world.kie, world.s3) as runner:
        assert runner.stdin is not None and runner.stdout is not None
        print(json.dumps({"music_task_ids": songs, "archive_audio": True}), file=runner.stdin, flush=True)
        runner.stdin.close()
        told = [line for line in runner.stdout if line.startswith('{"state":')]
    return json.loads(told[0])["run_id"], songs


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
    run, songs = first_run
    with opened("/library") as page:
        page.goto(f"{airflow.url}/dags/music_cover/runs/{quote(run, safe='')}/plugin/kie-run")
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
    run, songs = first_run
    task = f"{airflow.url}/dags/music_cover/runs/{quote(run, safe='')}/tasks/music_complete/mapped"
    with opened("/library", color_scheme="dark") as page:
        page.goto(f"{task}/0/plugin/kie-song")
        expect(framed(page).get_by_role("heading", level=1)).to_have_text(TITLES[0])
        expect(framed(page).locator("audio")).to_have_count(2)
        photograph(page, "task-tab")
        page.goto(f"{task}/{len(songs) - 1}/plugin/kie-song")
        expect(framed(page).locator(".trouble")).to_contain_text("the word <b>X</b> is not allowed")


def test_what_the_first_run_has_archived_is_in_the_library(opened: Opened, first_run: Any) -> None:
    with opened("/library?sort=title") as page:
        expect(page.locator(".tile strong")).to_have_text(["Été sans fin", "Paper Lanterns", "Velvet Harbour"])
