"""An editor's way through the library, in Chromium, in front of a real api-server."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page, expect

from airflow_kie.archive.delivery.keys import ReleaseKeys
from airflow_kie.archive.delivery.metadata import TrackSource
from airflow_kie.archive.delivery.release import deliver
from airflow_kie.archive.s3.bucket import Bucket
from browser_pages import DESK, PHONE, WIDE, Airflow, Opened, photograph
from editors_archive import PREFIX, song_named
from kie_simulator.artwork import render_cover

ALL = "10,010 results"


def loaded(page: Page) -> Page:
    """Wait until the library lists everything."""
    expect(page.locator("#results")).to_contain_text(ALL)
    return page


def test_search_among_ten_thousand_while_typing_is_in_the_address(opened: Opened) -> None:
    with opened("/library") as page:
        loaded(page).get_by_role("searchbox").type("demo 0012")
        expect(page.locator("#results > .subtitle")).to_have_text("10 of 10,010 results")
        expect(page).to_have_url(re.compile(r"/library\?q=demo\+0012$"))
        page.get_by_role("searchbox").fill("ete")
        expect(page.locator(".tile strong")).to_have_text(["Été sans fin"])
        page.locator(".tile a").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Été sans fin")
        page.go_back()
        expect(page.locator(".tile strong")).to_have_text(["Été sans fin"])


def test_a_login_leads_back_to_the_search(opened: Opened) -> None:
    with opened("/library?q=northbound", user=None) as page:
        page.get_by_role("link", name="Log in").click()
        page.get_by_role("textbox").first.fill("vic")
        page.get_by_role("textbox").nth(1).fill("vic")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator(".tile strong")).to_have_text(["Northbound"])
        assert page.url.endswith("/kie/library?q=northbound")


def test_hostile_titles_are_text(opened: Opened) -> None:
    with opened("/library?q=bold") as page:
        expect(page.locator(".tile strong")).to_contain_text("<b>Bold</b>")
        assert page.locator(".tile b").count() == 0
        page.locator(".tile a").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("<b>Bold</b>")


def test_a_cover_and_a_take_are_chosen_on_the_page_and_a_cover_by_key(opened: Opened) -> None:
    with opened("/library?q=northbound") as page:
        page.locator(".tile a").click()
        page.get_by_role("button", name="Choose").nth(1).click()
        expect(page.locator("#choice")).to_contain_text("Cover 2 is chosen, by receiver")
        page.locator("#choose-track-1").click()
        expect(page.locator("#choice")).to_contain_text("Cover 2 and take 1 are chosen")
        page.locator("#undo").click()
        expect(page.locator("#choice")).to_contain_text("Cover 2 is chosen")
        page.goto(re.sub(r"/songs/.*", "/library?q=glass", page.url))
        expect(page.locator(".tile .mark")).to_have_text("choose")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("1")
        expect(page.locator(".tile .mark")).to_have_text("✓ chosen")
        page.keyboard.press("0")
        expect(page.locator(".tile .mark")).to_have_text("choose")


def test_sound_goes_on_while_something_is_chosen(opened: Opened) -> None:
    with opened("/library?q=paper+lanterns") as page:
        page.locator(".tile a").click()
        expect(page.locator("#choose-cover-1")).to_be_attached()
        expect(page.locator("audio").first).to_be_attached()
        # However long it takes to choose, it has not come to its end by then.
        page.evaluate("(sound => ((sound.loop = true), sound.play()))(document.querySelector('audio'))")
        page.locator("#choose-cover-1").click()
        expect(page.locator("#choice")).to_contain_text("Cover 1 is chosen")
        expect(page.locator("#choose-cover-1")).to_have_attribute("aria-pressed", "true")
        assert page.evaluate("document.querySelector('audio').played.length") == 1


def test_a_selection_over_searches_is_a_zip_that_shows_and_plays_offline(
    opened: Opened, offline: Page, tmp_path: Path
) -> None:
    with opened("/library") as page:
        loaded(page)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("x")
        page.locator(".pick").nth(3).click(modifiers=["Shift"])
        page.get_by_role("searchbox").fill("slow machine")
        expect(page.locator(".tile strong")).to_have_text(["Slow Machine"])
        page.locator(".pick").click()
        page.reload()
        expect(page.locator("#selection strong")).to_have_text(re.compile(r"[2-5] selected"))
        with page.expect_download() as download:
            page.get_by_role("button", name="Download as zip").click()
        download.value.save_as(tmp_path / "songs.zip")
    with zipfile.ZipFile(tmp_path / "songs.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "songs")
    offline.goto((tmp_path / "songs" / "index.html").as_uri())
    sizes = offline.evaluate(
        "Promise.all([...document.images].map(i => (i.loading = 'eager', i.decode().then(() => i.naturalWidth))))"
    )
    assert sizes and set(sizes) == {1024}
    assert offline.evaluate("document.querySelector('audio').play().then(() => 'plays', String)") == "plays"


def test_a_new_song_is_asked_for_with_the_persons_own_rights_and_has_a_card_at_once(
    opened: Opened, airflow: Airflow
) -> None:
    with opened("/library") as page:
        page.get_by_role("button", name="New song").click()
        expect(page.locator("#price")).to_contain_text("Costs 12 credits; its cover is free. 812 credits are left.")
        page.get_by_label("What the song is about").fill("A song <b>of</b> the sea")
        page.get_by_role("button", name="Make it").click()
        expect(page.locator("#being-made li")).to_contain_text("A song <b>of</b> the sea")
        expect(page.locator("#being-made li")).to_contain_text("queued")
        page.reload()
        expect(page.locator("#being-made li")).to_have_count(1)
        page.get_by_role("button", name="Use again").click()
        expect(page.get_by_label("What the song is about")).to_have_value("A song <b>of</b> the sea")
    runs = airflow.read("dags/music_generate/dagRuns")
    (run,) = runs["dag_runs"]
    assert run["triggering_user_name"] == "receiver" and run["dag_run_id"].startswith("library__")
    assert run["conf"]["prompt"] == "A song <b>of</b> the sea" and run["conf"]["style"] is None


def test_an_archived_songs_words_are_used_again(opened: Opened) -> None:
    with opened("/library?q=velvet") as page:
        page.locator(".tile a").click()
        page.get_by_role("link", name="Use its prompt for a new song").click()
        expect(page.get_by_label("What the song is about")).to_have_value("A slow song about a harbour at night")


def test_a_release_of_three_songs_is_asked_for_and_its_page_shows_plays_and_downloads_it(
    opened: Opened, airflow: Airflow
) -> None:
    with opened("/library?q=album") as page:
        titles = ["Northbound", "Glass Mountains", "Slow Machine"]
        for title in titles:
            page.get_by_label(f"Select {title}", exact=True).click()
        page.get_by_role("button", name="Make a release").click()
        expect(page.locator("#release-price")).to_have_text(
            "3 tracks, in the order of your selection. Costs 1.2 credits for WAVs, paid for once."
        )
        page.get_by_label("Name of the release").fill("Three songs, 2026")
        page.get_by_label("Artist").fill("The Examples")
        page.get_by_label("Writers, legal names").fill("Ada Example, Bo Example")
        page.get_by_label("Explicit").select_option("no")
        page.get_by_label("Let KIE's Topaz enlarge the cover").check()
        expect(page.locator("#release-price")).to_have_text(
            "3 tracks, in the order of your selection. "
            "Costs 1.2 credits for WAVs and up to 20 credits for the cover, paid for once."
        )
        page.get_by_label("Let KIE's Topaz enlarge the cover").uncheck()
        page.get_by_label("A WAV of each take").uncheck()
        page.get_by_label("Lyrics").select_option("generated")
        page.get_by_role("button", name="Make the release", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("This release is not finished")
        runs = airflow.read("dags/deliver_songs/dagRuns")
        (run,) = runs["dag_runs"]
        assert run["triggering_user_name"] == "receiver"
        assert run["conf"] == {
            "release": "Three songs, 2026",
            "songs": [song_named(title) for title in titles],
            "credits": {
                "artist": "The Examples",
                "explicit": False,
                "writers": [{"name": n} for n in WRITERS],
                "ai": {"lyrics": "generated"},
            },
            "wav": False,
            "upscale": False,
        }
        bucket = Bucket(airflow.s3.client(), "songs")  # what the DAG does, which runs nowhere here
        tracks = [TrackSource(song) for song in run["conf"]["songs"]]
        deliver(bucket, ReleaseKeys(PREFIX, "Three songs, 2026"), tracks, credits=run["conf"]["credits"])
        page.reload()
        expect(page.locator(".warning")).to_contain_text(["metadata.json lacks title, ", "For tracks 1, 2, 3 it "])
        expect(page.locator(".track")).to_contain_text(["1. Northbound (MP3)", "2. Glass Mountains (MP3)"])
        played = page.evaluate("document.querySelector('audio').play().then(() => 'plays', String)")
        assert played == "plays"
        with page.expect_download() as download:
            page.get_by_role("link", name="Download as zip").click()
        assert download.value.suggested_filename == "Three songs, 2026.zip"
        with zipfile.ZipFile(download.value.path()) as archive:
            assert archive.testzip() is None
            names = {name.partition("/")[2] for name in archive.namelist()}
        assert names == {"cover.jpg", "metadata.json", "track-01.mp3", "track-02.mp3", "track-03.mp3"}


WRITERS = ("Ada Example", "Bo Example")


def test_extras_play_read_and_are_asked_for_with_their_price(opened: Opened, airflow: Airflow) -> None:
    with opened("/library?q=velvet") as page:
        page.locator(".tile a").click()
        extras = page.locator("#extras")
        expect(extras.locator("audio").first).to_be_attached()
        played = page.evaluate("document.querySelector('#extras audio').play().then(() => 'plays', String)")
        assert played == "plays"
        page.evaluate("document.querySelector('#extras audio').pause()")
        extras.get_by_text("Timestamped lyrics, take 1").click()
        expect(extras.locator("pre")).to_contain_text("0:00  [Verse 1]\n0:00  The tide")
        expect(page.locator("#extra-wav")).to_be_disabled()  # take 1 has it
        page.get_by_label("From take").select_option("2")
        page.locator("#extra-wav").click()
        expect(page.locator("#extra-wav")).to_have_text("Yes, 0.4 credits")
        page.locator("#extra-wav").click()
        expect(page.locator("#extras-state")).to_contain_text("WAV: in progress.")
        page.locator("#draw").click()
        page.get_by_role("button", name="Yes, 0.8 credits").click()
        expect(page.locator("#extras-state")).to_contain_text("WAV, Another cover: in progress.")
        page.reload()
        page.get_by_label("From take").select_option("2")
        expect(page.locator("#extra-wav")).to_be_disabled()
    runs = airflow.read("dags/song_extras/dagRuns")
    asked = sorted(
        (run["conf"]["extras"], run["conf"]["take"], run["triggering_user_name"]) for run in runs["dag_runs"]
    )
    assert asked == [(["another_cover"], "2", "receiver"), (["wav"], "2", "receiver")]
    assert {*runs["dag_runs"][0]["conf"]["songs"]} == {song_named("Velvet Harbour")}


def test_labels_on_a_selection_and_a_song_and_a_picture_of_ones_own(opened: Opened, tmp_path: Path) -> None:
    with opened("/library?q=harbour") as page:
        page.locator(".tile").first.hover()
        page.locator(".pick").first.click()
        page.get_by_role("button", name="Label", exact=True).click()
        page.locator("#new-label").get_by_label("Label", exact=True).fill("shelf")
        page.locator("#new-label").get_by_label("Value").fill("top <b>left</b>")
        page.get_by_role("button", name="Set on selection").click()
        expect(page.locator("#outcome")).to_contain_text("Label shelf: top <b>left</b> is set on 1 result.")
        page.goto(page.url.split("#")[0].replace("q=harbour", "label=shelf:+top+%3Cb%3Eleft%3C/b%3E"))
        expect(page.locator(".tile")).to_have_count(1)
        page.locator(".tile a").click()
        expect(page.locator("#labels .label")).to_contain_text(["album: Harbour Lights", "shelf: top <b>left</b>"])
        page.get_by_role("button", name="Remove the label shelf").click()
        expect(page.locator("#labels .label")).to_have_count(1)
        picture = tmp_path / "own.png"
        picture.write_bytes(render_cover("own", "My own"))
        page.locator("[data-upload]").set_input_files(picture)
        expect(page.get_by_text("Uploaded cover")).to_be_visible()
        page.locator("figure", has_text="Uploaded cover").get_by_role("button", name="Choose").click()
        expect(page.locator("#choice")).to_contain_text("Another cover is chosen, by receiver")
        page.locator("#undo").click()
        page.get_by_text("History").click()
        expect(page.locator("#history")).to_contain_text("Archived: cover (2)")


def test_a_song_leads_to_its_neighbours_in_the_search_and_back(opened: Opened) -> None:
    with opened("/library?q=demo&sort=title") as page:
        expect(page.locator(".tile strong").first).to_have_text("Demo 00000")
    with opened("/library?label=album:+Harbour+Lights&sort=title") as page:
        expect(page.locator(".tile")).to_have_count(10)
        titles = page.locator(".tile strong").all_inner_texts()
        page.locator(".tile a").nth(1).click()
        expect(page.locator("[rel=prev]")).to_contain_text(titles[0])
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("heading", level=1)).to_have_text(titles[2])
        expect(page.locator("[rel=prev]")).to_contain_text(titles[1])
        page.keyboard.press("Escape")
        expect(page.locator(".tile")).to_have_count(10)


def test_a_viewer_sees_everything_and_may_change_nothing(opened: Opened) -> None:
    with opened("/library", user="vic") as page:
        loaded(page)
        expect(page.get_by_role("button", name="New song")).to_have_count(0)
        expect(page.locator("#new-release")).to_have_count(0)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("1")
        expect(page.locator("#outcome")).to_be_hidden()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).not_to_have_text("Library")
        expect(page.locator("[data-change]")).to_have_count(0)
        page.goto(re.sub(r"/kie/.*", "/kie/status", page.url))
        expect(page.locator(".summary")).to_contain_text("812 credits")
        expect(page.locator("[data-change], [data-change-form]")).to_have_count(0)


PAGES = {
    "library": "/library",
    "list": "/library?view=list",
    "new": "/library?new=",
    "label": "/library?q=velvet",
    "song": "/library?q=velvet",
    "release": "/releases/Two%20harbours",
    "status": "/status",
    "songs": "/songs",
    "pending": "/songs/rude1",
    "deliveries": "/status/deliveries",
    "nothing": "/library?q=no+such+song",
}
PICTURES = {
    ("library", "desk", "light"): "library",
    ("library", "phone", "dark"): "library-phone",
    ("list", "desk", "dark"): "library-list",
    ("new", "desk", "light"): "new-song",
    ("label", "phone", "light"): "selection-phone",
    ("song", "desk", "light"): "song",
    ("song", "phone", "dark"): "song-phone",
    ("release", "desk", "light"): "release",
    ("release", "phone", "dark"): "release-phone",
    ("status", "desk", "light"): "status",
    ("status", "phone", "dark"): "status-phone",
    ("songs", "desk", "light"): "pending",
    ("pending", "phone", "light"): "failed-phone",
}
"""Page, window and theme → name of its picture in the documentation: see :func:`browser_pages.photograph`."""
WIDE_PICTURES = ("library", "song", "status")
WITHOUT_RESULTS = ("songs", "release", "pending", "deliveries", "nothing")


WIDTH = "document.documentElement.scrollWidth"
WINDOWS = {"desk": DESK, "phone": PHONE}
COLOURS = ("color-contrast", "link-in-text-block")
"""Of axe's rules those that a theme can break; what else it looks at is the same in the other theme."""


