"""Download one of KIE's files: from public https addresses only, bounded in size and time, without any secret.

The address that was checked is the address that is connected to, at every redirect: a name that resolves to a public
address for the check and to an internal one for the connection (DNS rebinding) gets nowhere. httpx offers no way to
say which address is connected to, so this module uses httpcore, the engine under it; it has no cookies, no credentials
and no redirects of its own, and it logs no URL.

The environment's proxies are not used: a proxy resolves names itself, behind the check, and the loopback addresses of a
local stack would be sent to it. Where a person names one for downloads, it decides what is reached: names are its to
resolve, and of addresses only public ones are requested.
"""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import quote, urljoin, urlsplit

import httpcore

from airflow_kie.client.errors import (
    DownloadRefused,
    FileEmpty,
    FileLinkDead,
    FileTooLarge,
    FileTruncated,
    FileUnreachable,
    KieConnectionInvalid,
    KieError,
)
from airflow_kie.client.http.bounded import CONNECT_SECONDS, headers_of, proxy_at, trusted_certificates
from airflow_kie.client.http.deadline import DeadlineNetwork
from airflow_kie.client.http.ssrf_guard import Resolver, checked_addresses, is_public_or_name, system_addresses
from airflow_kie.client.redact import quiet_http_loggers, without_query

# KIE's CDN answers 403 to the User-Agent of Python's clients.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36"

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LINK_IS_DEAD = frozenset({401, 403, 404, 410})


@dataclass(frozen=True)
class DownloadFacts:
    """What was received.

    :param size: bytes.
    :param sha256: hex digest, computed while the bytes came.
    :param length_proven: True if the transfer itself showed that nothing is missing (Content-Length or chunks); a body
        that ends with the connection shows nothing.
    """

    size: int
    sha256: str
    length_proven: bool


@dataclass(frozen=True)
class DownloadSettings:
    """How files are downloaded.

    :param private_hosts: ``host`` or ``host:port`` of a simulator: only there http and addresses that are not public
        are allowed. Empty for the real KIE.
    :param proxy: address of a proxy through which files come; empty: none. Simulators are reached without it.
    :param read_seconds: between two pieces of an answer.
    :param total_seconds: for the whole download, redirects included; a slow drip ends here.
    :param ssl_context: certificates to trust, where the default ones are not meant.
    :param resolve: finds the addresses of a host; by default the system's resolver.
    """

    private_hosts: frozenset[str] = frozenset()
    proxy: str = field(default="", repr=False)
    read_seconds: float = 30.0
    total_seconds: float = 600.0
    ssl_context: ssl.SSLContext | None = None
    resolve: Resolver = system_addresses


def download(url: str, into: BinaryIO, *, max_bytes: int, settings: DownloadSettings | None = None) -> DownloadFacts:
    """Download a file.

    :param url: link from KIE's details or from ``/common/download-url``.
    :param into: seekable binary file; it is emptied first.
    :param max_bytes: a longer file is refused, before it is read if it says so.
    :param settings: limits and, for a simulator, exceptions.
    :return: size and SHA-256 of what was written.
    :raises DownloadRefused: the address or one redirected to is not https or not public, or redirects do not end.
    :raises FileLinkDead: HTTP 401, 403, 404 or 410: a fresh link may help.
    :raises FileEmpty: 0 bytes.
    :raises FileTruncated: less than announced.
    :raises FileTooLarge: more than ``max_bytes``.
    :raises FileUnreachable: no answer, another HTTP status, or too slow.
    :raises KieConnectionInvalid: the proxy's address is not one, or a library that it needs is not installed.
    """
    quiet_http_loggers()  # at DEBUG httpcore would log the Location of a redirect, signature and all
    settings = settings or DownloadSettings()
    deadline = time.monotonic() + settings.total_seconds
    for _ in range(MAX_REDIRECTS + 1):
        target = _Target.of(url, settings)
        with _answer(target, settings, deadline) as response:
            headers = headers_of(response)
            if response.status in _REDIRECTS and headers.get("location"):
                url = _redirected(url, headers["location"], target)
                continue
            if response.status != 200:
                error: type[KieError] = FileLinkDead if response.status in _LINK_IS_DEAD else FileUnreachable
                raise error(f"{target.host} answered HTTP {response.status}", code=response.status)
            return _received(response, headers, into, max_bytes, target)
    raise DownloadRefused(f"more than {MAX_REDIRECTS} redirects, the last to {target.host}")


