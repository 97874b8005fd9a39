"""KIE's signature and our wake-up tokens.

The signature vectors were computed with OpenSSL, not with the code under test:
``printf '%s' '<task id>.<timestamp>' | openssl dgst -sha256 -hmac '<secret>' -binary | base64``.
"""

from __future__ import annotations

import base64
import json

import pytest

from airflow_kie.client.callbacks.signature import NEWEST, OLDEST, SignatureRefused, sign, task_id_in, verify
from airflow_kie.client.callbacks.url import Waiting, read_wake_token, receiver_url, wake_token

VECTORS = [
    (
        "kie-test-secret",
        "ee9c2715375b7837f8bb51d641ff5863",
        "1769670760",
        "xWThqhBMJgcVO+NG1Ld17FXyJIO4weW21tFHuc4VTvA=",
    ),
    (
        "zweiter schlüssel",
        "21aee3c3c2a01fa5e030b3799fa4dd56",
        "1795340000",
        "bu+wZy95HLOO7KAAWvaQBQfASHLTMVCCr7L7SKEzEpM=",
    ),
]
KIE_SAMPLE = "KxDlpbbq0GDOKqm0+FuJpJWTzY8baHSjhEt4kwElqQI="
"""The sample in KIE's own documentation; its key is not published, so it tells the format alone."""
SECRET, TASK, AT, SIGNATURE = VECTORS[0]


@pytest.mark.parametrize(("secret", "task_id", "timestamp", "signature"), VECTORS)
def test_a_signature_that_openssl_made_is_accepted(secret: str, task_id: str, timestamp: str, signature: str) -> None:
    verify((secret,), task_id, timestamp, signature, now=float(timestamp))
    assert sign(secret, task_id, timestamp) == signature


def test_a_signature_has_the_format_of_kies_sample() -> None:
    assert len(sign(SECRET, TASK, AT)) == len(KIE_SAMPLE)
    assert len(base64.b64decode(KIE_SAMPLE, validate=True)) == 32


def test_while_the_secret_is_changed_the_old_and_the_new_one_are_accepted() -> None:
    verify(("new", SECRET), TASK, AT, SIGNATURE, now=float(AT))
    verify((SECRET, "new"), TASK, AT, SIGNATURE, now=float(AT))


@pytest.mark.parametrize(
    ("secrets", "timestamp", "signature", "said"),
    [
        ((), AT, SIGNATURE, "no webhook secret"),
        ((SECRET,), None, SIGNATURE, "not signed"),
        ((SECRET,), AT, None, "not signed"),
        ((SECRET,), AT, "", "not signed"),
        (("other",), AT, SIGNATURE, "is wrong"),
        ((SECRET,), AT, SIGNATURE.lower(), "is wrong"),
        ((SECRET,), AT, base64.b64decode(SIGNATURE).hex(), "is wrong"),
        ((SECRET,), AT, "schlüssel", "is wrong"),
        ((SECRET,), "soon", SIGNATURE, "not a number"),
        ((SECRET,), "²", SIGNATURE, "not a number"),
        ((SECRET,), "-1", SIGNATURE, "not a number"),
        ((SECRET,), "9" * 400, SIGNATURE, "not a number"),
    ],
)
def test_what_is_not_kies_is_refused(
    secrets: tuple[str, ...], timestamp: str | None, signature: str | None, said: str
) -> None:
    with pytest.raises(SignatureRefused, match=said):
        verify(secrets, TASK, timestamp, signature, now=float(AT))


def test_the_signature_of_one_task_does_not_fit_another() -> None:
    with pytest.raises(SignatureRefused, match="is wrong"):
        verify((SECRET,), VECTORS[1][1], AT, SIGNATURE, now=float(AT))


@pytest.mark.parametrize("age", [OLDEST + 1, -NEWEST - 1])
def test_a_call_from_another_time_is_refused(age: float) -> None:
    with pytest.raises(SignatureRefused, match="too old, or from the future"):
        verify((SECRET,), TASK, AT, SIGNATURE, now=float(AT) + age)


@pytest.mark.parametrize("age", [OLDEST - 1, -NEWEST + 1])
def test_a_call_within_the_window_is_accepted(age: float) -> None:
    verify((SECRET,), TASK, AT, SIGNATURE, now=float(AT) + age)


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"task_id": "t1"}},
        {"data": {"taskId": "t1"}},
        {"taskId": "t1", "data": None},
        {"task_id": "t1"},
        {"taskId": "another", "data": {"task_id": "t1"}},
    ],
)
def test_the_task_is_found_in_every_spelling_that_kie_uses(body: dict[str, object]) -> None:
    assert task_id_in(json.dumps(body).encode())[0] == "t1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b'"t1"',
        b"{}",
        b'{"taskId": 7}',
        b'{"taskId": ""}',
        b"\xff",
        b"[" * 100_000,
        json.dumps({"taskId": "x" * 129}).encode(),
    ],
)
def test_a_body_that_names_no_task_is_refused(body: bytes) -> None:
    with pytest.raises(SignatureRefused):
        task_id_in(body)


WAITING = Waiting("music_cover", "manual__2026-11-22", "generate_cover", 3, "nonce")


def test_a_wake_up_token_names_the_task_instance_that_we_signed() -> None:
    assert read_wake_token((SECRET,), wake_token(SECRET, WAITING)) == WAITING
    assert read_wake_token(("new", SECRET), wake_token(SECRET, WAITING)) == WAITING


@pytest.mark.parametrize("token", ["", ".", "a.b", "ü.ü", "====.====", "bm9uY2U"])
def test_what_is_not_a_token_names_nobody(token: str) -> None:
    assert read_wake_token((SECRET,), token) is None


def test_a_token_that_was_changed_or_signed_by_another_names_nobody() -> None:
    token = wake_token(SECRET, WAITING)
    body, _, seal = token.rpartition(".")
    other = wake_token(SECRET, Waiting("another_dag", "r", "t", -1, "nonce")).rpartition(".")[0]
    assert read_wake_token((SECRET,), f"{other}.{seal}") is None
    assert read_wake_token((SECRET,), f"{body}.{seal[:-4]}AAAA") is None
    assert read_wake_token(("",), wake_token("", WAITING)) is None
    assert read_wake_token(("other",), token) is None
    assert read_wake_token((), token) is None


def test_a_callback_signature_is_not_a_wake_up_token_and_neither_holds_the_secret() -> None:
    token = wake_token(SECRET, WAITING)
    assert SECRET not in token
    assert sign(SECRET, TASK, AT) not in token


@pytest.mark.parametrize(
    ("public", "url"),
    [
        ("https://airflow.example.com", "https://airflow.example.com/kie/callback/kie_default"),
        ("https://airflow.example.com/", "https://airflow.example.com/kie/callback/kie_default"),
        ("https://example.com/airflow/kie/callback/kie_default",) * 2,
        ("https://example.com/my/own/receiver?x=1",) * 2,
    ],
)
def test_the_receivers_address_follows_the_public_url(public: str, url: str) -> None:
    assert receiver_url(public, "kie_default") == url
