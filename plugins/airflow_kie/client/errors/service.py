"""Errors of KIE as a whole, and of the way to it."""

from __future__ import annotations

from airflow_kie.client.errors.base import KieError, Remedy, Scope


class KieMaintenance(KieError, reason="maintenance", scope=Scope.SERVICE, remedy=Remedy.RETRY):
    """KIE is under maintenance (455)."""

    what = "KIE is under maintenance"
    todo = "Nothing: it ends by itself."


class KieServerError(KieError, reason="server_error", scope=Scope.SERVICE, remedy=Remedy.RETRY):
    """KIE or a gateway before it answered with an error of its own (5xx, an HTML page)."""

    what = "KIE answered with a server error"
    todo = "If it goes on for longer than an hour, check kie.ai/logs and ask support@kie.ai."


class KieUnreachable(KieError, reason="unreachable", scope=Scope.SERVICE, remedy=Remedy.RETRY):
    """No answer came: name resolution, connection, TLS, or a timeout."""

    what = "KIE could not be reached"
    todo = "Check this machine's network, its proxy settings and the host in the connection."


class KieNotSent(KieUnreachable, reason="not_sent"):
    """No connection was made: the request certainly never reached KIE."""

    paid = "Nothing was sent, so nothing was paid for by this."


class KieLimiterUnavailable(KieError, reason="limiter_unavailable", scope=Scope.SERVICE, remedy=Remedy.RETRY):
    """The store that counts the account's creates cannot be used, and its caps allow none that is not counted."""

    what = "The store that counts this account's new tasks cannot be used"
    todo = "Start or free the store, or name another one in the connection; a file needs a folder that can be written."
    paid = "Nothing was sent, so nothing was paid for by this."


class KieBadAnswer(KieError, reason="bad_answer", scope=Scope.SERVICE, remedy=Remedy.RETRY):
    """An answer that is not a KIE envelope: not JSON, no code, fields missing."""

    what = "KIE's answer could not be understood"
    todo = "Check the host in the connection; report the answer if the host is right."
