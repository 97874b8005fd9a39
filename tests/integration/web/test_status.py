"""The status page in an Airflow with every kind of trouble: what it says, and what can be done there by whom."""

from __future__ import annotations

import html
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from airflow_connections import kie_connection
from airflow_kie.client.rate_limiter.limiter import Cost, CreateLimiter
from airflow_kie.lifecycle.claims import RequestId
from airflow_kie.monitoring.callback_health import Callbacks, LastCallback
from airflow_kie.monitoring.deliveries import Delivery
from airflow_kie.web.receiver.receiver import create_app
from asgi_server import serving
from fake_gateway import SECRET, FakeGateway
from kie_simulator.server import SimulatorServer
from s3_servers import moto_s3
from song_pages import SongPages, song_pages
from troubles import LOST, NOW, WRONG, store_troubles


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SongPages]:
    receiver = create_app(FakeGateway())
    with SimulatorServer(credits=812) as kie, moto_s3() as s3, serving(receiver) as port:
        callback = {"callback_url": f"http://127.0.0.1:{port}/callback/kie_default", "webhook_secret": SECRET}
        connection = kie_connection(kie, extra={"rate_limit": 1000, "account": "kie_default", **callback})
        home = tmp_path_factory.mktemp("status")
        with song_pages(home, store_troubles, s3, AIRFLOW_CONN_KIE_DEFAULT=connection) as served:
            shown(served, "812")
            yield served


def shown(pages: SongPages, sentence: str, user: str = "editor") -> str:
    """Return the page's text once it holds a sentence: it is gathered in a thread."""
    deadline, text = time.monotonic() + 200, ""
    while time.monotonic() < deadline:
        text = html.unescape(
            re.sub(r"<(?!b>|/b>|i>|/i>)[^>]*>", " ", pages.get("/status", user).text.partition("<main")[2])
        )
        text = " ".join(text.split())
        if sentence in text:
            return text
        time.sleep(0.2)
    raise AssertionError(f"{sentence!r} is not shown: {text[:4000]}")


def test_it_says_in_one_sentence_each_what_money_files_and_people_need(pages: SongPages) -> None:
    text = shown(pages, "Account kie_default has 812 credits; 2 requests may have been paid for without a result.")
    assert re.search(r"Files 3 songs are pending; KIE deletes the first of their files on \d", text)
    assert re.search(r"To do .* And \d more below\.", text)
    assert "2 KIE rejected the content needs a person" in text
    assert "824" in text  # the balance before it, as a hint
    assert "No callback from KIE is known here" in text


def test_only_who_may_trigger_the_dag_may_change_anything(pages: SongPages) -> None:
    page = pages.get("/status", "viewer")
    assert page.status_code == 200 and 'data-change="' not in page.text and "data-change-form=" not in page.text
    for user, refused in ((None, 401), ("viewer", 403), ("own_editor", 403)):
        for name in ("spending", "adopt", "release", "retry"):
            assert pages.change(f"/status/{name}", {}, user).status_code == refused
        assert pages.change("/runs/music_cover/r/retry", {}, user).status_code == refused
    assert [pages.get("/status", user).status_code for user in (None, "nobody", "own_reader")] == [401, 403, 403]


def test_a_request_in_doubt_is_adopted_or_released(pages: SongPages) -> None:
    def decided(name: str, request: RequestId, **more: str) -> tuple[int, str]:
        answer = pages.change(f"/status/{name}", {"connection": "kie_default", "request": str(request), **more})
        return answer.status_code, answer.json()["message"]

    assert decided("adopt", LOST, task_id="../x") == (400, "This is not a KIE task id; use the one from kie.ai/logs.")
    assert decided("adopt", LOST, task_id="kie1")[0] == 200
    made = "There is nothing to release: the request is no longer in doubt. KIE has made task kie1."
    assert decided("release", LOST) == (400, made)  # as if a callback had named it since the page was shown
    assert decided("release", WRONG)[0] == 200
    assert decided("release", WRONG)[0] == 400  # it is not in doubt any more
    assert str(LOST) not in shown(pages, "Account kie_default has 812 credits;")
    logged = pages.stored("select event, owner, extra from log where event in ('kie_adopt', 'kie_release') limit 2")
    assert logged == [
        ("kie_adopt", "editor", f'{{"asked": "{LOST}", "task_id": "kie1"}}'),
        ("kie_release", "editor", f'{{"asked": "{WRONG}"}}'),
    ]


