"""Errors of KIE as a whole, and of the way to it."""

from __future__ import annotations

from airflow_kie.client.errors.base import (
    KieError,
    Remedy,
    Scope,
)


class KieMaintenance(KieError):
    """KIE is under maintenance (455)."""

    reason = "maintenance"
    scope = Scope.SERVICE
    remedy = Remedy.RETRY
    what = "KIE is under maintenance"
    todo = "Nothing: it ends by itself."


class KieServerError(KieError):
    """KIE or a gateway before it answered with an error of its own (5xx, an HTML page)."""

    reason = "server_error"
    scope = Scope.SERVICE
    remedy = Remedy.RETRY
    what = "KIE answered with a server error"
    todo = "If it goes on for longer than an hour, look at kie.ai/logs and ask support@kie.ai."


class KieUnreachable(KieError):
    """No answer came: name resolution, connection, TLS, or a timeout."""

    reason = "unreachable"
    scope = Scope.SERVICE
    remedy = Remedy.RETRY
    what = "KIE could not be reached"
    todo = "Check this machine's network, its proxy settings and the host in the connection."


class KieNotSent(KieUnreachable):
    """No connection came about: the request certainly never reached KIE."""

    reason = "not_sent"
    paid = "Nothing was sent, so nothing was paid for by this."


class KieLimiterUnavailable(KieError):
    """The store in which the account's creates are counted cannot be used, so nothing may be sent."""

    reason = "limiter_unavailable"
    scope = Scope.SERVICE
    remedy = Remedy.RETRY
    what = "The store that counts this account's new tasks cannot be used"
    todo = "Start or free the store, or name another one in the connection; a file needs a folder that can be written."
    paid = "Nothing was sent, so nothing was paid for by this."


class KieBadAnswer(KieError):
    """An answer that is no KIE envelope: no JSON, no code, fields missing."""

    reason = "bad_answer"
    scope = Scope.SERVICE
    remedy = Remedy.RETRY
    what = "KIE's answer could not be understood"
    todo = "Check the host in the connection; report the answer if the host is right."
