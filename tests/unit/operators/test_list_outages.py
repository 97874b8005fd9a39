"""A list whose results cannot be written for a while: what is on its way at that moment goes its way."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import ExitStack
from typing import Any

import pytest

from airflow_connections import kie_connection
from airflow_kie.archive.s3.errors import S3AccessDenied
from airflow_kie.client.rate_limiter.limiter import DAY_MS, CreateLimiter
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.lists import archive as list_archive
from airflow_kie.operators.task import KieTaskOperator
from airflow_task import StoredFiles, TaskInstance, TaskRun
from kie_simulator.server import SimulatorServer
from paid_requests import InBucket, at_point, become_old


@pytest.mark.parametrize("held", ["permit", "claim"])
def test_a_request_that_is_on_its_way_while_the_rows_cannot_be_written_goes_it(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    """Else it would be in doubt although nothing was sent, or its permit counted against the cap."""
    kie.control.set(task_seconds=0)
    extra = {"rate_limit": 1000, "max_credits_per_day": 1000}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra=extra))
    bodies = [{"model": "z-image", "input": {"aspect_ratio": "1:1", "prompt": text}} for text in ("rain", "snow")]
    options: dict[str, Any] = {"requests": bodies, "to": f"s3://{archive.bucket}/media", "poll_interval": 0.05}
    run = TaskRun(
        lambda: KieTaskOperator(task_id="make", operation="market", deferrable=False, **options),
        ti=TaskInstance(dag_id="pictures", map_index=-1),
    )
    refused, numbers, acquire = threading.Event(), itertools.count(), CreateLimiter.acquire

    def second_waits(*arguments: Any) -> Any:
        if next(numbers) == 1:
            refused.wait(60)
            time.sleep(0.3)
        return acquire(*arguments) if arguments else None

    def refuse(_: Any) -> None:
        refused.set()
        raise S3AccessDenied("PutObject")

    with monkeypatch.context() as patched, ExitStack() as stack:
        if held == "permit":
            patched.setattr(CreateLimiter, "acquire", second_waits)
        else:
            stack.enter_context(at_point("after intent", second_waits))
        patched.setattr(list_archive, "ROWS", 1)
        patched.setattr(list_archive.ListArchive, "flush", refuse)
        with pytest.raises(S3AccessDenied):
            run.attempt()
    become_old(InBucket(archive))
    assert run.retried().attempt()["counts"]["archived"] == 2
    charged = sum(charge["credits"] for charge in kie.control.ledger("jobs"))
    assert KieHook().limiter().spent(DAY_MS) == pytest.approx(charged) == pytest.approx(1.6)
