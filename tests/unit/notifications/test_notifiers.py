"""Who is told what of runs, causes and deadlines, through a notifier that somebody else has written."""

from __future__ import annotations

import asyncio
import html
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_kie.notifications import kie, told
from airflow_kie.notifications.kie import (
    KieArchivedNotifier,
    KieConditionNotifier,
    KieDeadlineNotifier,
    KieFailedNotifier,
    Message,
)
from airflow_task import TaskInstance
from posted_notifier import PostedUnless

DAGS = Path(__file__).parents[3] / "dags"
A, B, C = "a" * 32, "b" * 32, "c" * 32


def row(music_task_id: str, title: str | None, cause: str | None = None, reason: str | None = None) -> dict[str, Any]:
    return {"music_task_id": music_task_id, "title": title, "cause": cause, "reason": reason}


def report(*rows: dict[str, Any], bucket: str = "covers", **more: Any) -> Any:
    ti = TaskInstance(task_id="report", run_id="manual__1")
    ti.pulls[("report", "table")] = list(rows)
    songs = [{"music_task_id": one["music_task_id"], "bucket": bucket, "prefix": "songs"} for one in rows]
    return {"ti": ti, "task": type("Report", (), {"songs": songs})(), **more}


def test_a_run_that_archived_its_songs_is_one_message_with_a_link_to_each_page(posted: list[dict[str, Any]]) -> None:
    KieArchivedNotifier()(report(row(A, "Velvet Harbour"), row(B, None)))
    assert [one["text"] for one in posted] == [
        "Two songs are archived\n"
        f"Velvet Harbour: https://airflow.example.com/kie/songs/{A}\n"
        f"Without title: https://airflow.example.com/kie/songs/{B}"
    ]


@pytest.mark.parametrize("title", ["<!channel> look", "<https://evil.example|Velvet Harbour>", "R&B <3"])
def test_a_title_is_no_markup_for_slack(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW__KIE__NOTIFIER", "airflow.providers.slack.notifications.slack_webhook.SlackWebhookNotifier"
    )
    message = Message(f"One song failed: {title}", f"{title}: https://airflow.example.com/?a=1&b=2", "failed/x")
    sent = message.into({"text": "*{title}*\n{text}", "blocks": [{"text": {"text": "{escaped}"}}]})
    for text in (sent["text"], sent["blocks"][0]["text"]["text"]):
        assert not re.search("<|>|&(?!amp;|lt;|gt;)|&amp;(amp|lt|gt);", text)
        assert title in html.unescape(text)


def test_a_notifier_that_reads_no_markup_gets_a_title_as_it_is(posted: list[dict[str, Any]]) -> None:
    KieArchivedNotifier()(report(row(A, "R&B <3")))
    assert "R&B <3: https://" in posted[0]["text"]


def test_a_title_writes_no_line_of_its_own_into_a_message(posted: list[dict[str, Any]]) -> None:
    forged = "Rain\nAll credits are gone: https://evil.example\x1b\u2028\u202e"
    KieArchivedNotifier()(report(row(A, forged)))
    KieFailedNotifier()(report(row(A, forged, "content_rejected", f"KIE rejected it: {forged}")))
    archived, failed = (one["text"] for one in posted)
    assert len(archived.splitlines()) == 2
    assert len(failed.splitlines()) == 3
    assert not set("\x1b\u2028\u202e") & set(archived + failed)


def test_a_song_of_another_bucket_is_linked_through_its_run(posted: list[dict[str, Any]]) -> None:
    KieArchivedNotifier()(report(row(A, "Velvet Harbour"), bucket="another"))
    assert f"https://airflow.example.com/kie/runs/music_cover/manual__1/songs/{A}" in posted[0]["text"]


def test_a_run_of_many_songs_is_one_message_that_names_ten(posted: list[dict[str, Any]]) -> None:
    KieArchivedNotifier()(report(*(row(f"{number:032x}", f"Song {number}") for number in range(25))))
    (message,) = posted
    assert message["text"].count("/kie/songs/") == 10
    assert message["text"].endswith("and 15 more: https://airflow.example.com/dags/music_cover/runs/manual__1")


def test_failed_songs_are_one_message_for_each_cause(posted: list[dict[str, Any]]) -> None:
    KieFailedNotifier()(
        report(
            row(A, "One", "content_rejected", "KIE rejected the content: the word X."),
            row(B, "Two", "content_rejected", "KIE rejected the content: the word Y."),
            row(C, "Three", "file_gone", "KIE no longer has this file."),
            row("d" * 32, "Four"),
        )
    )
    first, second = (one["text"] for one in posted)
    assert first.startswith("Two songs failed: content_rejected\nKIE rejected the content: the word X.\nOne: https://")
    assert second.startswith("One song failed: file_gone\nKIE no longer has this file.\nThree: ")
    assert "Four" not in first + second


