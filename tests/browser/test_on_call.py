"""What somebody on call does with the status page, in Chromium, in an Airflow with each kind of trouble."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import httpx
from playwright.sync_api import expect

from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.pending import new_pending
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.song_folder import SongArchive
from browser_pages import PHONE, Airflow, Opened, go_on, photograph


def test_the_status_page_says_what_is_wrong_and_what_to_do_in_a_sentence_each(opened: Opened) -> None:
    with opened("/status") as page:
        summary = page.locator(".summary")
        expect(summary).to_contain_text("812 credits")
        expect(summary).to_contain_text("may have been paid for without a result")
        expect(summary).to_contain_text(re.compile(r"songs? (is|are) pending; KIE deletes the first of their files on"))
        expect(summary.locator("div")).to_have_count(3)
        todo = summary.locator("div", has=page.get_by_role("heading", name="To do"))
        expect(todo).to_contain_text("triggerer")  # none runs here: it comes before everything else
        expect(todo.locator("code")).to_have_text("airflow triggerer")
        expect(page.get_by_text("No task waits for KIE at the moment.")).to_be_visible()


def test_a_request_in_doubt_is_adopted_another_released_and_failed_songs_are_retried(opened: Opened) -> None:
    with opened("/status") as page:
        doubts = page.locator(".doubt")
        expect(doubts).to_have_count(2)
        doubts.first.get_by_placeholder("KIE's task id").fill("5c79be8e0a3f4d1c9b7e2f6a8d0c1e35")
        doubts.first.get_by_role("button", name="Adopt").click()
        expect(page.locator("#outcome")).to_contain_text("The request has KIE task 5c79be8e")
        expect(doubts).to_have_count(1)
        doubts.get_by_role("button", name="Release").click()
        doubts.get_by_role("button", name="Yes, pay again").click()
        expect(doubts).to_have_count(0)
        expect(page.locator(".summary")).to_contain_text("nothing is in doubt")
        page.get_by_role("button", name="Retry these").first.click()
        expect(page.locator("#outcome")).to_contain_text("2 songs restarted.")


def test_new_paid_tasks_are_stopped_in_two_clicks_every_page_says_so_and_they_are_resumed(opened: Opened) -> None:
    with opened("/status") as page:
        page.get_by_placeholder("Why (optional)").fill("a <b>loop</b>")
        page.get_by_role("button", name="Stop new paid tasks").click()
        page.get_by_role("button", name="Yes, stop").click()
        expect(page.locator("#outcome")).to_contain_text("are stopped")
        expect(page.locator(".notice")).to_contain_text("a <b>loop</b>")
        page.get_by_role("button", name="Allow new paid tasks again").click()
        page.get_by_role("button", name="Yes, allow them").click()
        expect(page.locator(".notice")).to_have_count(0)


def test_a_test_callback_arrives_and_is_in_the_list_of_the_last_callbacks(opened: Opened, airflow: Airflow) -> None:
    forged = {"data": {"task_id": "5c79be8e0a3f4d1c9b7e2f6a8d0c1e35"}}
    url = f"{airflow.kie}/callback/kie_default"
    assert httpx.post(url, json=forged, trust_env=False, timeout=200).status_code == 401
    with opened("/status") as page:
        page.get_by_role("link", name="Last callbacks").click()
        page.get_by_role("button", name="Send a test callback").click()
        expect(page.locator("#outcome")).to_contain_text("The test callback arrived")
        expect(page.locator(".deliveries tbody tr").first).to_contain_text("Our own test callback arrived.")
        expect(page.locator("#outcome")).to_be_hidden()
        photograph(page, "callbacks", whole=True)
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size(PHONE)
        photograph(page, "callbacks-phone", whole=True)
        page.get_by_role("link", name="Status").click()
        expect(page.locator(".summary")).to_be_visible()


def test_a_selection_of_pending_songs_is_given_up(opened: Opened) -> None:
    with opened("/songs") as page:
        page.get_by_label(re.compile("Select .*Slow Machine")).check()
        expect(page.locator("#selection strong")).to_have_text("1 selected")
        page.get_by_role("button", name="Give up").click()
        page.get_by_role("button", name="Yes, give them up").click()
        expect(page.locator("#outcome")).to_contain_text("1 song given up.")
        go_on(page)
        expect(page.get_by_label(re.compile("Select .*Slow Machine"))).to_have_count(0)


def test_many_pending_songs_are_started_again_by_one_event_then_given_up_but_for_one_that_is_not_pending_any_more(
    opened: Opened, airflow: Airflow
) -> None:
    bucket, keys = Bucket(airflow.s3.client(), "songs"), ArchiveKeys("songs")
    songs = {f"tide{n}": SongArchive(bucket, keys.song(f"tide{n}")) for n in range(5)}
    for name, song in songs.items():
        song.merge_pending(
            new_pending(name, received_from="form", now=datetime.now(UTC)).changed(title=f"Tide <i>{name}</i>")
        )
    with opened("/songs") as page:
        boxes = page.get_by_label(re.compile("Select .*Tide <i>tide"))
        expect(boxes).to_have_count(5)
        boxes.first.check()
        boxes.nth(3).click(modifiers=["Shift"])
        expect(page.locator("#selection strong")).to_have_text("4 selected")
        chosen = sorted(box.get_attribute("value") or "" for box in boxes.all()[:4])
        page.get_by_role("button", name="Retry", exact=True).click()
        expect(page.locator("#outcome")).to_contain_text("4 songs restarted.")
        go_on(page)
        expect(page.locator("#selection")).to_be_hidden()  # the page has been loaded again
        expect(boxes).to_have_count(5)  # no run has taken them yet
        for box in boxes.all():
            box.check()
        songs[chosen[0]].drop_pending()  # a run was faster
        page.get_by_role("button", name="Give up").click()
        page.get_by_role("button", name="Yes, give them up").click()
        expect(page.locator("#outcome")).to_contain_text("4 songs given up.")
        expect(page.locator("#outcome")).to_contain_text("1 song skipped")
        go_on(page)
        expect(boxes).to_have_count(0)
    assert [name for name, song in songs.items() if song.pending()] == []
    events = airflow.read("assets/events?limit=100")
    named = [sorted(event["extra"].get("music_task_ids") or ()) for event in events["asset_events"]]
    assert named.count(chosen) == 1
