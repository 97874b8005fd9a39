"""The plan of a long run of the fault suite."""

from __future__ import annotations

import itertools
from collections import Counter

from long_run.disturbances import KILLS, KINDS, TROUBLES, plan
from long_run.machines import WITHOUT


def test_a_seed_decides_the_whole_plan() -> None:
    assert plan(7, 3600) == plan(7, 3600)
    assert plan(7, 3600) != plan(8, 3600)


def test_an_hour_has_two_hundred_kills_of_services_and_every_kind_of_trouble() -> None:
    for seed in range(5):
        planned = Counter(one.name for one in plan(seed, 3600))
        assert set(planned) == set(KINDS)
        assert sum(times for name, times in planned.items() if name in KILLS and name != "task killed") >= 200


def test_it_is_in_order_and_within_its_time_and_one_trouble_ends_before_the_next_one_begins() -> None:
    planned = plan(3, 600)
    assert [one.at for one in planned] == sorted(one.at for one in planned)
    assert all(0 < one.at < 600 for one in planned)
    troubles = [one for one in planned if one.name in TROUBLES]
    assert all(one.at + one.seconds < after.at for one, after in itertools.pairwise(troubles))


def test_what_needs_a_machine_of_its_own_is_named_as_it_is_in_the_table() -> None:
    assert set(WITHOUT) <= set(TROUBLES)
