"""How a callback proves that it comes from KIE: by its signature or, for accounts that do not sign, by a token.

An account signs once its webhook HMAC key is turned on (kie.ai/settings). For one that does not, its owner may put a
secret of their own into the connection. The callback URLs carry tokens derived from it: one for each of our tasks,
which proves only that task, and one for the songs of other programs. As soon as the connection has a webhook secret, a
token alone proves nothing any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from itsdangerous import Signer

from airflow_kie.client.callbacks.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, SignatureRefused, verify
from airflow_kie.client.callbacks.url import SIGNER, Waiting, read_wake_token

SHORTEST_TOKEN_SECRET = 32
"""Characters of a `callback_token_secret`: as many as ``openssl rand -hex 16`` gives, which is 128 bits."""


class TokenSecretTooShort(ValueError):
    """A `callback_token_secret` that could be guessed; the message says what to do."""


@dataclass(frozen=True)
class CallbackKeys:
    """What a connection's callbacks are checked with; empty: they are all refused.

    :param webhook: the webhook HMAC key of the account and, while it is being changed, the previous one.
    :param token: for an account without such a key: the secret behind the tokens in its callback URLs.
    """

    webhook: tuple[str, ...] = field(default=(), repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Proof:
    """A callback that is KIE's.

    :param by: ``signature`` or ``token``.
    :param waiting: the task instance that it wakes, where its URL names one.
    """

    by: str
    waiting: Waiting | None


def keys_in(extra: Mapping[str, Any], kie_conn_id: str) -> CallbackKeys:
    """Return what checks a connection's callbacks.

    :param extra: the connection's extra.
    :param kie_conn_id: its id, for the message.
    :raises TokenSecretTooShort: when callbacks would hang on a secret that can be guessed.
    """
    names = ("webhook_secret", "webhook_secret_previous")
    typed = (str(extra.get(name) or "").strip() for name in names)  # pasted secrets end in a line break
    webhook = tuple(secret for secret in typed if secret)
    token = str(extra.get("callback_token_secret") or "").strip()
    if token and len(token) < SHORTEST_TOKEN_SECRET:
        raise TokenSecretTooShort(
            f"The callback_token_secret of connection {kie_conn_id} has only {len(token)} characters and could be "
            f"guessed; it needs at least {SHORTEST_TOKEN_SECRET}. `openssl rand -hex 32` makes a good one"
        )
    return CallbackKeys(webhook, token)


def waking_secret(keys: CallbackKeys) -> str:
    """Return the secret that signs wake-up tokens; empty where no callback could be checked."""
    return keys.webhook[0] if keys.webhook else keys.token


def connection_token(token_secret: str, kie_conn_id: str) -> str:
    """Return the token for the callback URL of songs that other programs generate with this connection's account.

    :param token_secret: the connection's `callback_token_secret`; it cannot be computed back from the token.
    :param kie_conn_id: the connection; the token of one is worth nothing for another.
    """
    return _signer(token_secret).get_signature(kie_conn_id).decode("ascii")


def _signer(token_secret: str) -> Signer:
    return Signer(token_secret, salt="airflow-kie callback URL token v2", **SIGNER)


def prove(
    keys: CallbackKeys, kie_conn_id: str, task_id: str, headers: Mapping[str, str], token: str, now: float
) -> Proof:
    """Check a callback.

    :param keys: the connection's.
    :param kie_conn_id: the connection in the URL's path.
    :param task_id: the id in the body.
    :param headers: the request's, by lower-case name.
    :param token: the token in the URL's query, empty for none.
    :param now: epoch seconds.
    :raises SignatureRefused: unless it proves itself; the message says why, for the log.
    """
    if keys.webhook or not keys.token:
        verify(keys.webhook, task_id, headers.get(TIMESTAMP_HEADER), headers.get(SIGNATURE_HEADER), now)
        return Proof("signature", read_wake_token((*keys.webhook, keys.token), token))
    waiting = read_wake_token((keys.token,), token)
    if not waiting and not _signer(keys.token).verify_signature(kie_conn_id, token.encode("utf-8", "replace")):
        raise SignatureRefused("its account does not sign callbacks, and its URL has no valid token")
    return Proof("token", waiting)
