"""Messages of `kie_ops` that their service refuses: kept for the next look, sent once, and given up after a day."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from airflow_kie.notifications import told
from airflow_kie.notifications.kie import KieConditionNotifier
from airflow_task import TaskInstance, WorkerCrash
from posted_notifier import PostedUnless


def test_what_kie_ops_could_not_send_is_sent_once_at_its_next_look(
    posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__NOTIFIER", "posted_notifier.PostedUnless")
    ti = TaskInstance(task_id="look")
    ti.pulls[("look", "news")] = [{"what": "begins", "key": "s3:covers", "text": "3 songs wait."}]
    monkeypatch.setattr(PostedUnless, "refused", "3 songs")
    with pytest.raises(ConnectionError):
        KieConditionNotifier().notify({"ti": ti})
    ti.pulls[("look", "news")] = []
    with pytest.raises(ConnectionError):
        KieConditionNotifier().notify({"ti": ti})
    monkeypatch.setattr(PostedUnless, "refused", "nothing")
    for _ in range(2):
        KieConditionNotifier().notify({"ti": ti})
    assert [one["text"] for one in posted] == ["s3 begins\n3 songs wait."]
    for damaged in ("no json", "5", '[{"title": 1}]', "[[]]"):
        told.Variable.set(told.UNSENT, damaged)
        KieConditionNotifier().notify({"ti": ti})


class Refused:
    """Looks of kie_ops whose notifier is refused, with a clock.

    :param now: epoch seconds.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, now: float) -> None:
        self.now = now
        monkeypatch.setenv("AIRFLOW__KIE__NOTIFIER", "posted_notifier.PostedUnless")
        monkeypatch.setattr(PostedUnless, "refused", "wait.")
        monkeypatch.setattr("airflow_kie.notifications.kie.time.time", lambda: self.now)

    def look(self, *texts: str) -> None:
        """Look, with so many causes that begin."""
        ti = TaskInstance(task_id="look")
        ti.pulls[("look", "news")] = [{"what": "begins", "key": f"s3:{text}", "text": text} for text in texts]
        with contextlib.suppress(ConnectionError):
            KieConditionNotifier().notify({"ti": ti})

    @property
    def kept(self) -> list[str]:
        return [one["text"] for one in json.loads(told.Variable.get(told.UNSENT))]


@pytest.fixture
def refused(posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Refused:
    return Refused(monkeypatch, now=1_000_000.0)


def test_a_message_that_is_refused_for_a_day_is_given_up_with_one_line_that_says_which_and_why(
    refused: Refused, caplog: pytest.LogCaptureFixture
) -> None:
    refused.look("3 songs wait.\nMend the bucket.")
    refused.now += 23.9 * 3600
    refused.look()
    assert refused.kept == ["3 songs wait.\nMend the bucket."] and not caplog.records
    refused.now += 0.1 * 3600
    refused.look()
    refused.look()
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    said = line.getMessage()
    assert said.startswith(
        "A message is given up: 's3 begins: 3 songs wait.' Notifier posted_notifier.PostedUnless of "
    )
    assert "could not send it for 24 hours, and has raised last: ConnectionError: the service is away." in said
    assert "\n" not in said
    assert refused.kept == []


def test_a_secret_in_the_url_of_a_refusal_stands_neither_in_that_line_nor_in_the_variable(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(PostedUnless, "words", "404 for https://hooks.example.com/services/T0/s3cret\nGo away")
    refused.look("3 songs wait.")
    assert "s3cret" not in told.Variable.get(told.UNSENT)
    refused.now += 24 * 3600
    refused.look()
    assert "ConnectionError: 404 for <URL at hooks.example.com> Go away." in caplog.text


def test_of_many_refused_messages_the_newest_are_kept_and_each_other_is_named(
    refused: Refused, caplog: pytest.LogCaptureFixture
) -> None:
    refused.look(*(f"{number} songs wait." for number in range(told.MOST_UNSENT)))
    refused.look("99 songs wait.")
    assert refused.kept == [f"{number} songs wait." for number in [*range(1, told.MOST_UNSENT), 99]]
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith("A message is given up: 's3 begins: 0 songs wait.' ")
    assert "20 newer ones wait" in line


@pytest.mark.parametrize("since", ["soon", "", "2199-01-01T00:00:00+00:00", "1970-01-01"])
def test_a_kept_message_whose_time_a_person_has_changed_has_an_end_too(refused: Refused, since: str) -> None:
    refused.look("3 songs wait.")
    (kept,) = json.loads(told.Variable.get(told.UNSENT))
    told.Variable.set(told.UNSENT, json.dumps([{**kept, "since": since}]))
    refused.look()
    refused.now += 24 * 3600
    refused.look()
    assert refused.kept == []


@pytest.mark.parametrize(
    "kept",
    [
        {"title": "s3 begins", "text": "3 songs wait.", "cause": "s3", "severity": "error", "over": ""},
        {"title": "s3 is over", "text": "3 songs wait.", "over": "true", "by": "a person"},
        {"title": "s3 begins", "text": "3 songs wait."},
    ],
    ids=["as the first release kept it", "with more", "with less"],
)
def test_a_kept_message_of_another_shape_is_sent_once_or_has_an_end(
    refused: Refused, posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, kept: dict[str, str]
) -> None:
    told.Variable.set(told.UNSENT, json.dumps([kept]))
    refused.look()
    assert refused.kept == ["3 songs wait."]
    refused.now += 24 * 3600
    refused.look()
    assert refused.kept == []
    told.Variable.set(told.UNSENT, json.dumps([kept]))
    monkeypatch.setattr(PostedUnless, "refused", "nothing")
    for _ in range(2):
        refused.look()
    assert [one["text"] for one in posted] == [f"{kept['title']}\n3 songs wait."]


def test_a_kept_message_outlives_a_worker_that_dies_while_it_is_sent(
    refused: Refused, posted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused.look("3 songs wait.", "4 songs wait.")
    with monkeypatch.context() as dying:
        dying.setattr(PostedUnless, "raises", WorkerCrash)
        with pytest.raises(WorkerCrash):
            refused.look()
    monkeypatch.setattr(PostedUnless, "refused", "nothing")
    refused.look("3 songs wait.")  # a second try of the same look has the same to tell
    refused.look()
    assert [one["text"] for one in posted] == ["s3 begins\n3 songs wait.", "s3 begins\n4 songs wait."]