def _redirected(url: str, location: str, target: _Target) -> str:
    """Return where a redirect leads; servers write names of files in UTF-8, whatever a header may hold."""
    with contextlib.suppress(UnicodeError):  # not UTF-8: taken as it came
        location = location.encode("latin-1").decode()
    try:
        return urljoin(url, location)
    except ValueError:  # brackets that hold no address
        raise DownloadRefused(f"{target.host} redirects to an invalid URL") from None


@dataclass(frozen=True)
class _Target:
    """One address to fetch from, checked as far as its text goes."""

    scheme: str
    host: str
    port: int
    path: str
    private: bool

    @classmethod
    def of(cls, url: str, settings: DownloadSettings) -> _Target:
        shown = without_query(url) if url.isprintable() else "a URL with control characters"
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").encode("idna").decode("ascii")
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as e:  # a bad port, bad brackets, a host that IDNA refuses
            raise DownloadRefused(f"{shown!r} is not a URL") from e
        private = bool({host, f"{host}:{port}"} & settings.private_hosts)
        if parts.scheme not in ({"https", "http"} if private else {"https"}):
            raise DownloadRefused(f"only https is allowed, not {parts.scheme or 'no scheme'} at {host or shown}")
        if not host or not url.isprintable() or parts.username is not None:
            raise DownloadRefused("the URL has no host, a user name or control characters in it")
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (
            "?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~-._[]") if parts.query else ""
        )
        return cls(parts.scheme, host, port, path, private)


@contextlib.contextmanager
def _answer(target: _Target, settings: DownloadSettings, deadline: float) -> Iterator[httpcore.Response]:
    """Open one connection, send the request and give the answer, its body unread."""
    timeouts = {"connect": CONNECT_SECONDS, "read": settings.read_seconds, "write": settings.read_seconds}
    bare = f"[{target.host}]" if ":" in target.host else target.host
    default_port = target.port == {"https": 443, "http": 80}[target.scheme]
    headers: dict[bytes | str, bytes | str] = {
        "Host": bare if default_port else f"{bare}:{target.port}",
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Accept-Encoding": "identity",  # the bytes that are hashed are the file's own
        "Connection": "close",
    }
    proxy = None if target.private or not settings.proxy else proxy_at(settings.proxy, "[kie] download_proxy")
    if proxy and not is_public_or_name(target.host):
        raise DownloadRefused(f"{target.host} is not a public address")
    network = DeadlineNetwork(  # with a proxy, that is what is connected to
        lambda: deadline,
        lambda host, port: checked_addresses(settings.resolve, host, port, private=target.private or proxy is not None),
    )
    url = httpcore.URL(
        scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
    )
    certificates = settings.ssl_context or trusted_certificates()
    try:
        with (
            httpcore.ConnectionPool(ssl_context=certificates, network_backend=network, proxy=proxy) as pool,
            pool.stream("GET", url, headers=headers, extensions={"timeout": timeouts}) as response,
        ):
            yield response
    except ImportError as e:
        raise KieConnectionInvalid(f"[kie] download_proxy needs a library that is not installed: {e}") from None
    except (httpcore.RemoteProtocolError, httpcore.ReadError) as e:
        raise FileTruncated(f"the answer of {target.host} broke off: {e}") from e
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, httpcore.ProxyError) as e:
        raise FileUnreachable(f"{target.host}: {type(e).__name__} {e}".rstrip()) from e


def _received(
    response: httpcore.Response, headers: dict[str, str], into: BinaryIO, max_bytes: int, target: _Target
) -> DownloadFacts:
    announced = headers.get("content-length")
    if announced and announced.isdigit() and int(announced) > max_bytes:
        raise FileTooLarge(f"{target.host} announces {int(announced):,} bytes, more than the allowed {max_bytes:,}")
    encoding = headers.get("content-encoding") or "identity"
    if encoding.lower() != "identity":
        raise FileUnreachable(f"{target.host} sent the file as {encoding}, which was not requested")
    into.seek(0)
    into.truncate()
    digest, size = hashlib.sha256(), 0
    for chunk in response.iter_stream():
        size += len(chunk)
        if size > max_bytes:
            raise FileTooLarge(f"{target.host} sent more than the allowed {max_bytes:,} bytes")
        digest.update(chunk)
        into.write(chunk)
    if size == 0:
        raise FileEmpty(f"{target.host} answered HTTP 200 with 0 bytes")
    proven = announced is not None or "chunked" in headers.get("transfer-encoding", "").lower()
    return DownloadFacts(size, digest.hexdigest(), proven)
