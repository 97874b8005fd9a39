"""A real api-server with an editor's archive behind it, and Chromium in front of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from airflow_api_server import USERS, api_server, logged_in
from airflow_connections import aws_connection, kie_connection
from airflow_kie.archive.delivery.keys import ReleaseKeys
from airflow_kie.archive.delivery.metadata import TrackSource
from airflow_kie.archive.delivery.release import deliver
from airflow_kie.archive.s3.bucket import Bucket
from browser_pages import DESK, PATIENT, Airflow, Opened
from editors_archive import PREFIX, TITLES, archive_for_editors, song_named
from fake_gateway import SECRET
from kie_simulator.server import SimulatorServer
from s3_servers import moto_s3
from troubles import store_troubles
from unused_ports import unused_port

DAGS = Path(__file__).parents[2] / "dags"


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    with SimulatorServer(credits=812) as kie, moto_s3() as s3:
        s3.client().create_bucket(Bucket="songs")
        bucket = Bucket(s3.client(), "songs")
        archive_for_editors(bucket, drawn="KIE_PICTURES" in os.environ)
        chosen = [TrackSource(song_named(title), take=2) for title in TITLES[:2]]
        deliver(bucket, ReleaseKeys(PREFIX, "Two harbours"), chosen, credits={"artist": "<b>The</b> Examples"})
        store_troubles(bucket, bucket)
        port = unused_port()
        callback = {"callback_url": f"http://127.0.0.1:{port}/kie/callback/kie_default", "webhook_secret": SECRET}
        environment = {
            "AIRFLOW_CONN_AWS_DEFAULT": aws_connection(s3),
            "AIRFLOW_CONN_KIE_DEFAULT": kie_connection(kie, extra={"account": "kie_default", **callback}),
            "AIRFLOW__KIE__BUCKET": "songs",
        }
        with api_server(tmp_path_factory.mktemp("browser") / "home", DAGS, port, **environment) as server:
            tokens = {name: logged_in(server.url, name) for name in USERS}
            yield Airflow(server.url, tokens, s3)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=60_000)  # a busy machine
    with sync_playwright() as playwright:
        program = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], timeout=180_000)
        yield browser
        browser.close()


@pytest.fixture
def opened(airflow: Airflow, chromium: Browser) -> Opened:
    """Give a function that opens a page as a user; it may ask nobody else, and its scripts must not fail."""

    @contextmanager
    def open_page(path: str, user: str | None = "receiver", **known: Any) -> Iterator[Page]:
        context = chromium.new_context(viewport=known.pop("viewport", DESK), accept_downloads=True, **known)
        if user:
            context.add_cookies([{"name": "_token", "value": airflow.tokens[user], "url": airflow.url}])
        context.add_init_script(PATIENT)
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda one: one.url.startswith(("blob:", "data:", airflow.url)) or errors.append(one.url))
        page.on("console", lambda line: "Content Security Policy" in line.text and errors.append(line.text))
        page.set_default_timeout(60_000)
        page.goto(path if path.startswith(airflow.url) else airflow.kie + path)
        yield page
        context.close()
        assert errors == []

    return open_page


@pytest.fixture
def offline(chromium: Browser) -> Iterator[Page]:
    """Give a page without a network."""
    context = chromium.new_context(offline=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    context.close()
