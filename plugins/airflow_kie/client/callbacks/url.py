"""The callback URL: where KIE calls back, and, signed, whom that shall wake.

A wake-up token names one task instance and proves nothing but that we made it for this one; it is no secret of the
account. It stands in a query parameter whose name Airflow's access log blots out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass, field
from urllib.parse import quote, urlsplit

ROUTE = "/kie/callback"
_PURPOSE = b"airflow-kie wake-up token v1"


@dataclass(frozen=True)
class Waiting:
    """The task instance that waits for a KIE task.

    :param dag_id: its DAG.
    :param run_id: its run.
    :param task_id: its Airflow task id.
    :param map_index: its map index, -1 for none.
    :param nonce: of the ledger's intent, unguessable.
    :param request: the request in the ledger: ``<operation>/<digest>/<attempt>``.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    nonce: str = field(repr=False)
    request: str = ""


def receiver_url(public_url: str, kie_conn_id: str) -> str:
    """Return the URL of the receiver for one connection.

    :param public_url: where KIE can reach this Airflow, such as ``https://airflow.example.com``. With a path it is
        taken as it is: somebody's own receiver, or ours below another path.
    :param kie_conn_id: the connection whose secret checks the callbacks.
    """
    if urlsplit(public_url).path.strip("/"):
        return public_url
    return f"{public_url.rstrip('/')}{ROUTE}/{quote(kie_conn_id, safe='')}"


def wake_token(secret: str, waiting: Waiting) -> str:
    """Return the token that names a waiting task instance, signed with the account's webhook secret."""
    body = json.dumps(asdict(waiting), separators=(",", ":")).encode()
    return f"{_text(body)}.{_text(_seal(secret, body))}"


def read_wake_token(secrets: tuple[str, ...], token: str) -> Waiting | None:
    """Return whom a token names, or None if it is not ours.

    :param secrets: the current secret and, while it is being changed, the previous one.
    :param token: the query parameter.
    """
    body_text, _, seal_text = token.partition(".")
    try:
        body, seal = _bytes(body_text), _bytes(seal_text)
    except (ValueError, binascii.Error):
        return None
    fits = [hmac.compare_digest(_seal(secret, body), seal) for secret in secrets]  # all of them: time tells nothing
    if not any(fits):
        return None
    try:
        return Waiting(**json.loads(body))
    except (TypeError, ValueError):
        return None


def _seal(secret: str, body: bytes) -> bytes:
    key = hmac.new(secret.encode(), _PURPOSE, hashlib.sha256).digest()
    return hmac.new(key, body, hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
