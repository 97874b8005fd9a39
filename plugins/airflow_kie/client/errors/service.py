"""Errors of KIE as a whole, and of the way to it."""

from __future__ import annotations

from airflow_kie.client.errors.base import KieError, Remedy, Scope


class KieMaintenance(KieError, reason="maintenance", scope=Scope.SERVICE, remedy=Remedy.RETRY):
    """KIE is under maintenance (455)."""

    what = "KIE is under maintenance"
    todo = "Nothing: it continues automatically when the maintenance ends."


class KieServerError(KieError, reason="server_error", scope=Scope.SERVICE, remedy=Remedy.RETRY):
    """KIE, or a gateway in front of it, answered with an error (5xx, an HTML page)."""

    what = "KIE answered with a server error"
    todo = "If it persists for more than an hour, check kie.ai/logs and ask support@kie.ai."


class KieUnreachable(KieError, reason="unreachable", scope=Scope.SERVICE, remedy=Remedy.RETRY):
    """No answer arrived: name resolution, connection, TLS, or a timeout."""

    what = "KIE could not be reached"
    todo = "Check this machine's network, its proxy settings and the host in the connection."


class KieNotSent(KieUnreachable, reason="not_sent"):
    """No connection was established, so the request never reached KIE."""

    paid = "Nothing was sent, so nothing was paid for this."


class KieLimiterUnavailable(KieError, reason="limiter_unavailable", scope=Scope.SERVICE, remedy=Remedy.RETRY):
    """The store that counts the account's creates cannot be used, and under a cap nothing is sent uncounted."""

    what = "The store that counts this account's new tasks cannot be used"
    todo = "Start or unlock the store, or set another one in the connection. A file needs a writable folder."
    paid = "Nothing was sent, so nothing was paid for this."


class KieBadAnswer(KieError, reason="bad_answer", scope=Scope.SERVICE, remedy=Remedy.RETRY):
    """The answer is not in KIE's format: not JSON, no code, or fields missing."""

    what = "KIE's answer could not be understood"
    todo = "Check the host in the connection; if it is right, report the answer."
