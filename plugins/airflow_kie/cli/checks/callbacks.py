"""Checks of the way back: does KIE reach our receiver, and did it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from urllib.parse import urlsplit

from airflow_kie import settings
from airflow_kie.cli.checks.account import ago
from airflow_kie.cli.checks.findings import Finding, Level, finding
from airflow_kie.client.account import NO_CALLBACK_URL, KieAccount, is_loopback
from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.callbacks.url import ROUTE
from airflow_kie.client.errors import KieUnreachable
from airflow_kie.client.http.transport import post_anywhere
from airflow_kie.hooks.kie import KieHook
from airflow_kie.monitoring.callback_health import LastCallback, last_callback, last_poll_hit

_PROBE = {"data": {"taskId": "airflow-kie-doctor"}}
"""An unsigned call that names a task which nobody has: our receiver refuses it with 401 and does nothing."""
_ONE_LOST = timedelta(minutes=5)
"""A callback so near to a poll's find says that the way is open: a single one may be lost or late."""
_INTERNAL_ENDINGS = (".local", ".internal", ".lan", ".home", ".corp", ".svc", ".localdomain")


def callback_findings(hook: KieHook) -> Iterator[Finding]:
    """Look at the settings of callbacks, call the receiver without a signature, and look when KIE called last."""
    account, serves = hook.account, settings.flag("receiver")
    if account.callback_url == NO_CALLBACK_URL:
        yield _without_url(serves)
        return
    yield from _settings_findings(account, serves)
    yield _probe(account)
    last = last_callback(hook.kie_conn_id)
    yield _last(last)
    yield _last_poll(last_poll_hit(hook.kie_conn_id), last)


def _without_url(serves: bool) -> Finding:
    if serves:
        return finding(
            "callbacks",
            Level.WARN,
            "[kie] receiver is on, but the connection names no public callback URL: KIE is never told to call, and "
            "results are polled. Fill in the URL, or switch the receiver off.",
        )
    return finding("callbacks", Level.OK, "No callback URL is set: results are polled, every few seconds.")


def _settings_findings(account: KieAccount, serves: bool) -> Iterator[Finding]:
    """Yield what can be told from the settings alone."""
    parts = urlsplit(account.callback_url)
    host = parts.hostname or ""
    if not account.webhook_secret:
        yield finding(
            "callbacks",
            Level.FAIL,
            "A callback URL is set but no webhook secret: every callback is refused. Put the webhook HMAC key of "
            "kie.ai/settings into the connection's field webhook_secret; for an account that does not sign, put a "
            "secret of your own into callback_token_secret.",
        )
    if is_internal(host) and not is_loopback(account.api_url):
        yield finding(
            "callbacks",
            Level.FAIL,
            "The callback URL names {host}, an internal host: KIE cannot reach it from the internet. Put the public "
            "address into the connection's field callback_url.",
            host=host,
        )
    elif parts.scheme != "https" and not is_loopback(account.callback_url):
        yield finding(
            "callbacks",
            Level.WARN,
            "The callback URL is http: anybody on the way can read which tasks end, and repeat a call within an hour. "
            "Use https.",
        )
    if not serves and is_ours(account.callback_url):
        yield finding(
            "callbacks",
            Level.WARN,
            "The callback URL leads to our receiver, but [kie] receiver is off in the configuration that this command "
            "sees. It has to be on for the api-server.",
        )


def is_ours(url: str) -> bool:
    """Return whether a callback URL leads to this package's own receiver."""
    return f"{ROUTE}/" in urlsplit(url).path


