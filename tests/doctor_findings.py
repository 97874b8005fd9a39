"""What single checks of `airflow kie doctor` find, and the connections that they look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_connections import kie_connection
from airflow_kie.cli.doctor import account_findings
from airflow_kie.monitoring.checks.findings import Finding
from kie_simulator.server import SimulatorServer

SECRET = "a-webhook-secret-of-this-test-0123456789"


@dataclass(frozen=True)
class Looked:
    """What checks have found."""

    found: tuple[Finding, ...]

    def lines(self, check: str) -> list[tuple[str, str]]:
        return [(one.level.value, one.seen) for one in self.found if one.check == check]

    def line(self, check: str) -> tuple[str, str]:
        (found,) = self.lines(check)
        return found

    @property
    def levels(self) -> dict[str, str]:
        return {one.check: one.level.value for one in self.found}


def looked_at(check: Callable[..., Iterable[Finding]], *about: Any) -> Looked:
    """Return what one check finds: the whole of doctor takes a second for S3 alone."""
    return Looked(tuple(check(*about)))


def account() -> Looked:
    return Looked(tuple(account_findings("kie_default")))


def connect(monkeypatch: pytest.MonkeyPatch, kie: SimulatorServer, name: str = "kie_default", **changes: Any) -> None:
    extra = {"rate_limit": 1000} | changes.pop("extra", {})
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", kie_connection(kie, extra=extra, **changes))


def called_back(monkeypatch: pytest.MonkeyPatch, kie: SimulatorServer, url: str, **extra: str) -> None:
    """Set callbacks up as a person does."""
    connect(monkeypatch, kie, extra={"callback_url": url, "webhook_secret": SECRET} | extra)
    monkeypatch.setenv("AIRFLOW__KIE__RECEIVER", "True")
