"""The last line of every failure: what happened, what is paid and safe, what happens next, what to do and by when.

A log shows the error's text at the end of the traceback, on one line; a report shows the same text. Every class of the
package is looked at, and for every class each part is taken out once, so that no check passes without it.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
import sys
import traceback
from typing import Any

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowFailException

import airflow_kie
from airflow_kie.client.errors import KieError, KieServerError, error_from_event
from airflow_kie.durable.retry_policy import KieRetryPolicy
from airflow_kie.durable.xcom import FAILURE_KEY
from airflow_kie.operators.report import KieSongReportOperator
from airflow_task import FakeTaskStateStore, TaskInstance, TaskRun


def every_error() -> list[type[KieError]]:
    """Return every error class of the package, wherever it stands."""
    for module in pkgutil.walk_packages(airflow_kie.__path__, "airflow_kie."):
        importlib.import_module(module.name)

    def below(kind: type[KieError]) -> set[type[KieError]]:
        return {kind}.union(*(below(sub) for sub in kind.__subclasses__()))

    ours = [kind for kind in below(KieError) if kind.__module__.startswith("airflow_kie.")]
    return sorted(ours, key=lambda kind: kind.reason)


ERRORS = every_error()
every = pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.reason)
WORDS = "Service busy\r\nask again. Later"  # KIE's words can have line breaks
FACTS: dict[str, Any] = {"code": 477, "kind": "suno.cover", "source_id": "song-1", "last_state": "2"}
UNTIL = "2026-12-06T10:06:05.950Z"

LINE = re.compile(
    r"(?P<what>[A-Z].+? for song-1\b.*: Service busy ask again\. Later \[code 477\]\. Last state: 2\.) "
    r"(?P<paid>KIE task task-1 is kept and is not paid for again\."
    r"|Nothing was (?:sent, so nothing was )?paid for this\.|Reading it costs nothing\."
    r"|Anything already paid for is kept and is not paid for again\."
    r"|KIE may have created and charged one task\.|KIE may have charged for it\."
    r"|(?:[A-Z][^.]+; )?KIE usually refunds (?:its credits|the credits of failed tasks) \(kie\.ai/logs shows it\)\.)"
    r" (?P<next>A retry reads it again and pays for nothing\.|A retry sends the same request later\."
    r"|A retry may start a new task, a limited number of times\.|No retry can help\.) "
    r"(?P<todo>[A-Z].{20,}\.) "
    r"(?P<by_when>KIE deletes its files on 2026-12-06\.|KIE deletes a song's files 14 days after it was made\."
    r"|This is not urgent: nothing expires\.|It is too late to save it: the 14 days are over\.)"
)


def last_line(error: BaseException) -> str:
    """Return the last line of what a log shows of an error, without the name of its class."""
    line = "".join(traceback.format_exception(error)).splitlines()[-1]
    return line.partition(f"{type(error).__name__}: ")[2]


@every
def test_the_last_line_has_all_its_parts_and_none_of_them_can_be_left_out(kind: type[KieError]) -> None:
    for known in ({}, {"task_id": "task-1"}, {"task_id": "task-1", "until": UNTIL}):
        line = last_line(kind(WORDS, **FACTS, **known))
        found = LINE.fullmatch(line)
        assert found, line
        assert ("task-1" in line) is ("task_id" in known)
        assert ("2026-12-06" in line) is ("until" in known)
        for part in LINE.groupindex:
            cut = " ".join((line[: found.start(part)] + line[found.end(part) :]).split())
            assert not LINE.fullmatch(cut), f"nobody notices that {part!r} is missing: {cut}"


@every
def test_what_a_person_does_is_said_for_this_reason_and_not_in_general(kind: type[KieError]) -> None:
    if kind is not KieError:
        assert kind.what != KieError.what
        assert kind.todo != KieError.todo


@every
def test_what_happens_next_is_what_the_retry_policy_does(kind: type[KieError]) -> None:
    context: Any = {"ti": TaskInstance(), "task_state_store": FakeTaskStateStore()}
    decision = KieRetryPolicy().evaluate(kind(WORDS), 1, 5, context)
    assert (decision.action is RetryAction.RETRY) is ("A retry" in str(kind(WORDS)))


def test_the_log_says_when_the_last_retry_was_used_up() -> None:
    context: Any = {"ti": TaskInstance(), "task_state_store": FakeTaskStateStore()}
    decisions = [KieRetryPolicy().evaluate(KieServerError(), n, 30, context) for n in range(1, 12)]
    assert "no retries are left; clear the task for more" in str(decisions[-1].reason)


# --- the run's report, which fails with the reasons of its songs ---


def reported(songs: Any, failure: dict[str, Any] | None = None) -> str:
    """Return the last line of a report that fails."""
    run = TaskRun(
        lambda: KieSongReportOperator(
            task_id="report",
            songs=songs,
            list_task_id="song_list",
            chain_task_ids=["generate_cover"],
        )
    )
    if failure:
        run.ti.pulls = {("generate_cover", FAILURE_KEY): [failure]}
    with pytest.raises(AirflowFailException) as failed:
        run.execute()
    return last_line(failed.value)


PAID, NEXT, BY_WHEN = (
    "Anything already paid for is kept and is not paid for again. ",
    "No retry can help. ",
    "KIE deletes a song's files 14 days after it was made.",
)


@pytest.mark.parametrize("songs", [None, [{"music_task_id": "song-1"}]], ids=["no list", "a song without a reason"])
def test_a_report_without_an_error_of_ours_says_all_the_same(songs: Any) -> None:
    line = reported(songs)
    what, paid, rest = line.partition(PAID)
    assert "did not finish" in what
    assert paid
    assert re.fullmatch(rf"{NEXT}[A-Z].{{20,}}\. {re.escape(BY_WHEN)}", rest), rest


# --- an error that was stored ---


def test_every_error_is_known_to_a_process_that_has_imported_none_of_them() -> None:
    reasons = [kind.reason for kind in ERRORS if kind is not KieError]
    program = (
        "import json, sys\n"
        "from airflow_kie.client.errors import error_from_event\n"
        "print(json.dumps([type(error_from_event({'reason': r})).reason for r in json.loads(sys.argv[1])]))"
    )
    command = [sys.executable, "-c", program]
    told = [
        json.loads(subprocess.run([*command, json.dumps(asked)], capture_output=True, text=True, check=True).stdout)
        for asked in (reasons, reasons[::-1])
    ]
    assert told == [reasons, reasons[::-1]]


def test_a_reason_of_a_newer_version_is_no_error_of_ours() -> None:
    assert type(error_from_event({"reason": "not_yet_invented"})) is KieError
