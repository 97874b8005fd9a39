"""Messages about incidents are sent by a task of their own: Airflow's retries are the queue."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_kie.operators.health_check import KieIncidentNotificationOperator
from airflow_task import TaskInstance, TaskRun
from posted_notifier import PostedUnless

BEGINS = {"change": "begins", "key": "s3:covers", "text": "3 songs wait: the bucket refuses."}
OVER = {"change": "is over", "key": "credits:main", "text": "Over after 2 hours."}


def notify(*changes: dict[str, str]) -> TaskRun:
    ti = TaskInstance(dag_id="kie_ops", task_id="notify")
    ti.pulls[("check", "incident_changes")] = list(changes)
    return TaskRun(lambda: KieIncidentNotificationOperator(task_id="notify", check_task_id="check"), ti=ti)


def test_each_change_of_an_incident_is_a_message_with_one_key_from_begin_to_end(
    posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"text": "{title}: {text}", "key": "{cause}", "s": "{severity}", "a": "{action}"}
    monkeypatch.setenv("AIRFLOW__KIE__NOTIFIER_ARGS", json.dumps(arguments))
    notify(BEGINS, OVER).execute()
    notify().execute()
    texts = [one.pop("text").split("\n") for one in posted]
    status = "https://airflow.example.com/kie/status"
    assert texts == [
        ["s3 begins: 3 songs wait: the bucket refuses.", status],
        ["credits is over: Over after 2 hours.", status],
    ]
    assert posted == [
        {"key": "s3:covers", "s": "error", "a": "trigger"},
        {"key": "credits:main", "s": "info", "a": "resolve"},
    ]


def test_a_message_that_cannot_be_sent_stops_no_other_and_a_retry_sends_it_alone(
    posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__NOTIFIER", "posted_notifier.PostedUnless")
    monkeypatch.setattr(PostedUnless, "refused", "s3")
    run = notify(BEGINS, OVER)
    with pytest.raises(ConnectionError):
        run.execute()
    assert [one["text"].splitlines()[0] for one in posted] == ["credits is over"]
    monkeypatch.setattr(PostedUnless, "refused", "nothing")
    run.retried().execute()
    assert [one["text"].splitlines()[0] for one in posted] == ["credits is over", "s3 begins"]


def test_a_health_check_that_came_to_no_end_is_a_message(posted: list[dict[str, Any]]) -> None:
    ti = TaskInstance(dag_id="kie_ops", task_id="notify")
    TaskRun(lambda: KieIncidentNotificationOperator(task_id="notify", check_task_id="check"), ti=ti).execute()
    assert posted[0]["text"].startswith(
        "kie_ops could not run its check\nThe health check did not finish; its log says why.\n"
    )


def test_a_message_is_tried_for_about_a_day() -> None:
    task = KieIncidentNotificationOperator(task_id="notify", check_task_id="check")
    hour = task.max_retry_delay.total_seconds()  # type: ignore[union-attr]
    pauses = [min(hour, task.retry_delay.total_seconds() * 2**retry) for retry in range(task.retries)]
    assert 22 * 3600 < sum(pauses) < 30 * 3600
