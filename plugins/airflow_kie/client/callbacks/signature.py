"""KIE's callback signature (docs.kie.ai common-api/webhook-verification).

KIE signs the task's id and the time, not the body: who saw one signed call can send another body with it. So a
verified callback proves only that something happened to this task; what happened is read from the details.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_kie.client.operations.json_path import value_at
from airflow_kie.client.task_ids import is_task_id
from airflow_kie.client.untrusted import without_echo

SIGNATURE_HEADER = "x-webhook-signature"
TIMESTAMP_HEADER = "x-webhook-timestamp"

OLDEST = 3600.0
"""Seconds that a callback may be old. KIE names no window and does not say whether a retry is signed again; nothing is
done twice for a callback that comes twice, so the window can be wide."""
NEWEST = 300.0
"""Seconds that a callback may come from the future: clocks differ."""

TEST_TASK_ID = "airflow-kie-test-callback"
"""The task that our own test callbacks name; KIE has none of that name."""

PROBE_TASK_ID = "airflow-kie-doctor"
"""The task that our own unsigned call names, which a receiver has to refuse."""

ID_PATH = "data.task_id || data.taskId || taskId || task_id"
"""Where callbacks name their task: music and WAV in the first way, covers in the second, Aleph at the top."""


class SignatureRefused(Exception):
    """The callback is not KIE's, as far as can be known; the message says why, for the log, not for the sender."""


def task_id_in(body: bytes) -> tuple[str, Mapping[str, Any]]:
    """Return the task id that a callback names, and the decoded body; nothing else of it is read.

    :param body: the request's bytes.
    :raises SignatureRefused: when it names none.
    """
    try:
        decoded = _decoded(body)
    except (ValueError, RecursionError):
        raise SignatureRefused("the body is not JSON") from None
    found = value_at(decoded, ID_PATH)
    if not isinstance(decoded, dict) or not isinstance(found, str) or not is_task_id(found):
        raise SignatureRefused("the body names no task")
    return found, decoded


def _decoded(body: bytes) -> Any:
    """Return what a body holds, without the request that it repeats where that makes it no JSON."""
    try:
        return json.loads(body)
    except ValueError:
        return json.loads(without_echo(body))


def sign(secret: str, task_id: str, timestamp: str) -> str:
    """Return the signature: Base64 (not hex) of HMAC-SHA256 over ``taskId.timestamp``."""
    digest = hmac.new(secret.encode(), f"{task_id}.{timestamp}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode("ascii")


def verify(secrets: Sequence[str], task_id: str, timestamp: str | None, signature: str | None, now: float) -> None:
    """Check a callback's signature against every secret that is valid at the moment.

    :param secrets: the current secret and, while it is being changed, the previous one.
    :param task_id: the id in the body.
    :param timestamp: the X-Webhook-Timestamp header: seconds since the epoch.
    :param signature: the X-Webhook-Signature header.
    :param now: epoch seconds.
    :raises SignatureRefused: unless one of them fits and the time is near.
    """
    if not secrets:
        raise SignatureRefused("no webhook secret is configured")
    if not timestamp or not signature:
        raise SignatureRefused("it is not signed")
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        raise SignatureRefused("its timestamp is not a number of seconds")
    given = signature.encode("utf-8", "replace")
    # Every secret is compared, and in constant time, so that the time taken reveals nothing.
    fits = [hmac.compare_digest(sign(secret, task_id, timestamp).encode(), given) for secret in secrets]
    if not any(fits):
        raise SignatureRefused("its signature is wrong")
    if not now - OLDEST <= int(timestamp) <= now + NEWEST:
        raise SignatureRefused("it is too old, or from the future")
