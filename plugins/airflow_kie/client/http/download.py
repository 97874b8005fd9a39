"""Download one of KIE's files: from public https addresses only, bounded in size and time, without any secret.

The address that was checked is the address that is connected to, at every redirect: a name that resolves to a public
address for the check and to an internal one for the connection (DNS rebinding) gets nowhere. That needs a hand on the
connection itself, so this module uses httpcore, the engine under httpx, which lets it; it has no cookies, no
credentials, no redirects of its own, and it logs no URL.

System proxies are not used: a proxy resolves names itself, behind the check, and the loopback addresses of a local
stack would be sent to it. Where files can only be fetched through a proxy, name it: it is then trusted to keep
internal addresses out of reach, and names are checked for https only.
"""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
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
    KieError,
)
from airflow_kie.client.http.public_addresses import is_public
from airflow_kie.client.http.ssrf_guard import CheckedNetwork, Resolver, is_address, system_addresses
from airflow_kie.client.redact import quiet_http_loggers, without_query

# KIE's CDN answers 403 to the User-Agent of Python's clients.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36"

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LINK_IS_DEAD = frozenset({401, 403, 404, 410})


@dataclass(frozen=True)
class DownloadFacts:
    """What came.

    :param size: bytes.
    :param sha256: hex digest, computed while the bytes came.
    :param content_type: what the server said; prove it by content.
    :param final_url: where it came from after redirects, without its query.
    :param length_proven: True if the transfer itself showed that nothing is missing (Content-Length or chunks); a body
        that ends with the connection shows nothing.
    """

    size: int
    sha256: str
    content_type: str | None
    final_url: str
    length_proven: bool


