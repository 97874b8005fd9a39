"""Who is notified of which runs, causes and deadlines, through a notifier that somebody else has written."""

from __future__ import annotations

import asyncio
import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_kie.notifications import kie
from airflow_kie.notifications.kie import (
    KieArchivedNotifier,
    KieDeadlineNotifier,
    KieFailedNotifier,
    Message,
    incident_messages,
    sender_of,
)
from airflow_task import TaskInstance

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
        "Archived: 2 songs\n"
        f"Velvet Harbour: https://airflow.example.com/kie/songs/{A}\n"
        f"Without title: https://airflow.example.com/kie/songs/{B}"
    ]


@pytest.mark.parametrize("title", ["<!channel> here", "<https://evil.example|Velvet Harbour>", "R&B <3"])
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


def test_songs_that_a_run_found_archived_are_no_news(posted: list[dict[str, Any]]) -> None:
    there = row(A, "Velvet Harbour") | {"result": "archived already"}
    KieArchivedNotifier()(report(there))
    assert posted == []
    KieArchivedNotifier()(report(there, row(B, "Salt") | {"result": "archived"}))
    assert [one["text"].splitlines()[0] for one in posted] == ["Archived: 1 song"]


@pytest.mark.parametrize(("bucket", "page"), [("covers", "kie"), ("another", "kie/runs/music_cover/manual__1")])
def test_songs_of_a_batch_of_many_are_named_too(bucket: str, page: str, posted: list[dict[str, Any]]) -> None:
    context = report(row(A, "Velvet Harbour"), row(B, "Salt", "file_gone", "KIE has deleted it"))
    batch = {"songs": 2, "first": 1, "list": "songs/_runs/a/b.jsonl", "start": 0, "end": 99, "kie_conn_id": "kie"}
    context["task"].songs = [{**batch, "bucket": bucket, "prefix": "songs"}]
    KieArchivedNotifier()(context)
    KieFailedNotifier()(context)
    archived, failed = (one["text"].splitlines()[-1] for one in posted)
    assert archived == f"Velvet Harbour: https://airflow.example.com/{page}/songs/{A}"
    assert failed == f"Salt: https://airflow.example.com/{page}/songs/{B}"


def test_a_run_of_many_songs_is_one_message_that_names_ten(posted: list[dict[str, Any]]) -> None:
    KieArchivedNotifier()(report(*(row(f"{number:032x}", f"Song {number}") for number in range(25))))
    (message,) = posted
    assert message["text"].count("/kie/songs/") == 10
    assert message["text"].endswith("and 15 more: https://airflow.example.com/dags/music_cover/runs/manual__1")


def test_failed_songs_are_one_message_for_the_run_with_the_causes_in_its_title(posted: list[dict[str, Any]]) -> None:
    KieFailedNotifier()(
        report(
            row(A, "One", "content_rejected", "KIE rejected the content: the word X."),
            row(B, "Two", "content_rejected", "KIE rejected the content: the word Y."),
            row(C, "Three", "file_gone", "KIE no longer has this file."),
            row("d" * 32, "Four"),
        )
    )
    (message,) = (one["text"] for one in posted)
    assert message.startswith(
        "Failed: 3 songs (content_rejected, file_gone)\nKIE rejected the content: the word X.\nOne: https://"
    )
    assert "\nKIE no longer has this file.\nThree: " in message
    assert "Four" not in message


def test_a_run_that_failed_before_any_song_is_reported_by_its_exception(posted: list[dict[str, Any]]) -> None:
    KieFailedNotifier()(report(exception=ValueError("Nothing was started.")))
    assert posted[0]["text"].startswith(
        "A run of music_cover failed\nNothing was started.\nhttps://airflow.example.com/"
    )


def test_a_stop_of_new_paid_tasks_is_a_message_for_information(posted: list[dict[str, Any]]) -> None:
    change = {"change": "begins", "key": "spending:main", "text": "jane has stopped it."}
    (message,) = incident_messages({"ti": TaskInstance(task_id="check")}, [change])
    assert (message.severity, message.over) == ("info", False)
    assert message.text == "jane has stopped it.\nhttps://airflow.example.com/kie/status"


@pytest.mark.parametrize("name", ["Posted", "PostedInTheLoop"])
def test_a_late_run_is_reported_from_an_event_loop_whatever_the_notifier_can(
    posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__NOTIFIER", f"posted_notifier.{name}")
    monkeypatch.setenv("AIRFLOW__KIE__DEADLINE_MINUTES", "60")

    async def tell() -> None:
        await KieDeadlineNotifier(context={"dag_run": {"dag_id": "music_cover", "dag_run_id": "m1"}})  # type: ignore[typeddict-item]

    asyncio.run(tell())
    (message,) = posted
    assert message["text"].startswith("A run of music_cover is late\nIt was queued more than 60 minutes ago.")
    assert message["text"].endswith("https://airflow.example.com/dags/music_cover/runs/m1")
    assert message.get("awaited", False) is (name == "PostedInTheLoop")


def test_nothing_is_sent_and_nothing_is_added_to_a_dag_unless_a_notifier_is_named(
    posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW__KIE__NOTIFIER")
    monkeypatch.setenv("AIRFLOW__KIE__DEADLINE_MINUTES", "60")
    KieArchivedNotifier()(report(row(A, "Velvet Harbour")))
    assert posted == []
    assert kie.run_callbacks() == {}
    assert kie.deadline() is None


def test_only_what_was_asked_for_is_sent(posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__DEADLINE_MINUTES", "60")
    monkeypatch.setenv("AIRFLOW__KIE__NOTIFY_OF", "failed, incidents, latest")
    assert list(kie.run_callbacks()) == ["on_failure_callback"]
    assert kie.is_on("incidents") and not kie.is_on("archived")
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


def test_line_breaks_become_breaks_in_html() -> None:
    assert Message("t", "a\nb", "c").into("{html}") == "a<br>b"


def test_airflows_own_mail_notifier_takes_our_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__NOTIFIER", "airflow.providers.smtp.notifications.smtp.SmtpNotifier")
    arguments = {"to": "us@example.com", "subject": "{title}", "html_content": "{html}"}
    monkeypatch.setenv("AIRFLOW__KIE__NOTIFIER_ARGS", json.dumps(arguments))
    mail: Any = sender_of(Message("One song is archived", "a\nb", "c"))
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
        for task_id in ("report",)
        for task in [bag.dags["music_cover"].get_task(task_id)]
        for kind, found in ((f"{task_id} ok", task.on_success_callback), (f"{task_id} bad", task.on_failure_callback))
        for one in (found if isinstance(found, list) else [found])
    }
    assert callbacks == {"report ok": "KieArchivedNotifier", "report bad": "KieFailedNotifier"}
    assert bag.dags["kie_ops"].get_task("check").downstream_task_ids == {"notify"}