def test_a_test_callback_is_signed_and_says_what_became_of_it(pages: SongPages) -> None:
    page = pages.get("/status", "editor").text
    assert 'id="test-callback-1"' in page and 'id="test-callback-1"' not in pages.get("/status", "viewer").text
    arrived = pages.change("/status/test-callback", {"connection": "kie_default"})
    assert arrived.json()["message"] == (
        "The test callback arrived: the receiver accepted its signature and answered 200. "
        "It appears in the list of the last callbacks within seconds."
    )
    assert "No callback from KIE is known here" in shown(pages, "Account kie_default has")  # it was none of KIE's
    assert pages.change("/status/test-callback", {"connection": "other"}).status_code == 400
    assert pages.change("/status/test-callback", {"connection": "kie_default"}, "viewer").status_code == 403


def test_new_paid_tasks_are_stopped_and_resumed(pages: SongPages) -> None:
    stop = {"account": "kie_default", "stop": True, "reason": "a <script>loop</script>"}
    assert pages.change("/status/spending", stop).status_code == 200
    assert "editor has stopped new paid tasks of account kie_default" in shown(pages, "new paid tasks of kie_default")
    assert "<script>loop" not in pages.get("/status").text
    assert pages.change("/status/spending", {"account": "kie_default"}).status_code == 200
    shown(pages, "Stop new paid tasks")
    assert pages.change("/status/spending", {"account": "nobody's", "stop": True}).status_code == 400
    events = [event for (event,) in pages.stored("select event from log where event like 'kie_spending%' order by id")]
    assert events == ["kie_spending_stop", "kie_spending_resume"]


def test_songs_are_named_by_reason_and_can_be_retried_where_a_run_would_follow(pages: SongPages) -> None:
    text = shown(pages, "<b>rude1</b>")
    assert text.index("<b>rude1</b>") < text.index("Slow Machine")  # what needs a person comes first
    page = pages.get("/status", "editor").text
    assert 'id="retry-content_rejected"' in page and 'id="retry-maintenance"' not in page
    for name, body in (("/status/retry", {"reason": "content_rejected"}), ("/runs/music_cover/r/retry", {})):
        answer = pages.change(name, body)
        assert answer.status_code == 400 and "Nothing was started" in answer.json()["message"]  # no DAG is here


def test_what_an_account_spends_a_day_and_the_last_callbacks_are_shown(pages: SongPages) -> None:
    CreateLimiter("kie_default", store=f"sqlite:///{pages.home}/kie/creates.db").take(Cost(70.0))
    came = [
        Delivery(NOW - timedelta(minutes=minutes), outcome, task, kind)
        for minutes, outcome, task, kind in (
            *((3, "woken", "cover1", "suno.cover"), (4, "song", "song1", "complete"), (5, "refused", "", "")),
            *((2, "song", "song1", "complete"), (1, "nobody", "stranger", "complete"), (6, "not_stored", "song1", "")),
        )
    ]
    known = Callbacks().joined(LastCallback("signature", NOW), came)
    with closing(sqlite3.connect(pages.home / "airflow.db")) as base, base:
        values = ("kie_callback__kie_default", known.text(), 0)
        base.execute("insert into variable (key, val, is_encrypted) values (?, ?, ?)", values)
    pages.change("/status/spending", {"account": "kie_default"})  # what is changed is read at once
    text = shown(pages, "It spends about 10.0 credits a day, by what was sent in the last 7 days")
    assert "enough for about 81 days" in text
    assert f"KIE last called back on {NOW.day} " in text
    rows = re.findall(r"<tr>\s*<td>.*?</tr>", pages.get("/status/deliveries").text, re.S)
    verdicts = [re.search(r'<span class="badge [a-z_]*">(\w+)</span>', row) for row in rows]
    assert [found and found[1] for found in verdicts] == [
        *("unknown", "duplicate", "accepted", "accepted", "forged", "failed")
    ]
    assert "<code>cover1</code><br><small>suno.cover</small>" in rows[2]


def test_the_last_callbacks_are_for_those_who_may_read_the_dag(pages: SongPages) -> None:
    assert pages.get("/status/deliveries", None).status_code == 401
    assert pages.get("/status/deliveries", "nobody").status_code == 403
    assert "Send a test callback</button>" in pages.get("/status/deliveries", "editor").text
    assert "Send a test callback</button>" not in pages.get("/status/deliveries", "viewer").text
