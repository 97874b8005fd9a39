"""Errors of the account: key, credits, rates, caps."""

from __future__ import annotations

from airflow_kie.client.errors.base import KieError, Remedy, Scope


class KieUnauthorized(KieError, reason="unauthorized", scope=Scope.ACCOUNT):
    """KIE did not accept the API key (code 401, or HTTP 401 or 403)."""

    what = "KIE refused the API key"
    todo = (
        "Put the API key from kie.ai/api-key into the connection's API key field (not the webhook secret); "
        "if the key has an IP whitelist, add this machine. Then clear the task."
    )


class KieOutOfCredits(KieError, reason="out_of_credits", scope=Scope.ACCOUNT):
    """The balance does not cover the request (402, or the credits text under 429 or 500)."""

    what = "The KIE account has too few credits"
    todo = "Top up at kie.ai and clear the task: it continues where it stopped."


class KieKeyLimit(KieError, reason="key_limit", scope=Scope.ACCOUNT):
    """The key's own hourly, daily or total cap is used up (433)."""

    what = "This API key has reached its own usage limit at KIE"
    todo = "Raise the key's limit at kie.ai/api-key or wait until its window ends, then clear the task."


class KieRateLimited(KieError, reason="rate_limited", scope=Scope.ACCOUNT, remedy=Remedy.RETRY):
    """Too many requests in the account's window of 10 seconds (429, 430, 550); KIE rejects, it does not queue."""

    what = "KIE's rate limit was hit (20 new tasks in 10 seconds per account)"
    todo = "Nothing, unless other programs use the same account: then lower the connection's rate limit."


class KieThrottled(KieRateLimited, reason="throttled"):
    """Our own rate limiter delays this create, so that KIE does not refuse it."""

    what = "This account's other tasks are using KIE's rate limit"
    todo = "Nothing: the request is sent when its turn comes."


class KieSpendingCap(KieError, reason="spending_cap", scope=Scope.ACCOUNT):
    """The connection's own cap of credits in 24 hours or 30 days is reached; nothing was sent."""

    what = "The connection's cap on credits is reached"
    todo = "Raise max_credits_per_day or max_credits_per_month in the connection, or wait. Paid tasks still finish."
    paid = "Nothing was sent, so nothing was paid for this."


class KieSpendingStopped(KieError, reason="spending_stopped", scope=Scope.ACCOUNT, remedy=Remedy.RETRY):
    """Somebody has stopped new paid tasks of this account, or the switch could not be read."""

    what = "New paid tasks are stopped"
    todo = "To allow them again, run `airflow kie spending resume`. Paid tasks are still archived."
    paid = "Nothing was sent, so nothing was paid for this."
