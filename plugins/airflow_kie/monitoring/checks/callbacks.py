"""Checks of callbacks: can KIE reach our receiver, and has it called?"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import pendulum

from airflow_kie import settings
from airflow_kie.client.account import NO_CALLBACK_URL, KieAccount, is_loopback
from airflow_kie.client.callbacks.signature import PROBE_TASK_ID
from airflow_kie.client.callbacks.url import ROUTE
from airflow_kie.client.errors import KieUnreachable
from airflow_kie.client.http.transport import post_anywhere
from airflow_kie.hooks.kie import KieHook
from airflow_kie.monitoring.callback_health import LastCallback, last_callback, last_poll_hit
from airflow_kie.monitoring.checks.findings import Finding, Level, finding

_PROBE = {"data": {"taskId": PROBE_TASK_ID}}
"""An unsigned call that names a task which does not exist: our receiver refuses it with 401 and does nothing."""
_ONE_LOST = timedelta(minutes=5)
"""A callback so near to what a poll has found proves that callbacks arrive: a single one may be lost or late."""
_NO_URL = (
    "[kie] receiver is on, but the connection has no public callback URL: KIE never calls, and results are polled. "
    "Set the URL, or turn the receiver off."
)
_UNSIGNED = (
    "A callback URL is set but no webhook secret: every callback is refused. Put the webhook HMAC key of "
    "kie.ai/settings into the connection's field webhook_secret; for an account that does not sign, put a random "
    "secret into callback_token_secret."
)
_INTERNAL = (
    "The callback URL names {host}, an internal host: KIE cannot reach it from the internet. Put the public address "
    "into the connection's field callback_url."
)
_NOT_ENCRYPTED = (
    "The callback URL uses http: anyone on the network path can read which tasks end, and replay a call within an "
    "hour. Use https."
)
_RECEIVER_OFF = (
    "The callback URL is that of our receiver, but [kie] receiver is off in this command's configuration. It has to be "
    "on for the api-server."
)
_INTERNAL_ENDINGS = (".local", ".internal", ".lan", ".home", ".corp", ".svc", ".localdomain")


def callback_findings(hook: KieHook) -> Iterator[Finding]:
    """Check the settings of callbacks, call the receiver without a signature, and read when KIE called last."""
    account, serves = hook.account, settings.flag("receiver")
    if account.callback_url == NO_CALLBACK_URL:
        level, text = (Level.WARN, _NO_URL) if serves else (Level.OK, "No callback URL is set: results are polled.")
        yield finding("callbacks", level, text)
        return
    host = urlsplit(account.callback_url).hostname or ""
    for level, text in _contradictions(account, host, serves):
        yield finding("callbacks", level, text, host=host)
    yield _probe(account)
    last = last_callback(hook.kie_conn_id)
    yield _last(last)
    yield _last_poll(last_poll_hit(hook.kie_conn_id), last)


def _contradictions(account: KieAccount, host: str, serves: bool) -> Iterator[tuple[Level, str]]:
    """Yield what is wrong as the settings alone show."""
    if not account.webhook_secret:
        yield Level.FAIL, _UNSIGNED
    if is_internal(host) and not is_loopback(account.api_url):
        yield Level.FAIL, _INTERNAL
    elif urlsplit(account.callback_url).scheme != "https" and not is_loopback(account.callback_url):
        yield Level.WARN, _NOT_ENCRYPTED
    if not serves and is_ours(account.callback_url):
        yield Level.WARN, _RECEIVER_OFF


def is_ours(url: str) -> bool:
    """Return whether a callback URL leads to this package's own receiver."""
    return f"{ROUTE}/" in urlsplit(url).path


def is_internal(host: str) -> bool:
    """Return whether a host can only be reached from inside: by its address, or by the form of its name."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.lower().endswith(_INTERNAL_ENDINGS)


def _probe(account: KieAccount) -> Finding:
    """Return who answers an unsigned call: our receiver's answer is 401 with no body."""
    url = account.callback_url
    host = urlsplit(url).netloc.rpartition("@")[2]
    try:
        answer = post_anywhere(url, _PROBE)
    except KieUnreachable as error:
        unreachable = (
            "An unsigned call to the callback URL at {host} got no answer: {cause}. If this machine cannot reach "
            "its own public address, try from outside; otherwise open the way to the api-server."
        )
        return finding("receiver", Level.FAIL, unreachable, host=host, cause=error.facts.message)
    status = answer.status
    if status == 401 and not answer.content and "www-authenticate" not in answer.headers:
        return finding("receiver", Level.OK, "The receiver at {host} answers, and refuses unsigned calls.", host=host)
    if not is_ours(url):
        should = "It should refuse unsigned calls, and answer KIE with exactly 200."
        own = f"Your own receiver at {{host}} answers an unsigned call with HTTP {status}. {should}"
        return finding("receiver", Level.WARN if status >= 400 else Level.OK, own, host=host)
    if 300 <= status < 400:
        to = urlsplit(answer.headers.get("location", "")).netloc or "another address"
        redirected = "{host} redirects the call to {target}. KIE may not follow: put the final address in callback_url."
        return finding("receiver", Level.FAIL, redirected, host=host, target=to)
    meaning = _ANSWERS.get(status, "this is not our receiver. Check what serves this address.")
    level = Level.WARN if status == 429 else Level.FAIL
    return finding("receiver", level, f"{{host}} answers an unsigned call with HTTP {status}: {meaning}", host=host)


_ANSWERS: Mapping[int, str] = {
    200: "it accepts calls without checking them, so it is not our receiver.",
    401: "a login is required, and KIE cannot log in. Allow exactly this path without one.",
    403: "a proxy or firewall refuses it. Allow POST to exactly this path.",
    404: "nothing is served. Set [kie] receiver = True for the api-server, restart it, and publish this path.",
    405: "POST does not get through to the receiver. Let POST to exactly this path through.",
    429: "there are many unsigned calls at the moment, or a proxy limits them; KIE's calls must not be limited.",
    502: "a proxy is there and finds no api-server behind it.",
    503: "a proxy finds no api-server behind it, or the api-server cannot read this connection: its log says so.",
    504: "a proxy is there and the api-server behind it does not answer.",
}
_CHECK_THE_WAY = "check whether the webhook key is switched on at kie.ai/settings, and try the address from outside."


def _last(last: LastCallback | None) -> Finding:
    if last is None:
        never = "No callback from KIE is known here. This is normal before the first task; later, "
        return finding("last callback", Level.WARN, f"{never}{_CHECK_THE_WAY}")
    return finding("last callback", Level.OK, f"KIE last called back {_ago(last.at)}, verified by its {last.proof}.")


def _last_poll(found: datetime | None, last: LastCallback | None) -> Finding:
    if found is None:
        return finding("last poll hit", Level.OK, "No poll has found a result that a callback should have reported.")
    by_poll = f"A poll, not a callback, found the end of a task {_ago(found)}"
    if last is not None and last.at >= found - _ONE_LOST:
        return finding("last poll hit", Level.OK, f"{by_poll}; callbacks have come since, or just before.")
    lost = "no callback has come since: callbacks are being lost, so results come up to a minute later. To fix it,"
    return finding("last poll hit", Level.WARN, f"{by_poll}, and {lost} {_CHECK_THE_WAY}")


def _ago(moment: datetime) -> str:
    return pendulum.instance(moment).diff_for_humans()
