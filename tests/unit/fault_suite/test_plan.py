"""The plan of the fault suite."""

from __future__ import annotations

import pytest

from fault_suite.catalogue import SLOTS, KieFault
from fault_suite.plan import batched_plan, full_plan, small_plan
from fault_suite.steps import STEPS, VICTIMS
from kie_simulator.faults import Fault


def test_a_seed_decides_the_whole_plan() -> None:
    assert full_plan(7, 500, ()) == full_plan(7, 500, ())
    assert full_plan(7, 500, ()) != full_plan(8, 500, ())


def test_a_full_plan_kills_every_process_at_every_step_where_it_lives() -> None:
    kills = {(kill.victim, kill.step.name) for kill in full_plan(1, 500, ()).kills}
    lacking = {(victim, step.name) for victim in VICTIMS for step in STEPS} - kills
    assert len(kills) >= 60
    assert len(full_plan(1, 500, ()).kills) >= 90  # some find that their moment is over, and 80 are wanted
    assert lacking == {
        (victim, f"{step}, deferred") for victim in ("task", "supervisor") for step in ("music complete", "cover")
    }


def test_a_full_plan_has_every_kind_of_fault() -> None:
    planned = {fault.name for song in full_plan(1, 900, ()).all_songs for fault in song.faults}
    rare = {"balance", "link"}
    assert {fault.name for slot, kinds in SLOTS.items() if slot not in rare for fault in kinds} <= planned


def test_a_song_is_never_given_the_same_wrong_answer_by_two_faults() -> None:
    for song in full_plan(3, 500, ()).all_songs:
        lies = [fault.name.partition(" (")[0] for fault in song.faults]
        assert len(lies) == len(set(lies))


def test_the_kills_of_a_journey_follow_the_chain() -> None:
    for plan in (full_plan(2, 500, ()), small_plan(2, 20, ())):
        for journey in (*plan.journeys, *(batch.kills for batch in plan.batches)):
            places = [STEPS.index(kill.step) for kill in journey]
            assert places == sorted(places)


def test_a_small_plan_kills_each_process_and_a_task_at_each_moment_around_the_payment() -> None:
    kills = {(kill.victim, kill.step.name) for kill in small_plan(1, 20, ()).kills}
    assert {victim for victim, _ in kills} == set(VICTIMS)
    assert {("task", "cover, create in flight"), ("task", "cover, id stored")} <= kills


def test_a_full_plan_has_runs_of_fifty_whose_songs_meet_faults_nothing_or_their_end() -> None:
    plan = full_plan(1, 500, ())
    for batch in plan.batches:
        assert 1 + len(batch.songs) + len(batch.dooms) == 50
        assert len({bool(song.faults) for song in batch.songs}) == 2
        assert {doom.creates for doom in batch.dooms} == {0, 3}  # before anything is paid, and with every cover
        assert {"task", "triggerer"} & {kill.victim for kill in batch.kills}
    assert len(plan.batches) == 3


def test_a_plan_of_batches_has_all_its_songs_and_kills_in_runs_of_fifty() -> None:
    plan = batched_plan(1, 150)
    assert (plan.songs, plan.journeys, plan.episodes) == ((), (), ())
    assert [1 + len(batch.songs) + len(batch.dooms) for batch in plan.batches] == [50, 50, 50]
    assert sum(fault.strikes for song in plan.all_songs for fault in song.faults) + len(plan.kills) >= 150


def test_a_full_plan_has_a_quarter_of_its_songs_with_faults_in_runs_of_many() -> None:
    plan = full_plan(1, 500, ())
    with_faults = [song for song in plan.all_songs if song.faults]
    assert len(with_faults) - len(plan.songs) > len(with_faults) / 4


def test_both_plans_refuse_reads_of_a_paid_cover_with_every_code_that_was_final_once() -> None:
    for plan in (full_plan(1, 900, ()), small_plan(1, 20, ())):
        planned = {fault.name for song in plan.all_songs for fault in song.faults}
        assert {f"cover code {code}" for code in (400, 404, 422, 451, 505)} <= planned


@pytest.mark.parametrize("fault", [kind for kinds in SLOTS.values() for kind in kinds if isinstance(kind, KieFault)])
def test_the_simulator_knows_every_fault_of_the_catalogue(fault: KieFault) -> None:
    assert Fault(phase=fault.phase, action=fault.action, **fault.options).times == fault.strikes


def test_both_plans_lose_the_answers_of_songs_that_cost_credits() -> None:
    for plan, songs in ((full_plan(1, 900, ()), 2), (small_plan(1, 20, ()), 1)):
        assert len(plan.generated) >= songs
        for fault in plan.generated:
            assert Fault(phase=fault.phase, action=fault.action, **fault.options).takes_effect


def test_both_plans_have_a_cover_whose_answer_and_callback_are_lost() -> None:
    for plan in (full_plan(1, 900, ()), small_plan(1, 20, ())):
        assert [fault.action for fault in plan.songs[0].faults[:2] if isinstance(fault, KieFault)] == [
            "reset_after",
            "lost",
        ]
