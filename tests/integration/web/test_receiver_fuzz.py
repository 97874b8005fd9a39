"""The receiver under 1,500 requests that are not KIE's; `benchmarks/receiver_fuzz.py` sends many more, new ones."""

from __future__ import annotations

import logging

import pytest

from asgi_server import serving
from webhook_fuzz import KEYS, Target, fuzz_app, fuzz_description, fuzz_server


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("airflow_kie", "uvicorn"):  # a thousand refusals are written down otherwise
        caplog.set_level(logging.CRITICAL, logger=name)


@pytest.mark.parametrize("keys", KEYS)
def test_no_request_without_proof_changes_anything_or_ends_in_a_server_error(keys: str) -> None:
    target = Target(KEYS[keys])
    fuzz_app(target, 350, same=True)
    assert sum(target.seen.values()) == 350
    assert {401, 404, 405, 413} <= set(target.seen)


def test_raw_bytes_to_a_real_server_change_nothing_and_end_in_no_server_error() -> None:
    target = Target(KEYS["signed"])
    with serving(target.app) as port:
        fuzz_server(target, port, 400, same=True)
    assert {400, 401} <= set(target.seen)


def test_calls_made_of_the_routes_description_change_nothing_without_a_signature() -> None:
    target = Target(KEYS["signed"])
    with serving(target.app) as port:
        fuzz_description(target, port, 50, same=True)
    assert 401 in target.seen
