"""What proves a callback of an account that does not sign, and when such proof counts for nothing."""

from __future__ import annotations

import json

import pytest

from airflow_kie.client.callbacks.auth import (
    SHORTEST_TOKEN_SECRET,
    CallbackKeys,
    TokenSecretTooShort,
    connection_token,
    keys_in,
    waking_secret,
)
from airflow_kie.client.errors import KieConnectionInvalid
from airflow_kie.hooks.kie import KieHook
from airflow_kie.web.receiver.connections import Connections, ConnectionUnreadable

LONG = "x" * SHORTEST_TOKEN_SECRET


def test_a_secret_that_can_be_guessed_is_refused_with_what_to_do() -> None:
    with pytest.raises(TokenSecretTooShort, match=r"kie_a has only 31 characters .* at least 32.*openssl rand -hex 32"):
        keys_in({"callback_token_secret": LONG[1:]}, "kie_a")
    assert keys_in({"callback_token_secret": LONG}, "kie_a") == CallbackKeys(token=LONG)


def test_nothing_that_is_empty_becomes_a_key() -> None:
    extra = {"webhook_secret": "", "webhook_secret_previous": None, "callback_token_secret": "  "}
    assert keys_in(extra, "kie_a") == CallbackKeys()
    assert waking_secret(CallbackKeys()) == ""


def test_the_webhook_secret_signs_wake_ups_where_there_is_one() -> None:
    assert waking_secret(CallbackKeys(("new", "old"), LONG)) == "new"
    assert waking_secret(CallbackKeys((), LONG)) == LONG


def test_a_connections_token_is_its_own_and_does_not_hold_the_secret() -> None:
    token = connection_token(LONG, "kie_a")
    assert LONG not in token
    assert len(token) == 43  # 256 bits
    assert token not in (connection_token(LONG, "kie_b"), connection_token(LONG + "x", "kie_a"))


def test_keys_do_not_show_in_a_representation() -> None:
    assert "secret" not in repr(CallbackKeys(("a secret",), "another secret"))


def test_a_short_secret_stops_a_task_before_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "kie", "password": "key", "extra": {"callback_token_secret": "short"}}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", json.dumps(connection))
    with pytest.raises(KieConnectionInvalid, match="could be guessed"):
        KieHook().account  # noqa: B018


def test_tasks_of_an_account_that_does_not_sign_expect_callbacks_once_its_owner_has_opted_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extra = {"callback_url": "https://airflow.example.com"}
    for secret, expected in (("", False), (LONG, True)):
        connection = {"conn_type": "kie", "password": "key", "extra": {**extra, "callback_token_secret": secret}}
        monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", json.dumps(connection))
        assert KieHook().account.calls_back is expected


def test_keys_are_looked_up_once_a_minute_and_only_for_configured_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    connections = Connections(clock=lambda: now[0])

    def configure(secret: str) -> None:
        connection = json.dumps({"conn_type": "kie", "extra": {"webhook_secret": secret}})
        monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", connection)
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", connection)

    configure("first")
    assert connections.keys_of("kie_default").webhook == ("first",)
    configure("second")
    now[0] = 59.0
    assert connections.keys_of("kie_default").webhook == ("first",)
    now[0] = 60.0
    assert connections.keys_of("kie_default").webhook == ("second",)
    assert connections.keys_of("other") == CallbackKeys()


def test_a_connection_that_cannot_be_read_for_a_moment_is_read_again_soon_and_not_by_each_callback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    connections = Connections(clock=lambda: now[0])
    for _ in range(5):  # Airflow says the same where a secrets backend or the database is away
        with pytest.raises(ConnectionUnreadable):
            connections.keys_of("kie_default")
    assert caplog.text.count("Connection kie_default does not exist, or cannot be read now; until it can") == 1
    connection = json.dumps({"conn_type": "kie", "extra": {"webhook_secret": "a secret"}})
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", connection)
    now[0] = 5.0
    assert connections.keys_of("kie_default").webhook == ("a secret",)


def test_a_connection_that_holds_a_short_secret_lets_nobody_in(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_short")
    monkeypatch.setenv(
        "AIRFLOW_CONN_KIE_SHORT", json.dumps({"conn_type": "kie", "extra": {"callback_token_secret": "guess me"}})
    )
    connections = Connections()
    assert connections.keys_of("kie_short") == CallbackKeys()
    assert "all its callbacks are refused" in caplog.text
    assert "guess me" not in caplog.text
