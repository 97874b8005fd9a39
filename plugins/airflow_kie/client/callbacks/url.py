"""The callback URL: where KIE calls back, and, signed, which task instance that wakes.

A wake-up token names one task instance and proves only that we made it for this one; it holds no secret of the account.
It is in a query parameter whose name Airflow's access log masks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from itsdangerous import BadData, URLSafeSerializer

ROUTE = "/kie/callback"
SIGNER: dict[str, Any] = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
"""How our tokens are signed: each purpose with a key of its own, derived from secret and salt."""


@dataclass(frozen=True)
class Waiting:
    """The task instance that waits for a KIE task.

    :param dag_id: its DAG.
    :param run_id: its run.
    :param task_id: its Airflow task id.
    :param map_index: its map index, -1 for none.
    :param nonce: of the ledger's intent, unguessable.
    :param request: the request in the ledger: ``<store>/<operation>/<digest>/<attempt>``.
    :param wakes: False: it waits for many tasks, and its trigger finds their ends; only the id is recorded.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    nonce: str = field(repr=False)
    request: str = ""
    wakes: bool = True


def receiver_url(public_url: str, kie_conn_id: str) -> str:
    """Return the URL of the receiver for one connection.

    :param public_url: where KIE can reach this Airflow, such as ``https://airflow.example.com``; a bare name is one of
        https. With a path it is taken as it is: somebody's own receiver, or ours below another path.
    :param kie_conn_id: the connection whose secret checks the callbacks.
    """
    public_url = public_url.strip()
    if "://" not in public_url:
        public_url = f"https://{public_url}"
    if urlsplit(public_url).path.strip("/"):
        return public_url
    return f"{public_url.rstrip('/')}{ROUTE}/{quote(kie_conn_id, safe='')}"


def wake_token(secret: str, waiting: Waiting) -> str:
    """Return the token that names a waiting task instance, signed with the account's webhook secret."""
    return str(_serializer([secret]).dumps(astuple(waiting)))


def read_wake_token(secrets: Iterable[str], token: str) -> Waiting | None:
    """Return the task instance that a token names, or None if we did not make it.

    :param secrets: the current secret and, while it is being changed, the previous one; empty ones sign nothing.
    :param token: the query parameter.
    """
    keys = [secret for secret in secrets if secret]
    try:
        return Waiting(*_serializer(keys).loads(token)) if keys else None
    except (BadData, TypeError, ValueError):
        return None


def _serializer(secrets: list[str]) -> URLSafeSerializer:
    return URLSafeSerializer(secrets, salt="airflow-kie wake-up token v2", signer_kwargs=SIGNER)