@dataclass(frozen=True)
class DownloadSettings:
    """How files are downloaded.

     :param private_hosts: ``host`` or ``host:port`` of a simulator: only there http and addresses that are not public
         are allowed. Empty for the real KIE.
     :param connect_seconds: for each connection.
     :param read_seconds: between two pieces of an answer.
     :param total_seconds: for the whole download, redirects included; a slow drip ends here.
     :param max_redirects: how many redirects are followed.
     :param user_agent: what the CDN is told.
    :param proxy: ``http://host:port`` of a proxy to use; None for none.
     :param ssl_context: certificates to trust; by default certifi's, or those of ``SSL_CERT_FILE``.
     :param resolve: finds the addresses of a host; by default the system's resolver.
    """

    private_hosts: frozenset[str] = frozenset()
    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    total_seconds: float = 600.0
    max_redirects: int = 5
    user_agent: str = USER_AGENT
    proxy: str | None = None
    ssl_context: ssl.SSLContext | None = None
    resolve: Resolver = field(default=system_addresses)


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
    """
    quiet_http_loggers()  # at DEBUG httpcore would log the Location of a redirect, signature and all
    settings = settings or DownloadSettings()
    deadline = time.monotonic() + settings.total_seconds
    for _ in range(settings.max_redirects + 1):
        target = _Target.of(url, settings)
        with _answer(target, settings, deadline) as response:
            location = _header(response, b"location")
            if response.status in _REDIRECTS and location:
                url = urljoin(url, location)
                continue
            _check_status(response.status, target)
            return _received(response, into, max_bytes, target)
    raise DownloadRefused(f"more than {settings.max_redirects} redirects, the last to {target.host}")


@dataclass(frozen=True)
class _Target:
    """One address to fetch from, checked as far as its text goes."""

    scheme: str
    host: str
    port: int
    path: str
    shown: str
    private: bool

    @classmethod
    def of(cls, url: str, settings: DownloadSettings) -> _Target:
        shown = without_query(url) if url.isprintable() else "a URL with control characters"
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").encode("idna").decode("ascii")
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as e:  # a bad port, bad brackets, a host that IDNA refuses
            raise DownloadRefused(f"{shown!r} is no URL") from e
        private = bool({host, f"{host}:{port}"} & settings.private_hosts)
        if parts.scheme not in ({"https", "http"} if private else {"https"}):
            raise DownloadRefused(f"only https is allowed, not {parts.scheme or 'no scheme'} at {host or shown}")
        if not host or not url.isprintable() or parts.username is not None:
            raise DownloadRefused("the URL has no host, a user name or control characters in it")
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (
            "?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~-._[]") if parts.query else ""
        )
        return cls(parts.scheme, host, port, path, f"{parts.scheme}://{host}{parts.path}", private)


@contextlib.contextmanager
def _answer(target: _Target, settings: DownloadSettings, deadline: float) -> Iterator[httpcore.Response]:
    """Open one connection, send the request and give the answer, its body unread."""
    if settings.proxy and is_address(target.host) and not is_public(target.host) and not target.private:
        raise DownloadRefused(f"{target.host} is not a public address")
    timeouts = {"connect": settings.connect_seconds, "read": settings.read_seconds, "write": settings.read_seconds}
    bare = f"[{target.host}]" if ":" in target.host else target.host
    default_port = target.port == {"https": 443, "http": 80}[target.scheme]
    headers: dict[bytes | str, bytes | str] = {
        "Host": bare if default_port else f"{bare}:{target.port}",
        "User-Agent": settings.user_agent,
        "Accept": "*/*",
        "Accept-Encoding": "identity",  # the bytes that are hashed are the file's own
        "Connection": "close",
    }
    try:
        with (
            httpcore.ConnectionPool(
                ssl_context=settings.ssl_context or _trusted(),
                network_backend=CheckedNetwork(
                    settings.resolve, deadline, any_address=bool(target.private or settings.proxy)
                ),
                proxy=httpcore.Proxy(settings.proxy) if settings.proxy else None,
            ) as pool,
            pool.stream(
                "GET",
                httpcore.URL(
                    scheme=target.scheme.encode(),
                    host=target.host.encode(),
                    port=target.port,
                    target=target.path.encode(),
                ),
                headers=headers,
                extensions={"timeout": timeouts},
            ) as response,
        ):
            yield response
    except (httpcore.RemoteProtocolError, httpcore.ReadError) as e:
        raise FileTruncated(f"the answer of {target.host} broke off: {e}") from e
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, httpcore.ProxyError) as e:
        raise FileUnreachable(f"{target.host}: {type(e).__name__} {e}".rstrip()) from e


def _check_status(status: int, target: _Target) -> None:
    if status == 200:
        return
    error: type[KieError] = FileLinkDead if status in _LINK_IS_DEAD else FileUnreachable
    raise error(f"{target.host} answered HTTP {status}", code=status)


def _received(response: httpcore.Response, into: BinaryIO, max_bytes: int, target: _Target) -> DownloadFacts:
    announced = _header(response, b"content-length")
    if announced and announced.isdigit() and int(announced) > max_bytes:
        raise FileTooLarge(f"{target.host} announces {int(announced):,} bytes, allowed are {max_bytes:,}")
    encoding = _header(response, b"content-encoding") or "identity"
    if encoding.lower() != "identity":
        raise FileUnreachable(f"{target.host} sent the file as {encoding}, which was not asked for")
    into.seek(0)
    into.truncate()
    digest, size = hashlib.sha256(), 0
    for chunk in response.iter_stream():
        size += len(chunk)
        if size > max_bytes:
            raise FileTooLarge(f"{target.host} sends more than the {max_bytes:,} bytes that are allowed")
        digest.update(chunk)
        into.write(chunk)
    if size == 0:
        raise FileEmpty(f"{target.host} answered HTTP 200 with 0 bytes")
    chunked = "chunked" in (_header(response, b"transfer-encoding") or "").lower()
    return DownloadFacts(
        size=size,
        sha256=digest.hexdigest(),
        content_type=_header(response, b"content-type"),
        final_url=target.shown,
        length_proven=announced is not None or chunked,
    )


def _header(response: httpcore.Response, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), None)


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()