@pytest.mark.parametrize("name", PAGES)
def test_each_page_fits_and_axe_finds_nothing_serious(opened: Opened, name: str) -> None:
    with opened(PAGES[name], color_scheme="light") as page:
        if name == "song":
            page.locator(".tile a").click()
            expect(page.locator("#choice")).to_be_visible()
        elif name == "label":
            page.get_by_label("Select Velvet Harbour", exact=True).check(force=True)
            page.get_by_role("button", name="Label", exact=True).click()
        elif name == "status":
            expect(page.locator(".summary")).to_contain_text("812 credits")
        elif name not in WITHOUT_RESULTS:
            loaded(page)
        page.mouse.move(0, 0)  # what was clicked is elsewhere in another window
        page.evaluate(AXE_SCRIPT)
        for window, size in WINDOWS.items():
            page.set_viewport_size(size)
            if name == "label":
                page.locator("#new-label").scroll_into_view_if_needed()  # somebody types in it
            assert page.evaluate(WIDTH) <= size["width"], window
            for scheme, rules in (("light", None), ("dark", COLOURS)):
                page.emulate_media(color_scheme=scheme)
                assert (window, scheme, seriously_wrong(page, rules)) == (window, scheme, [])
                if picture := PICTURES.get((name, window, scheme)):
                    photograph(page, picture, whole=name in ("song", "status", "release"))
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(WIDE)
        assert page.evaluate(WIDTH) <= WIDE["width"]
        if name in WIDE_PICTURES:
            photograph(page, f"{PICTURES[name, 'desk', 'light']}-wide")


