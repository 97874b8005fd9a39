"""The record of the last callbacks: what is read back, and what becomes of what several processes know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_kie.monitoring.callback_health import Callbacks, LastCallback, parsed
from airflow_kie.monitoring.deliveries import KEPT, KEPT_REFUSED, OUTCOMES, Delivery, Verdict, judged
from airflow_kie.web.receiver import receiver

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def came(second: int, outcome: str = "woken", task: str = "t", kind: str = "") -> Delivery:
    return Delivery(AT + timedelta(seconds=second), outcome, task, kind)


def test_what_was_written_is_read_back() -> None:
    last = Delivery(AT + timedelta(microseconds=1_234_567), "woken", "t", "suno.cover")
    known = Callbacks(LastCallback("token", AT), (last, came(0, "refused", "")))
    assert parsed(known.text()) == known == parsed(known.text()).joined(known.last, known.deliveries)


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "7", "[]", "{}", '{"at": "soon", "proof": "x"}', "nonsense"),
        '{"last": null, "deliveries": [7]}',
        '{"last": null, "deliveries": [["2026-11-22", "woken"]]}',
        '{"last": null, "deliveries": [["2026-11-22T12:00:00+00:00", "woken", "t", "k", "more"]]}',
    ],
)
def test_a_variable_that_a_person_has_changed_is_ignored(text: str | None) -> None:
    assert parsed(text) == Callbacks()


def test_what_two_processes_know_is_one_list_whoever_writes_first() -> None:
    one = Callbacks(LastCallback("token", AT), (came(3), came(1)))
    other = Callbacks(LastCallback("signature", AT + timedelta(seconds=9)), (came(2), came(1)))
    joined = one.joined(other.last, other.deliveries)
    assert joined == other.joined(one.last, one.deliveries) == joined.joined(other.last, other.deliveries)
    assert joined.last == other.last and joined.deliveries == (came(3), came(2), came(1))


def test_a_flood_of_forgeries_pushes_out_no_callback_of_kies() -> None:
    flood = [came(1000 + number, "refused", "") for number in range(500)]
    kept = Callbacks(None, tuple(came(number) for number in range(KEPT))).joined(None, flood).deliveries
    assert [one.outcome for one in kept].count("refused") == KEPT_REFUSED
    assert [one.outcome for one in kept].count("woken") == KEPT


def test_a_callback_that_comes_again_is_a_duplicate_unless_the_first_one_got_a_500() -> None:
    known = [came(4, "song", "a"), came(3, "not_stored", "a"), came(2, kind="x"), came(1, kind="y"), came(0, kind="y")]
    assert [one.verdict.value for one in judged(known)] == ["accepted", "failed", "accepted", "duplicate", "accepted"]
    assert judged([came(0, "of a later version")])[0].verdict is Verdict.ACCEPTED


def test_every_outcome_that_is_counted_has_a_verdict_unless_it_was_turned_away() -> None:
    counted = set(receiver.metrics.CALLBACKS.meaning.split("`")[1::2])
    assert counted - set(OUTCOMES) == {"rate_limited", "bad_body"}
    assert set(OUTCOMES) - counted == {"test"}