def test_further_runs_that_fail_for_the_same_cause_within_an_hour_are_counted_and_not_told(
    posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("airflow_kie.notifications.kie.time.time", lambda: now)
    for _ in range(5):
        KieFailedNotifier()(report(row(A, "One", "s3_access_denied", "S3 denied the access.")))
    assert len(posted) == 1
    now += kie.QUIET
    KieFailedNotifier()(report(row(A, "One", "s3_access_denied", "S3 denied the access.")))
    assert posted[1]["text"].endswith("Since the last such message there were about 4 more runs.")


def test_a_run_that_failed_before_any_song_is_told_of_by_its_exception(posted: list[dict[str, Any]]) -> None:
    KieFailedNotifier()(report(exception=ValueError("Nothing was started.")))
    assert posted[0]["text"].startswith(
        "A run of music_cover failed\nNothing was started.\nhttps://airflow.example.com/"
    )


def test_begin_and_end_of_a_cause_are_a_message_each_with_one_key(
    posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW__KIE__NOTIFIER_ARGS",
        '{"text": "{title}: {text}", "key": "{cause}", "s": "{severity}", "a": "{action}"}',
    )
    ti = TaskInstance(task_id="look")
    for what, text in (("begins", "3 songs wait: the bucket refuses."), ("is over", "Over after 2 hours.")):
        ti.pulls[("look", "news")] = [{"what": what, "key": "s3:covers", "text": text}]
        KieConditionNotifier()({"ti": ti})
    ti.pulls[("look", "news")] = []
    KieConditionNotifier()({"ti": ti})
    assert posted == [
        {"text": "s3 begins: 3 songs wait: the bucket refuses.", "key": "s3:covers", "s": "error", "a": "trigger"},
        {"text": "s3 is over: Over after 2 hours.", "key": "s3:covers", "s": "info", "a": "resolve"},
    ]


def test_a_look_that_could_not_be_made_is_told_of(posted: list[dict[str, Any]]) -> None:
    KieConditionNotifier()({"ti": TaskInstance(task_id="look"), "exception": RuntimeError("no database")})
    assert posted[0]["text"].startswith("kie_ops could not look\nno database\n")


@pytest.mark.parametrize("name", ["Posted", "PostedInTheLoop"])
def test_a_late_run_is_told_of_from_an_event_loop_whatever_the_notifier_can(
    posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__NOTIFIER", f"posted_notifier.{name}")
    monkeypatch.setenv("AIRFLOW__KIE__DEADLINE_MINUTES", "60")

    async def tell() -> None:
        await KieDeadlineNotifier(context={"dag_run": {"dag_id": "music_cover", "dag_run_id": "m1"}})  # type: ignore[typeddict-item]

    asyncio.run(tell())
    asyncio.run(tell())
    (message,) = posted  # late runs come in numbers
    assert message["text"].startswith("A run of music_cover is late\nIt was queued more than 60 minutes ago.")
    assert message["text"].endswith("https://airflow.example.com/dags/music_cover/runs/m1")
    assert message.get("awaited", False) is (name == "PostedInTheLoop")


def test_nothing_is_told_and_nothing_is_added_to_a_dag_unless_a_notifier_is_named(
    posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW__KIE__NOTIFIER")
    monkeypatch.setenv("AIRFLOW__KIE__DEADLINE_MINUTES", "60")
    KieArchivedNotifier()(report(row(A, "Velvet Harbour")))
    assert posted == []
    assert kie.tell_of_run() == kie.tell_of_conditions() == {}
    assert kie.deadline() is None


def test_only_what_was_asked_for_is_told(posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__DEADLINE_MINUTES", "60")
    monkeypatch.setenv("AIRFLOW__KIE__NOTIFY_OF", "failed, conditions, latest")
    assert list(kie.tell_of_run()) == ["on_failure_callback"]
    assert list(kie.tell_of_conditions()) == ["on_success_callback", "on_failure_callback"]
    assert kie.deadline() is None


def test_what_a_song_is_called_is_neither_a_template_nor_markup(
    posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    title = "{{ conn.kie_default.password }} {cause} <b>&"
    monkeypatch.setenv(
        "AIRFLOW__KIE__NOTIFIER_ARGS", '{"text": "{text}", "html": "{html}", "deep": [{"a": "{escaped}"}]}'
    )
    KieArchivedNotifier()(report(row(A, title)))
    (message,) = posted
    assert message["text"].startswith(title + ": ")
    assert message["html"].startswith("{{ conn.kie_default.password }} {cause} &lt;b&gt;&amp;: ")
    assert message["deep"][0]["a"] == message["html"]


def test_a_notifier_that_cannot_be_used_is_named(posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__NOTIFIER_ARGS", "no json")
    with pytest.raises(ValueError, match=r"\[kie\] notifier '.*Posted' cannot be used with its notifier_args: "):
        KieArchivedNotifier()(report(row(A, "Velvet Harbour")))


@pytest.mark.parametrize("way", ["called", "awaited"])
def test_a_message_that_cannot_be_sent_keeps_back_no_other_and_is_told_by_the_next_run(
    posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__NOTIFIER", "posted_notifier.PostedUnless")
    monkeypatch.setattr(PostedUnless, "refused", "file_gone")
    rows = [row(A, "One", "file_gone", "KIE no longer has this file."), row(B, "Two", "timeout", "Not in time.")]

    def tell() -> None:
        notifier = KieFailedNotifier(context=report(*rows))
        asyncio.run(notifier.async_notify(report(*rows))) if way == "awaited" else notifier.notify(report(*rows))

    with pytest.raises(ConnectionError):
        tell()
    assert [one["text"].splitlines()[0] for one in posted] == ["One song failed: timeout"]
    monkeypatch.setattr(PostedUnless, "refused", "nothing")
    tell()
    assert [one["text"].splitlines()[0] for one in posted[1:]] == ["One song failed: file_gone"]


@pytest.mark.parametrize(
    "note",
    ["no json", "[1]", "5", "null", '{"failed/x": 5}', '{"failed/x": {"at": "a"}}', '{"failed/x": {"at": 9e99}}'],
)
def test_a_note_of_what_was_told_that_a_person_has_changed_silences_nothing(
    posted: list[dict[str, Any]], note: str
) -> None:
    told.Variable.set(told.TOLD, note)
    KieFailedNotifier()(report(row(A, "One", "x", "Why.")))
    assert len(posted) == 1


def test_a_clock_that_was_ahead_when_a_failure_was_told_of_silences_no_later_one(posted: list[dict[str, Any]]) -> None:
    told.Variable.set(told.TOLD, json.dumps({"failed/x": {"at": time.time() + 1e8, "unsaid": 0}}))
    KieFailedNotifier()(report(row(A, "One", "x", "Why.")))
    assert len(posted) == 1


def test_line_breaks_become_breaks_in_html() -> None:
    assert Message("t", "a\nb", "c").into("{html}") == "a<br>b"


def test_airflows_own_mail_notifier_takes_our_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__NOTIFIER", "airflow.providers.smtp.notifications.smtp.SmtpNotifier")
    arguments = {"to": "us@example.com", "subject": "{title}", "html_content": "{html}"}
    monkeypatch.setenv("AIRFLOW__KIE__NOTIFIER_ARGS", json.dumps(arguments))
    mail: Any = kie.sender_of(Message("One song is archived", "a\nb", "c"))
    assert (mail.to, mail.subject, mail.html_content) == ("us@example.com", "One song is archived", "a<br>b")


def test_the_dags_carry_callbacks_and_a_deadline_where_they_are_configured(
    posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("AIRFLOW__KIE__DEADLINE_MINUTES", "90")
    bag = DagBag(str(DAGS), bundle_path=DAGS)
    assert bag.import_errors == {}
    (late,) = bag.dags["music_cover"].deadline or []
    assert late.interval.total_seconds() == 5400
    assert late.callback.path == "airflow_kie.notifications.kie.KieDeadlineNotifier"
    callbacks = {
        kind: type(one).__name__
        for dag_id, task_id in (("music_cover", "report"), ("kie_ops", "look"))
        for task in [bag.dags[dag_id].get_task(task_id)]
        for kind, found in ((f"{task_id} ok", task.on_success_callback), (f"{task_id} bad", task.on_failure_callback))
        for one in (found if isinstance(found, list) else [found])
    }
    assert callbacks == {
        "report ok": "KieArchivedNotifier",
        "report bad": "KieFailedNotifier",
        "look ok": "KieConditionNotifier",
        "look bad": "KieConditionNotifier",
    }
