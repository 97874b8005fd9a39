"""One KIE account as this process knows it: hosts, key, and what the connection says about calling it."""

from __future__ import annotations

import hashlib
import ipaddress
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from airflow_kie.client.errors import KieConnectionInvalid
from airflow_kie.client.operations.operation import Form, Host

API_URL = "https://api.kie.ai"
UPLOAD_URL = "https://kieai.redpandaai.co"
"""docs.kie.ai file-upload-api: the curl examples and recorded traffic use this host, not the API's."""

NO_CALLBACK_URL = "https://callback.airflow-kie.invalid/none"
"""KIE refuses a create without a callback URL. This name is reserved (RFC 2606) and resolves nowhere, so that results
are never posted to a stranger; details are polled instead."""
TOKEN_PARAMETER = "token"  # noqa: S105 - a name, no secret
"""Airflow's access log blots out query parameters of this name."""


@dataclass(frozen=True)
class KieAccount:
    """Where an account is and how it may be used.

    :param api_key: sent to `api_url` and `upload_url` and to no other host.
    :param api_url: scheme and host of the API.
    :param upload_url: scheme and host of the file uploads.
    :param callback_url: where KIE shall call back; a reserved name where nobody listens.
    :param connection: the Airflow connection id, for messages.
    :param webhook_secret: signs which task a callback shall wake; empty: none is named.
    :param api: the API variant in which KIE is asked; empty: each operation's own.
    :param account: the account's name, where the connection gives one.
    :param timeout: seconds in which each piece of an answer has to come.
    :param deadline: seconds for a whole request to the API, from the connection to the answer's last byte.
    :param upload_deadline: the same for a file that is uploaded.
    :param simulators: ``host:port`` of simulators of KIE, which may be asked over http on other machines too.
    """

    api_key: str = field(repr=False)
    api_url: str = API_URL
    upload_url: str = UPLOAD_URL
    callback_url: str = field(default=NO_CALLBACK_URL, repr=False)
    connection: str = "kie_default"
    webhook_secret: str = field(default="", repr=False)
    account: str = ""
    api: str = ""
    timeout: float = 30.0
    deadline: float = 60.0
    upload_deadline: float = 600.0
    simulators: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        key = (self.api_key or "").strip()
        if not key:
            raise KieConnectionInvalid(f"Connection {self.connection} has no API key")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise KieConnectionInvalid(
                f"The API key of connection {self.connection} contains a blank or an invalid character"
            )
        if self.api and self.api not in tuple(Form):
            takes = f"use {' or '.join(Form)}, or leave it empty"
            raise KieConnectionInvalid(f"The field api of connection {self.connection} is {self.api[:40]!r}; {takes}")
        object.__setattr__(self, "api_key", key)  # pasted keys end in a line break
        object.__setattr__(self, "account", self.account.strip())
        object.__setattr__(self, "callback_url", self.callback_url or NO_CALLBACK_URL)
        for name, url in (("host", self.api_url), ("upload host", self.upload_url)):
            _check_url(self.connection, name, url, self.simulators)

    @property
    def calls_back(self) -> bool:
        """Whether callbacks of this account's tasks are expected: somebody listens and can check them."""
        return self.callback_url != NO_CALLBACK_URL and bool(self.webhook_secret)

    @property
    def name(self) -> str:
        """The account's name; connections with the same key are the same account even if they give none."""
        return self.account or f"key_{hashlib.sha256(self.api_key.encode()).hexdigest()[:12]}"

    @property
    def spending_name(self) -> str:
        """The name under which new paid tasks are stopped: the connection's field `account`, else its id."""
        return spending_name(self.account, self.connection)

    def url(self, host: Host, path: str) -> str:
        """Return the whole URL of a path on one of KIE's hosts."""
        return (self.api_url if host is Host.API else self.upload_url).rstrip("/") + path


def spending_name(account: str, connection: str) -> str:
    """Return the name under which new paid tasks are stopped.

    :param account: the connection's field `account`, which may be empty.
    :param connection: the connection's id.
    """
    return account.strip() or connection


def with_token(callback_url: str, token: str | None) -> str:
    """Return the callback URL with a record's token in its query; where nobody listens there is none.

    :param callback_url: where KIE shall call back.
    :param token: the record's token.
    """
    if not token or callback_url == NO_CALLBACK_URL:
        return callback_url
    parts = urlsplit(callback_url)
    query = "&".join(part for part in (parts.query, f"{TOKEN_PARAMETER}={token}") if part)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def is_loopback(url: str) -> bool:
    """Return whether a URL names this machine itself."""
    host = None
    with suppress(ValueError):
        host = urlsplit(url).hostname
        return ipaddress.ip_address(host or "").is_loopback
    return host == "localhost"


def _check_url(connection: str, name: str, url: str, simulators: frozenset[str]) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise KieConnectionInvalid(f"The {name} of connection {connection} is not an http(s) address")
    if parts.scheme == "http" and not is_loopback(url) and parts.netloc not in simulators:
        raise KieConnectionInvalid(
            f"The {name} of connection {connection} is not https: the API key would travel in clear text"
        )
    if "@" in parts.netloc:  # it would be shown with the address, and KIE takes the key alone
        raise KieConnectionInvalid(f"The {name} of connection {connection} has a user name, which is not sent to KIE")