def is_internal(host: str) -> bool:
    """Return whether a host can only be reached from inside: by its address, or by the look of its name."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.lower().endswith(_INTERNAL_ENDINGS)


def _probe(account: KieAccount) -> Finding:
    host = urlsplit(account.callback_url).netloc.rpartition("@")[2]
    try:
        answer = post_anywhere(account.callback_url, _PROBE)
    except KieUnreachable as error:
        return finding(
            "receiver",
            Level.FAIL,
            "An unsigned call to the callback URL at {host} found nobody: {cause}. If this machine cannot reach its "
            "own public address, try from outside; otherwise open the way to the api-server.",
            host=host,
            cause=error.facts.message,
        )
    return probe_finding(account.callback_url, answer, host)


def probe_finding(url: str, answer: Response, host: str) -> Finding:
    """Return what the answer to an unsigned call says about who answers there.

    :param url: the callback URL.
    :param answer: the answer; our receiver's is 401 with no body.
    :param host: who was asked.
    """
    status = answer.status
    if status == 401 and not answer.content and "www-authenticate" not in answer.headers:
        return finding("receiver", Level.OK, "The receiver at {host} answers, and refuses an unsigned call.", host=host)
    if not is_ours(url):
        return finding(
            "receiver",
            Level.WARN if status >= 400 else Level.OK,
            f"A receiver of your own at {{host}} answers an unsigned call with HTTP {status}. It should refuse what is "
            "not signed, and answer KIE with exactly 200.",
            host=host,
        )
    if 300 <= status < 400:
        told = "redirects the call{target}. KIE is not known to follow: put the final address into callback_url."
        where = urlsplit(answer.headers.get("location", "")).netloc
        target = f" to {where}" if where else " elsewhere"
        return finding("receiver", Level.FAIL, f"{{host}} {told}", host=host, target=target)
    level, told = _ANSWERS.get(status, _other)(status)
    return finding("receiver", level, f"{{host}} {told}", host=host)


_Meaning = Callable[[int], tuple[Level, str]]


def _says(level: Level, text: str) -> _Meaning:
    return lambda status: (level, f"answers an unsigned call with HTTP {status}: {text}")


_other = _says(
    Level.FAIL, "that is not our receiver. Look what stands between the internet and the api-server at this address."
)
_ANSWERS: Mapping[int, _Meaning] = MappingProxyType(
    {
        200: _says(Level.FAIL, "somebody takes calls who does not check them. It is not our receiver."),
        401: _says(
            Level.FAIL,
            "a login stands before the receiver, and KIE cannot log in. Let exactly this path through without one.",
        ),
        403: _says(Level.FAIL, "a proxy or firewall refuses it. Let POST to exactly this path through."),
        404: _says(
            Level.FAIL,
            "nothing is served there. Set [kie] receiver = True for the api-server, restart it, and publish this path.",
        ),
        405: _says(Level.FAIL, "POST does not get through to the receiver. Let POST to exactly this path through."),
        429: _says(
            Level.WARN,
            "somebody sends many unsigned calls at the moment, or a proxy limits them; KIE's must not be limited.",
        ),
        502: _says(Level.FAIL, "a proxy is there and finds no api-server behind it."),
        503: _says(Level.FAIL, "a proxy is there and finds no api-server behind it."),
        504: _says(Level.FAIL, "a proxy is there and the api-server behind it does not answer."),
    }
)


def _last(last: LastCallback | None) -> Finding:
    if last is None:
        return finding(
            "last callback",
            Level.WARN,
            "KIE has not called yet, as far as is known here. That is right before the first task; later, "
            "look whether the webhook key is switched on at kie.ai/settings, and try the address from outside.",
        )
    return finding(
        "last callback",
        Level.OK,
        f"KIE called last {ago(last.at)}, proven by its {last.proof}; {{count}} calls in all.",
        count=last.count,
    )


def _last_poll(found: datetime | None, last: LastCallback | None) -> Finding:
    if found is None:
        return finding("last poll hit", Level.OK, "No poll has found an end that a callback should have told.")
    told = f"A poll, not a callback, found the end of a task {ago(found)}"
    if last is not None and last.at >= found - _ONE_LOST:
        return finding("last poll hit", Level.OK, f"{told}; callbacks have come since, or just before.")
    return finding(
        "last poll hit",
        Level.WARN,
        f"{told}, and no callback has come since: they get lost on the way. Results come up to a minute later for it. "
        "Look whether the webhook key is switched on at kie.ai/settings, and try the address from outside.",
    )
