"""An incident is reported when it begins, when it gets worse, once a day, and when it ends."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_kie.monitoring.incidents import (
    AGAIN_AFTER,
    CAUSES,
    Change,
    Incident,
    IncidentChange,
    IncidentState,
    decide,
    from_json,
    level_of_credits,
    level_of_songs,
    merged,
    to_json,
)

TEN_MINUTES = 600.0
REFUSES = Incident("s3", "covers", "bucket covers refuses PutObject", 1_000.0, level=3, songs=214)


@dataclass
class Watch:
    """One health check after the other, every ten minutes, with what they remember stored in between."""

    at: float = 10_000.0
    before: dict[str, IncidentState] = field(default_factory=dict)

    def check(
        self, *found: Incident, unknown: frozenset[str] = frozenset(), name: str | None = None
    ) -> list[IncidentChange]:
        self.at += TEN_MINUTES
        changes, states = decide(found, self.before, check=name or str(self.at), at=self.at, unknown=unknown)
        self.before = from_json(to_json(states))
        return changes

    def whats(self, *found: Incident, **how: frozenset[str]) -> list[Change]:
        return [news.change for news in self.check(*found, **how)]  # type: ignore[arg-type]


def test_an_incident_is_reported_when_it_begins_and_not_at_the_next_checks() -> None:
    watch = Watch()
    (begins,) = watch.check(REFUSES)
    assert begins.change is Change.BEGINS and begins.alarms
    assert begins.sentence.startswith("214 songs wait: bucket covers refuses PutObject since ")
    assert watch.check(REFUSES) == watch.check(replace(REFUSES, songs=215)) == []


def test_an_incident_that_gets_worse_is_reported_once_and_one_that_gets_better_is_not() -> None:
    watch = Watch()
    watch.check(REFUSES)
    assert watch.whats(replace(REFUSES, level=4)) == [Change.WORSE]
    assert watch.whats(replace(REFUSES, level=4)) == []
    assert watch.whats(REFUSES) == watch.whats(replace(REFUSES, level=4)) == []


def test_an_incident_that_lasts_is_reported_once_a_day() -> None:
    watch = Watch()
    watch.check(REFUSES)
    checks = int(AGAIN_AFTER / TEN_MINUTES)
    reported = [what for _ in range(2 * checks) for what in watch.whats(REFUSES)]
    assert reported == [Change.LASTS, Change.LASTS]


def test_what_was_reported_once_is_not_worse_again_after_a_day_in_which_it_was_better() -> None:
    watch = Watch()
    watch.check(replace(REFUSES, level=4))
    watch.at += AGAIN_AFTER
    assert watch.whats(REFUSES) == [Change.LASTS]
    assert watch.whats(replace(REFUSES, level=4)) == []


def test_an_incident_is_over_when_two_checks_in_a_row_have_not_found_it() -> None:
    watch = Watch()
    watch.check(REFUSES)
    assert watch.check() == []
    (over,) = watch.check()
    assert over.change is Change.OVER and not over.alarms
    assert over.sentence.startswith("Over after 3 hours: bucket covers refuses PutObject, since ")
    assert watch.check() == [] and watch.before == {}


def test_an_incident_that_comes_and_goes_is_reported_once() -> None:
    watch = Watch()
    assert [what for _ in range(6) for what in (*watch.whats(REFUSES), *watch.whats())] == [Change.BEGINS]


def test_a_check_that_could_not_check_ends_nothing() -> None:
    watch = Watch()
    expiry = Incident("expiry", "", "KIE deletes the files of 3 songs", 1_000.0)
    watch.check(expiry)
    for _ in range(5):
        assert watch.whats(unknown=frozenset({"expiry"})) == []
    assert watch.whats(expiry) == []


def test_a_check_that_is_tried_again_before_it_was_reported_reports_it_again() -> None:
    watch = Watch()
    watch.check(REFUSES, name="scheduled__1")
    assert [news.alarms for news in watch.check(REFUSES, name="scheduled__1")] == [True]
    assert watch.check(REFUSES, name="scheduled__2") == []


def test_each_account_has_an_incident_of_its_own() -> None:
    watch = Watch()
    first, second = (Incident("account", name, f"account {name} is refused", 1_000.0) for name in "ab")
    watch.check(first)
    assert [news.key for news in watch.check(first, second)] == ["account:b"]


@settings(max_examples=40)
@given(st.lists(st.lists(st.sampled_from(["s3", "kie", "credits"]), unique=True), max_size=40))
def test_every_begin_has_one_end_whatever_is_found_when(checks: list[list[str]]) -> None:
    watch = Watch()
    reported: dict[str, list[Change]] = {}
    for seen in [*checks, [], []]:
        for news in watch.check(*(Incident(cause, "", cause, watch.at) for cause in seen)):
            reported.setdefault(news.key, []).append(news.change)
    for whats in reported.values():
        assert whats == [Change.BEGINS, Change.OVER] * (len(whats) // 2)
    assert watch.before == {}


def test_what_is_found_twice_is_one_incident_with_the_earlier_beginning() -> None:
    earlier = replace(REFUSES, since=500.0, level=1)
    assert merged([REFUSES, earlier]) == [replace(REFUSES, since=500.0)]


@pytest.mark.parametrize(("balance", "level"), [(100.0, 0), (50.0, 0), (49.0, 1), (12.0, 2), (0.0, 3), (-1.0, 3)])
def test_a_balance_gets_worse_below_its_threshold_a_quarter_of_it_and_at_nothing(balance: float, level: int) -> None:
    assert level_of_credits(balance, threshold=50) == level


def test_ten_times_as_many_songs_are_worse() -> None:
    assert [level_of_songs(songs) for songs in (None, 0, 9, 10, 99, 100)] == [1, 1, 1, 2, 2, 3]


def test_every_cause_can_be_seen_in_the_metric_that_names_them() -> None:
    from airflow_kie import metrics

    assert all(f"`{cause}`" in metrics.INCIDENT.meaning for cause in CAUSES)
