"""KIE's callback signature (page *Webhook Verification*)."""

from __future__ import annotations

import base64
import hashlib
import hmac


def signature(key: str, task_id: str, timestamp: int) -> str:
    """Return the Base64 HMAC-SHA256 over ``<task id>.<timestamp>``; the body is not covered.

    :param timestamp: unix time in seconds.
    """
    digest = hmac.new(key.encode(), f"{task_id}.{timestamp}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()
