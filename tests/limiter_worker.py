"""A process that creates music tasks as fast as its limiter allows; the limiter's tests and benchmark start several.

    python limiter_worker.py '{"url": …, "api_key": …, "store": …, "account": …, "tasks": 25, …}'

It prints ``ready``, waits for a line, creates `tasks` tasks (or as many as it can in `until` seconds), and prints one
JSON line: a list of [wall time just before sending, seconds from the limiter's last asking to KIE's answer, KIE's code,
task id].
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from airflow_kie.client.rate_limiter.limiter import FREE, Cost, CreateLimiter, Permit

CREATE = json.dumps(
    {
        "prompt": "rain on a tin roof",
        "customMode": False,
        "instrumental": False,
        "model": "V5",
        "callBackUrl": "https://callback.invalid/kie",
    }
)


class TimedLimiter(CreateLimiter):
    """A limiter that notes when it was last asked: a permit is never older than that."""

    asked = 0.0

    def take(self, cost: Cost = FREE) -> Permit:
        """Note the time and take a permit."""
        self.asked = time.monotonic()
        return super().take(cost)


def main(order: dict[str, Any]) -> None:
    """Carry out an order as the module describes it."""
    limiter = TimedLimiter(order["account"], store=order["store"], **order["limits"])
    headers = {"Authorization": f"Bearer {order['api_key']}", "Content-Type": "application/json"}

    def create() -> dict[str, Any]:
        connection = http.client.HTTPConnection(urlsplit(order["url"]).netloc, timeout=60)
        try:
            connection.request("POST", "/api/v1/generate", CREATE, headers)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()

    warm_up = CreateLimiter("warm-up", store=order["store"])  # loads the libraries, which takes seconds of 8 processes
    warm_up.take()
    print("ready", flush=True)
    sys.stdin.readline()
    sent: list[tuple[float, float, int, str]] = []
    deadline = time.monotonic() + (order["until"] or 1e9)
    while len(sent) < order["tasks"] and time.monotonic() < deadline:
        if not limiter.acquire(min(60.0, max(0.0, deadline - time.monotonic()))).granted:
            break
        now = time.time()
        answer = create()
        took = time.monotonic() - limiter.asked
        sent.append((now, took, answer["code"], (answer.get("data") or {}).get("taskId", "")))
    print(json.dumps(sent))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
