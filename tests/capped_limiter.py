"""A limiter whose creates cost one credit each: what a cap of so many credits allows can be counted."""

from __future__ import annotations

from typing import Any

from airflow_kie.client.rate_limiter import limiter
from airflow_kie.client.rate_limiter.limiter import Caps, Cost, Permit

ONE = Cost(1.0, "run 1")


class CreateLimiter(limiter.CreateLimiter):
    """:param per_day: credits in 24 hours."""

    def __init__(self, account: str, *, per_day: float | None = None, **settings: Any) -> None:
        super().__init__(account, caps=settings.pop("caps", Caps(day=per_day)), **settings)

    def take(self, cost: Cost = ONE) -> Permit:
        return super().take(cost)

    def acquire(self, max_wait: float, cost: Cost = ONE) -> Permit:
        return super().acquire(max_wait, cost)
