"""The `[kie]` section of Airflow's configuration."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from airflow.sdk import conf

from airflow_kie.lifecycle.rules import Rules

SECTION = "kie"


def text(option: str, fallback: str = "") -> str:
    """Return a text option; empty when it is not set."""
    return str(conf.get(SECTION, option, fallback=fallback) or "").strip()


def flag(option: str, fallback: bool = False) -> bool:
    """Return a yes-or-no option; the fallback where it is empty, as variables of an `.env` file often are."""
    return bool(conf.getboolean(SECTION, option, fallback=fallback)) if text(option) else fallback


def names(option: str, fallback: str = "") -> tuple[str, ...]:
    """Return the names of an option that lists them with commas."""
    return tuple(name.strip() for name in text(option, fallback).split(",") if name.strip())


def number(option: str, fallback: float) -> float:
    """Return a number option; the fallback where it is empty."""
    return float(conf.getfloat(SECTION, option, fallback=fallback)) if text(option) else fallback


def deferrable_by_default() -> bool:
    """Return what Airflow's own `[operators] default_deferrable` says."""
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def rules(interval: float | None = None, api: str = "") -> Rules:
    """Return how doubtful answers are decided here.

    :param interval: seconds between reads, where the user has set one.
    :param api: the one API variant in which the account is asked, where the connection names one.
    """
    return Rules(
        agree_after=number("confirm_failure_seconds", 30.0),
        interval=interval,
        api=api,
        connections=allowed_connections(),
    )


def inbox_interval() -> timedelta:
    """Return how often DAG cover_inbox runs."""
    return timedelta(minutes=number("inbox_every_minutes", 5))


def allowed_connections() -> tuple[str, ...]:
    """Return the connection ids that an event, an inbox file or a form may name; `kie_default` if none is set."""
    return names("kie_conn_ids") or ("kie_default",)


def connection_errors(conn_ids: Iterable[str]) -> list[str]:
    """Return a sentence for each connection that is not allowed, to report it before anything is paid.

    :param conn_ids: those that an event, a form, an inbox object or a pending record names.
    """
    allowed = allowed_connections()
    return [
        f"The connection {name[:80]!r} is not one of `kie_conn_ids` in the [kie] configuration ({', '.join(allowed)})."
        for name in sorted(set(conn_ids) - set(allowed))
    ]
