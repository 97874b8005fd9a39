"""Fields of a connection as people type them: what cannot be read is an error of the connection, and never no cap."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_kie.client.account import NO_CALLBACK_URL
from airflow_kie.client.callbacks.auth import CallbackKeys, keys_in
from airflow_kie.client.errors import KieConnectionInvalid
from airflow_kie.client.operations.suno import COVER
from airflow_kie.hooks.cost import cost_of
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.tasks import Caller


def connected(monkeypatch: pytest.MonkeyPatch, extra: Any) -> KieHook:
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", json.dumps({"conn_type": "kie", "password": "key", "extra": extra}))
    return KieHook()


@pytest.mark.parametrize("extra", ['{"max_credits_per_day": 5,}', "[5]", '"text"', "max_credits_per_day=5"])
def test_an_extra_that_is_no_json_object_is_an_error_since_its_caps_are_not_known(
    monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    hook = connected(monkeypatch, extra)
    for read in (lambda: hook.caps, lambda: hook.account, hook.limiter):
        with pytest.raises(KieConnectionInvalid, match="The extra of connection kie_default is not a JSON object"):
            read()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_credit_per_day", "max_credits_per_day"),
        ("Max_Credits_Per_Run", "max_credits_per_run"),
        ("max_credits_per_week", "max_credits_per_.*"),
    ],
)
def test_a_cap_whose_name_is_misspelled_is_an_error_since_it_would_be_none(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    hook = connected(monkeypatch, {name: 5})
    with pytest.raises(KieConnectionInvalid, match=f"has an unknown field '{name}'; perhaps {meant} is meant"):
        _ = hook.caps
    assert connected(monkeypatch, {"owner": "music", "notes": "of the label"}).caps.day is None


@pytest.mark.parametrize("extra", ["", "{}", " { } ", "null", None])
def test_a_connection_needs_no_extra(monkeypatch: pytest.MonkeyPatch, extra: str | None) -> None:
    hook = connected(monkeypatch, extra)
    assert (hook.account.callback_url, hook.caps.day) == (NO_CALLBACK_URL, None)


def test_a_limiters_connection_that_does_not_exist_is_an_error_of_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = connected(monkeypatch, {"limiter_conn_id": "kie_limiter"})
    for read in (hook.limiter, hook.ledger_database):
        with pytest.raises(KieConnectionInvalid, match="limiter_conn_id of connection kie_default names kie_limiter"):
            read()


@pytest.mark.parametrize(
    "ask", [lambda hook: hook.limiter(), lambda hook: hook.caps, lambda hook: cost_of(hook, COVER, {}, Caller())]
)
def test_a_connection_is_read_once_for_a_limiter_and_once_for_a_cost(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[KieHook], Any]
) -> None:
    hook, read = connected(monkeypatch, {"max_credits_per_day": 5}), []  # in a task each asks the api-server
    get = KieHook.get_connection
    _ = hook.account
    monkeypatch.setattr(KieHook, "get_connection", staticmethod(lambda conn_id: read.append(conn_id) or get(conn_id)))
    ask(hook)
    assert read == ["kie_default"]


def test_blanks_name_no_limiters_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connected(monkeypatch, {"limiter_conn_id": "  "}).limiter().store.local


def test_a_webhook_secret_is_taken_without_the_blanks_and_line_break_around_it() -> None:
    pasted = {"webhook_secret": " new\n", "webhook_secret_previous": "\told"}
    assert keys_in(pasted, "kie_a") == CallbackKeys(("new", "old"))


def test_blanks_are_no_webhook_secret_that_anybody_could_guess() -> None:
    assert keys_in({"webhook_secret": " ", "webhook_secret_previous": "\n"}, "kie_a") == CallbackKeys()


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        (" https://airflow.example.com \n", "https://airflow.example.com/kie/callback/kie_default"),
        ("airflow.example.com", "https://airflow.example.com/kie/callback/kie_default"),
        ("airflow.example.com:8443/", "https://airflow.example.com:8443/kie/callback/kie_default"),
        ("https://hooks.example.com/kie ", "https://hooks.example.com/kie"),
    ],
)
def test_a_callback_url_is_an_address_also_where_it_was_typed_with_blanks_or_as_a_bare_name(
    monkeypatch: pytest.MonkeyPatch, typed: str, address: str
) -> None:
    assert connected(monkeypatch, {"callback_url": typed}).account.callback_url == address
