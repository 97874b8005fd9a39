"""The list of the last callbacks: how often it is written, whatever comes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from airflow_kie.monitoring.callback_health import LastCallback
from airflow_kie.monitoring.deliveries import KEPT, Delivery
from airflow_kie.web.receiver import recent
from airflow_kie.web.receiver.recent import RecentCallbacks

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
Written = list[tuple[LastCallback | None, list[str]]]


def written(monkeypatch: pytest.MonkeyPatch, *rounds: list[str]) -> Written:
    """Return what is written when outcomes come in rounds, each after the writes of the one before it."""
    found: Written = []
    done = asyncio.Event()

    async def write(conn_id: str, last: LastCallback | None, deliveries: tuple[Delivery, ...]) -> None:
        found.append((last, [one.outcome for one in deliveries]))
        done.set()

    async def come() -> None:
        recent_ones = RecentCallbacks(write)
        for outcomes in rounds:
            for number, outcome in enumerate(outcomes):
                last = None if outcome == "refused" else LastCallback("signature", AT)
                recent_ones.add("kie_default", Delivery(datetime.now(UTC), outcome, str(number)), last)
            await asyncio.wait_for(done.wait(), 60)
            done.clear()

    monkeypatch.setattr(recent, "WRITE_EVERY", 0.05)
    monkeypatch.setattr(recent, "WRITE_REFUSED_EVERY", 0.05)
    asyncio.run(come())
    return found


def test_a_hundred_callbacks_are_one_write_and_the_next_hundred_another(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = written(monkeypatch, ["woken"] * 100, ["gone"] * 100)
    assert first == (LastCallback("signature", AT), ["woken"] * KEPT)
    assert second[1] == ["gone"] * KEPT


def test_what_proves_nothing_is_no_last_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(monkeypatch, ["refused"] * 3) == [(None, ["refused"] * 3)]


def test_a_callback_of_kies_does_not_wait_for_the_forgeries_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "WRITE_REFUSED_EVERY", 3600.0)

    async def come() -> None:
        done = asyncio.Event()

        async def write(*_: object) -> None:
            done.set()

        recent_ones = RecentCallbacks(write)
        recent_ones.add("kie_default", Delivery(AT, "refused"))
        recent_ones.add("kie_default", Delivery(AT, "woken", "t"), LastCallback("signature", AT))
        await asyncio.wait_for(done.wait(), 60)

    asyncio.run(come())