def seriously_wrong(page: Page, rules: Sequence[str] | None) -> list[tuple[str, str]]:
    """Return the rules that a page breaks, and the first element of each.

    :param rules: of axe's rules those that are checked; None: all that it checks by default.
    """
    options = {"resultTypes": ["violations"]} | ({"runOnly": {"type": "rule", "values": rules}} if rules else {})
    found = page.evaluate("options => axe.run(options).then(({violations}) => violations)", options)
    return [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]


def test_times_are_in_the_readers_zone_and_say_utc_when_pointed_at(opened: Opened, airflow: Airflow) -> None:
    song = f"/songs/{song_named('Velvet Harbour')}"
    with opened(song, user="vic", timezone_id="Asia/Kathmandu") as page:  # a page without any other script
        archived = page.locator("dl div", has_text="Archived").locator("time").first
        expect(archived).to_have_text(re.compile(r"^\d+ \w+ 20\d\d, \d\d:\d\d GMT\+5:45$"))
        expect(archived).to_have_attribute("title", re.compile(r"^\d+ \w+ 20\d\d, \d\d:\d\d UTC$"))
        page.evaluate("""localStorage.setItem('timezone', '"Asia/Tokyo"')""")  # as Airflow keeps it
        page.reload()
        expect(archived).to_have_text(re.compile(r"GMT\+9$"))
        assert page.evaluate("new Date(document.querySelector('time').dateTime).getUTCSeconds()") == 0
    with opened(song, timezone_id="Asia/Tokyo") as page:  # what a change shows anew too
        page.get_by_role("button", name="Choose").first.click()
        expect(page.locator("#choice time")).to_have_text(re.compile(r"GMT\+9$"))
        page.locator("#undo").click()
        expect(page.locator("#choice")).to_contain_text("Nothing is chosen yet.")


def test_in_airflows_own_page_the_library_is_a_frame_that_works_and_follows_the_theme_that_is_chosen_there(
    opened: Opened, airflow: Airflow
) -> None:
    with opened(f"{airflow.url}/plugin/kie-library", color_scheme="light") as page:
        frame = page.frame_locator("iframe")
        expect(frame.locator("#results")).to_contain_text(ALL)
        frame.get_by_role("searchbox").fill("northbound")
        expect(frame.locator(".tile strong")).to_have_text(["Northbound"])
        frame.locator(".pick").click()
        with page.expect_download() as download:
            frame.get_by_role("button", name="Download as zip").click()
        assert zipfile.is_zipfile(download.value.path())
        expect(frame.locator("body")).to_have_css("background-color", "rgb(247, 247, 248)")
        page.evaluate("localStorage.setItem('theme', 'dark')")
        expect(frame.locator("body")).to_have_css("background-color", "rgb(20, 22, 27)")  # without loading it again
        page.goto(airflow.kie + "/library")
        expect(page.locator("body")).to_have_css("background-color", "rgb(20, 22, 27)")
