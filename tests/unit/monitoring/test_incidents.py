"""A cause that holds songs up is told of at its begin, when it gets worse, once a day, and at its end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_kie.monitoring.incidents import (
    AGAIN_AFTER,
    CAUSES,
    Condition,
    Look,
    News,
    Told,
    What,
    decide,
    from_json,
    joined,
    level_of_credits,
    level_of_songs,
    to_json,
)

TEN_MINUTES = 600.0
REFUSES = Condition("s3", "covers", "bucket covers refuses PutObject", 1_000.0, level=3, songs=214)


@dataclass
class Watch:
    """One look after the other, every ten minutes, with what they remember stored in between."""

    at: float = 10_000.0
    told: dict[str, Told] = field(default_factory=dict)

    def look(self, *seen: Condition, unseen: frozenset[str] = frozenset(), name: str | None = None) -> list[News]:
        self.at += TEN_MINUTES
        news, told = decide(Look(name or str(self.at), self.at, seen, unseen), self.told)
        self.told = from_json(to_json(told))
        return news

    def whats(self, *seen: Condition, **how: frozenset[str]) -> list[What]:
        return [news.what for news in self.look(*seen, **how)]  # type: ignore[arg-type]


def test_a_cause_is_told_of_when_it_begins_and_not_at_the_next_looks() -> None:
    watch = Watch()
    (begins,) = watch.look(REFUSES)
    assert begins.what is What.BEGINS and begins.alarms
    assert begins.sentence.startswith("214 songs wait: bucket covers refuses PutObject since ")
    assert watch.look(REFUSES) == watch.look(replace(REFUSES, songs=215)) == []


def test_a_cause_that_gets_worse_is_told_of_once_and_one_that_gets_better_is_not() -> None:
    watch = Watch()
    watch.look(REFUSES)
    assert watch.whats(replace(REFUSES, level=4)) == [What.WORSE]
    assert watch.whats(replace(REFUSES, level=4)) == []
    assert watch.whats(REFUSES) == watch.whats(replace(REFUSES, level=4)) == []


def test_a_cause_that_lasts_is_told_of_once_a_day() -> None:
    watch = Watch()
    watch.look(REFUSES)
    looks = int(AGAIN_AFTER / TEN_MINUTES)
    told = [what for _ in range(2 * looks) for what in watch.whats(REFUSES)]
    assert told == [What.LASTS, What.LASTS]


def test_what_was_told_once_is_not_worse_again_after_a_day_in_which_it_was_better() -> None:
    watch = Watch()
    watch.look(replace(REFUSES, level=4))
    watch.at += AGAIN_AFTER
    assert watch.whats(REFUSES) == [What.LASTS]
    assert watch.whats(replace(REFUSES, level=4)) == []


def test_a_cause_is_over_when_two_looks_in_a_row_have_not_seen_it() -> None:
    watch = Watch()
    watch.look(REFUSES)
    assert watch.look() == []
    (over,) = watch.look()
    assert over.what is What.OVER and not over.alarms
    assert "bucket covers refuses PutObject" in over.sentence
    assert watch.look() == [] and watch.told == {}


def test_a_cause_that_comes_and_goes_is_told_of_once() -> None:
    watch = Watch()
    assert [what for _ in range(6) for what in (*watch.whats(REFUSES), *watch.whats())] == [What.BEGINS]


def test_a_look_that_could_not_look_ends_nothing() -> None:
    watch = Watch()
    expiry = Condition("expiry", "", "KIE deletes the files of 3 songs", 1_000.0)
    watch.look(expiry)
    for _ in range(5):
        assert watch.whats(unseen=frozenset({"expiry"})) == []
    assert watch.whats(expiry) == []


def test_a_look_that_is_tried_again_before_anybody_was_told_tells_it_again() -> None:
    watch = Watch()
    watch.look(REFUSES, name="scheduled__1")
    assert [news.alarms for news in watch.look(REFUSES, name="scheduled__1")] == [True]
    assert watch.look(REFUSES, name="scheduled__2") == []


def test_each_account_has_a_cause_of_its_own() -> None:
    watch = Watch()
    first, second = (Condition("account", name, f"account {name} is refused", 1_000.0) for name in "ab")
    watch.look(first)
    assert [news.key for news in watch.look(first, second)] == ["account:b"]


@settings(max_examples=40)
@given(st.lists(st.lists(st.sampled_from(["s3", "kie", "credits"]), unique=True), max_size=40))
def test_every_begin_has_one_end_whatever_is_seen_when(looks: list[list[str]]) -> None:
    watch = Watch()
    told: dict[str, list[What]] = {}
    for seen in [*looks, [], []]:
        for news in watch.look(*(Condition(cause, "", cause, watch.at) for cause in seen)):
            told.setdefault(news.key, []).append(news.what)
    for whats in told.values():
        assert whats == [What.BEGINS, What.OVER] * (len(whats) // 2)
    assert watch.told == {}


def test_what_is_seen_twice_is_one_cause_with_the_earlier_beginning() -> None:
    noted = replace(REFUSES, since=500.0, level=1)
    assert joined([REFUSES, noted]) == [replace(REFUSES, since=500.0)]


@pytest.mark.parametrize(("balance", "level"), [(100.0, 0), (50.0, 0), (49.0, 1), (12.0, 2), (0.0, 3), (-1.0, 3)])
def test_a_balance_gets_worse_below_its_threshold_a_quarter_of_it_and_at_nothing(balance: float, level: int) -> None:
    assert level_of_credits(balance, threshold=50) == level


def test_ten_times_as_many_songs_are_worse() -> None:
    assert [level_of_songs(songs) for songs in (None, 0, 9, 10, 99, 100)] == [1, 1, 1, 2, 2, 3]


def test_what_a_variable_holds_of_others_is_left_aside() -> None:
    told = {"s3:covers": Told("bucket", 1.0, 2.0, 3, "look")}
    assert from_json({**to_json(told), "x": {"said": "half"}, "y": None}) == told
    assert from_json("nonsense") == {}


def test_every_cause_can_be_seen_in_the_metric_that_names_them() -> None:
    from airflow_kie import metrics

    assert all(f"`{cause}`" in metrics.CONDITION.meaning for cause in CAUSES)
