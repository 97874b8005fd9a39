"""A bounded selection of the fault suite; ``./run faults`` runs all of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fault_suite.plan import small_plan
from fault_suite.report import report
from fault_suite.stage import stage
from fault_suite.steps import VICTIMS
from fault_suite.suite import Outcome, Suite

SEED = 20260
FAULTS = 26
TIMEOUT_SECONDS = 2400.0
"""Seconds until songs and kills are left out, which fails the tests: two busy cores took 124 of them."""
AIRFLOW = {
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "36000",  # the files do not change
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "600",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
    # What runs on a busy machine is not taken for dead: each such mistake is a task more.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
}
pytestmark = pytest.mark.timeout(5400)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Run the selection once; each test checks one side of the outcome."""
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}")

    plan = small_plan(SEED, FAULTS, ("maintenance", "drought"))
    with stage(tmp_path_factory.mktemp("faults"), AIRFLOW, duplicate="none") as stack:
        done = Suite(stack, plan, say, outage=12.0, gap=6.0).run(TIMEOUT_SECONDS)
    print(*report(done), sep="\n")
    yield done


def test_nothing_that_costs_credits_is_paid_twice_although_kie_makes_a_task_for_each_create(outcome: Outcome) -> None:
    assert outcome.duplicate == "none"
    assert outcome.found.double == ()


def test_a_cover_is_made_again_only_where_its_answer_was_lost_and_once_at_most(outcome: Outcome) -> None:
    assert outcome.found.too_often == ()
    assert len(outcome.found.made_twice) >= 1  # the one of which no callback tells


def test_every_song_that_can_be_archived_is(outcome: Outcome) -> None:
    assert outcome.found.lost == ()


def test_every_archive_is_whole_and_no_file_is_there_that_no_manifest_names(outcome: Outcome) -> None:
    assert outcome.found.corrupt == ()


def test_what_cannot_succeed_is_not_sent_again(outcome: Outcome) -> None:
    assert outcome.found.wasted == ()


def test_the_key_goes_nowhere_else_and_kie_never_has_to_refuse_for_haste(outcome: Outcome) -> None:
    assert outcome.found.other == ()


def test_outages_fail_no_run_and_each_song_goes_on_by_itself(outcome: Outcome) -> None:
    assert outcome.complaints == []


def test_each_process_of_the_stack_was_killed(outcome: Outcome) -> None:
    assert {victim for victim, _ in outcome.kills} == set(VICTIMS)


def test_a_task_was_killed_while_its_create_was_in_flight_and_when_its_id_was_stored(outcome: Outcome) -> None:
    assert {("task", "cover, create in flight"), ("task", "cover, id stored")} <= set(outcome.kills)


def test_runs_that_lost_their_processes_end_well_by_themselves(outcome: Outcome) -> None:
    assert len(outcome.ended) >= 3
    assert set(outcome.ended.values()) == {"success"}


def test_at_least_thirty_faults_struck(outcome: Outcome) -> None:
    assert outcome.injected >= 30
