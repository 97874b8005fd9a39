"""From songs to a release in Chromium, on a running stack: choose, select, ask, wait for the DAG, look, download."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from local_stack.running import running_stack
from local_stack.settings import PROJECT
from song_stack import SongStack, eventually

TITLES = ("Velvet Harbour", "Été sans fin", "Glass Mountains")
NAME = "Three summers, 2026"
DELIVERED = "kie://api.kie.ai/suno/delivered"
SAID = {"Title": "Three summers", "Artist": "The Examples", "Genre": "Pop", "Language": "fr", "UPC": "036000291452"}
SAID |= {"Writers, legal names": "Ada Example, Bo Example", "Release date": "2026-12-24"}
SAID |= {"℗ line": "2026 Example Records", "© line": "2026 Example Records"}


pytestmark = pytest.mark.timeout(900)  # it waits for all of a stack


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SongStack]:
    """Give a stack with the project's DAGs."""
    dags = tmp_path_factory.mktemp("the dags")
    for name in ("music_cover", "deliver_songs"):
        shutil.copy(PROJECT / "dags" / f"{name}.py", dags)
    with running_stack(tmp_path_factory.mktemp("a stack"), speed=30.0, dags=dags) as running:
        found = SongStack(running)
        found.bucket.make_bucket()
        for name in ("music_cover", "deliver_songs"):
            running.airflow.wait_for_dag(name)
        yield found


def test_three_songs_become_a_release_with_the_chosen_takes_and_covers_in_the_order_of_the_selection(
    songs: SongStack, chromium: Browser
) -> None:
    made = songs.songs(*TITLES)
    archived = songs.trigger("music_cover", {"music_task_ids": made, "archive_audio": True, "archive_lyrics": True})
    assert songs.ended("music_cover", archived) == "success"
    kie = f"{songs.airflow.url}/kie"
    context = chromium.new_context(accept_downloads=True)
    token = songs.airflow._http.headers["Authorization"].removeprefix("Bearer ")
    context.add_cookies([{"name": "_token", "value": token, "url": songs.airflow.url}])
    page = context.new_page()
    page.set_default_timeout(60_000)

    page.goto(f"{kie}/songs/{made[2]}")
    page.locator("#choose-cover-2").click()
    expect(page.locator("#choice")).to_contain_text("Cover 2 is chosen")
    page.locator("#choose-track-2").click()
    expect(page.locator("#choice")).to_contain_text("Cover 2 and take 2 are chosen")

    page.goto(f"{kie}/library")
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
    (run,) = songs.airflow.runs("deliver_songs")
    assert songs.ended("deliver_songs", run["dag_run_id"]) == "success"

    page.goto(f"{kie}/releases/{NAME}")
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
    context.close()
    tracks = [f"track-0{n}.{form}" for n in (1, 2, 3) for form in ("wav", "mp3")]
    assert set(content) == {"cover.jpg", "metadata.json", *tracks}
    assert Image.open(io.BytesIO(content["cover.jpg"])).size == (3000, 3000)
    metadata = json.loads(content["metadata.json"])
    assert [track["music_task_id"] for track in metadata["tracks"]] == [made[2], made[0], made[1]]
    assert (metadata["missing"], metadata["cover_upscaled_with"]) == ([], "topaz/image-upscale")
    folder = songs.bucket / songs.running.settings.prefix / "release" / NAME
    manifest = json.loads((folder / "manifest.json").read_text())
    origins = {file["name"]: file for file in manifest["files"]}
    prefix = songs.running.settings.prefix
    assert origins["cover.jpg"]["enlarged_from"] == f"{prefix}/{made[2]}/cover-2.png"
    assert origins["track-01.mp3"]["made_from"] == f"{prefix}/{made[2]}/track-2.mp3"
    paid = Counter(charge["kind"] for charge in songs.running.simulator.ledger())
    assert (paid["wav"], paid["jobs"]) == (3, 1)
    events = eventually(
        lambda: [event for event in songs.airflow.asset_events() if event["uri"] == DELIVERED], "the event is there"
    )
    assert [(event["partition_key"], event["extra"]["missing"]) for event in events] == [(NAME, 0)]
