"""Downloads from a real server on loopback that misbehaves in every way that was seen, and some more."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import socket
import socketserver
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

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
from airflow_kie.client.http.download import MAX_REDIRECTS, DownloadFacts, DownloadSettings, download
from media_server import MediaServer, body, media_server, redirect, status

LOCAL = DownloadSettings(private_hosts=frozenset({"127.0.0.1"}))
CONTENT = bytes(range(256)) * 400


@pytest.fixture
def server() -> Iterator[MediaServer]:
    with media_server() as running:
        yield running


def fetch(url: str, settings: DownloadSettings = LOCAL, max_bytes: int = 10_000_000) -> tuple[DownloadFacts, bytes]:
    into = io.BytesIO(b"rest of an earlier attempt" * 10_000)
    return download(url, into, max_bytes=max_bytes, settings=settings), into.getvalue()


def raw(
    sent: bytes, then: Callable[[socket.socket], None] = lambda _: None
) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with exactly these bytes, then do something to the connection."""

    def script(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(sent)
        request.wfile.flush()
        then(request.connection)

    return script


def test_the_file_arrives_byte_for_byte_with_size_and_sha256(server: MediaServer) -> None:
    server.scripts["/a.png"] = body(CONTENT, "image/png")
    facts, got = fetch(server.url("/a.png?signature=secret"))
    assert got == CONTENT
    assert (facts.size, facts.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert facts.length_proven
    assert server.requests[0][0] == "/a.png?signature=secret"


def test_no_key_and_no_cookie_is_sent_also_not_after_a_redirect(server: MediaServer) -> None:
    def sets_cookie(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Set-Cookie", "JSESSIONID=1; Path=/")
        request.send_header("Location", "/b")
        request.send_header("Content-Length", "0")
        request.end_headers()

    server.scripts |= {"/a": sets_cookie, "/b": body(CONTENT)}
    fetch(server.url("/a"))
    assert server.asked("/b") == 1
    for _, headers in server.requests:
        assert not {name.lower() for name in headers} & {"authorization", "cookie", "referer"}


def test_a_cdn_that_refuses_python_is_given_a_browsers_user_agent(server: MediaServer) -> None:
    def picky(request: BaseHTTPRequestHandler) -> None:
        agent = (request.headers.get("User-Agent") or "").lower()
        refused = not agent or "python" in agent or "httpx" in agent or "httpcore" in agent
        (status(403) if refused else body(CONTENT))(request)

    server.scripts["/a"] = picky
    assert fetch(server.url("/a"))[1] == CONTENT


@pytest.mark.parametrize("length", [len(CONTENT) + 1, len(CONTENT) * 10])
def test_a_body_shorter_than_announced_is_truncated(server: MediaServer, length: int) -> None:
    server.scripts["/a"] = body(CONTENT, length=length)
    with pytest.raises(FileTruncated):
        fetch(server.url("/a"))


def test_a_chunked_body_without_its_end_is_truncated(server: MediaServer) -> None:
    server.scripts["/a"] = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    with pytest.raises(FileTruncated):
        fetch(server.url("/a"))


def test_a_whole_chunked_body_is_proven_whole(server: MediaServer) -> None:
    server.scripts["/a"] = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    facts, got = fetch(server.url("/a"))
    assert (got, facts.length_proven) == (b"hello", True)


def test_a_body_that_ends_with_the_connection_is_not_proven_whole(server: MediaServer) -> None:
    server.scripts["/a"] = raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")
    facts, got = fetch(server.url("/a"))
    assert (got, facts.length_proven) == (b"hello", False)


def test_a_connection_that_is_reset_in_the_middle_is_truncated(server: MediaServer) -> None:
    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    server.scripts["/a"] = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", reset)
    with pytest.raises(FileTruncated):
        fetch(server.url("/a"))


def test_zero_bytes_with_http_200_are_no_file(server: MediaServer) -> None:
    server.scripts["/a"] = body(b"")
    with pytest.raises(FileEmpty):
        fetch(server.url("/a"))


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_link_that_is_refused_may_be_refreshed(server: MediaServer, code: int) -> None:
    server.scripts["/a"] = status(code)
    with pytest.raises(FileLinkDead) as caught:
        fetch(server.url("/a"))
    assert caught.value.facts.code == code


@pytest.mark.parametrize("code", [204, 206, 304, 429, 500, 502, 503])
def test_another_status_is_an_unreachable_file(server: MediaServer, code: int) -> None:
    server.scripts["/a"] = status(code)
    with pytest.raises(FileUnreachable):
        fetch(server.url("/a"))


def test_a_file_that_announces_too_much_is_refused_before_it_is_read(server: MediaServer) -> None:
    server.scripts["/a"] = body(b"x", length=11)
    with pytest.raises(FileTooLarge, match="announces 11 bytes"):
        fetch(server.url("/a"), max_bytes=10)


def test_a_file_that_announces_nothing_is_refused_once_it_is_too_large(server: MediaServer) -> None:
    server.scripts["/a"] = raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000)
    with pytest.raises(FileTooLarge):
        fetch(server.url("/a"), max_bytes=99_999)


def test_a_compressed_answer_is_refused_since_the_files_own_bytes_are_stored(server: MediaServer) -> None:
    server.scripts["/a"] = raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello")
    with pytest.raises(FileUnreachable, match="gzip"):
        fetch(server.url("/a"))


def drip(sent: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """Send the bytes and then one more every 50 ms until the client leaves."""

    def script(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(sent)
        while True:
            request.wfile.write(b"x")
            threading.Event().wait(0.05)

    return script


@pytest.mark.parametrize(
    "sent", [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "], ids=["body", "head"]
)
def test_a_slow_drip_ends_at_the_deadline_of_the_whole_download(server: MediaServer, sent: bytes) -> None:
    server.scripts["/a"] = drip(sent)
    short = DownloadSettings(private_hosts=LOCAL.private_hosts, read_seconds=20, total_seconds=0.5)
    with pytest.raises(FileUnreachable, match="Timeout"):
        fetch(server.url("/a"), short)


def test_a_silent_server_ends_at_the_read_timeout(server: MediaServer) -> None:
    released = threading.Event()

    def silent(request: BaseHTTPRequestHandler) -> None:
        released.wait(20)

    server.scripts["/a"] = silent
    with pytest.raises(FileUnreachable, match="Timeout"):
        fetch(server.url("/a"), DownloadSettings(private_hosts=LOCAL.private_hosts, read_seconds=0.2))
    released.set()


def test_a_closed_port_is_an_unreachable_file(server: MediaServer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(FileUnreachable):
            fetch(f"http://127.0.0.1:{unused.getsockname()[1]}/a")


# --- where files may come from ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["http://93.184.215.14/a", "ftp://127.0.0.1/a", "file:///etc/passwd", "//x/a", "", "https://", "a b", "https://u:p@h/a",
     "https://h:99999/a", "https://[::1/a", "https://h/a\r\nX: y", "https://xn--\u0000/"],
)  # fmt: skip
def test_an_address_that_is_not_plain_https_is_refused(url: str) -> None:
    with pytest.raises(DownloadRefused):
        fetch(url, DownloadSettings(resolve=unresolved))


def unresolved(host: str, port: int) -> Sequence[str]:
    raise AssertionError("nothing may be looked up")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"])
def test_loopback_is_refused_unless_it_is_allowed_by_name(server: MediaServer, host: str) -> None:
    with pytest.raises(DownloadRefused, match="not a public address"):
        fetch(f"https://{host}:{server.port}/a", DownloadSettings())
    assert server.requests == []


def test_the_exception_for_a_simulator_can_be_narrowed_to_its_port(server: MediaServer) -> None:
    server.scripts["/a"] = body(CONTENT)
    fetch(server.url("/a"), DownloadSettings(private_hosts=frozenset({f"127.0.0.1:{server.port}"})))
    with pytest.raises(DownloadRefused):
        fetch(server.url("/a"), DownloadSettings(private_hosts=frozenset({"127.0.0.1:1"})))


def test_one_inner_address_among_public_ones_refuses_the_host() -> None:
    mixed = DownloadSettings(resolve=lambda host, port: ["104.16.1.1", "10.0.0.7"])
    with pytest.raises(DownloadRefused, match=r"10\.0\.0\.7"):
        fetch("https://cdn.example/a", mixed)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "to",
    ["http://169.254.169.254/latest/meta-data", "https://inner.test/a", "http://127.0.0.2:1/a", "file:///etc/passwd"],
)
def test_a_redirect_to_an_inner_address_is_refused(server: MediaServer, code: int, to: str) -> None:
    server.scripts["/a"] = redirect(to, code)
    settings = DownloadSettings(private_hosts=LOCAL.private_hosts, resolve=lambda host, port: [
        "10.0.0.7" if host == "inner.test" else host])  # fmt: skip
    with pytest.raises(DownloadRefused):
        fetch(server.url("/a"), settings)
    assert len(server.requests) == 1


def test_redirects_are_followed_a_few_times_and_not_for_ever(server: MediaServer) -> None:
    server.scripts |= {"/a": redirect("b"), "/b": redirect("/c"), "/c": body(CONTENT), "/loop": redirect("/loop")}
    assert fetch(server.url("/a"))[1] == CONTENT
    with pytest.raises(DownloadRefused, match="redirects"):
        fetch(server.url("/loop"))
    assert server.asked("/loop") == MAX_REDIRECTS + 1


def test_a_redirect_may_name_its_file_in_any_script(server: MediaServer) -> None:
    there = "/%E6%AD%8C%20%C3%A9.mp3"
    server.scripts |= {"/a": redirect("/歌 é.mp3".encode().decode("latin-1")), there: body(CONTENT)}
    assert fetch(server.url("/a"))[1] == CONTENT
    assert server.asked(there) == 1


@pytest.mark.parametrize("to", ["https://[bad", "//[::1/a"])
def test_a_redirect_to_what_is_no_address_is_refused(server: MediaServer, to: str) -> None:
    server.scripts["/a"] = redirect(to)
    with pytest.raises(DownloadRefused, match="to an invalid URL"):
        fetch(server.url("/a"))


def test_a_proxy_whose_library_is_missing_is_named(server: MediaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    for loaded in ("httpcore._sync.socks_proxy", "httpcore._async.socks_proxy"):
        monkeypatch.delitem(sys.modules, loaded, raising=False)
    with pytest.raises(KieConnectionInvalid, match="download_proxy needs a library that is not installed"):
        fetch("https://cdn.example/a", DownloadSettings(proxy="socks5://127.0.0.1:9"))


def test_a_system_proxy_is_not_used(server: MediaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.scripts["/a"] = body(CONTENT)
    assert fetch(server.url("/a"))[1] == CONTENT


def test_no_log_line_and_no_error_holds_the_signed_part_of_a_link(
    server: MediaServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.scripts |= {"/a": body(CONTENT), "/gone": status(404), "/to": redirect("http://10.0.0.1/x?sig=hidden")}
    fetch(server.url("/a?sig=hidden"))
    said = []
    for path in ("/gone?sig=hidden", "/to?sig=hidden"):
        with pytest.raises(KieError) as caught:
            fetch(server.url(path))
        said.append(str(caught.value))
    assert "hidden" not in caplog.text + "".join(said)


# --- TLS, and names that change their mind ------------------------------------------------------------------


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A certificate for cdn.test: the server's context, and the context of a client that trusts it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cdn.test")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(hours=1))
        .not_valid_after(datetime.now(UTC) + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("cdn.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "cdn.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(pem)
    return serving, ssl.create_default_context(cafile=str(pem))


def test_the_checked_address_is_connected_to_and_the_name_is_asked_for_only_once(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    looked_up: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        looked_up.append(host)
        return ["127.0.0.1"] if len(looked_up) == 1 else ["127.0.0.2"]

    serving, trusting = tls
    with media_server({"/a": body(CONTENT)}, serving) as server:
        settings = DownloadSettings(private_hosts=frozenset({"cdn.test"}), ssl_context=trusting, resolve=rebinding)
        assert fetch(f"https://cdn.test:{server.port}/a", settings)[1] == CONTENT
        assert server.requests[0][1]["Host"] == f"cdn.test:{server.port}"
    assert looked_up == ["cdn.test"]


def test_a_certificate_of_another_name_is_refused(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    serving, trusting = tls
    with media_server({"/a": body(CONTENT)}, serving) as server:
        settings = DownloadSettings(
            private_hosts=frozenset({"other.test"}), ssl_context=trusting, resolve=lambda h, p: ["127.0.0.1"]
        )
        with pytest.raises(FileUnreachable):
            fetch(f"https://other.test:{server.port}/a", settings)
        assert server.requests == []


def test_the_next_address_is_tried_when_the_first_does_not_answer(server: MediaServer) -> None:
    server.scripts["/a"] = body(CONTENT)
    settings = DownloadSettings(private_hosts=frozenset({"cdn.test"}), resolve=lambda h, p: ["127.0.0.9", "127.0.0.1"])
    assert fetch(f"http://cdn.test:{server.port}/a", settings)[1] == CONTENT


class Tunnel(socketserver.StreamRequestHandler):
    """A proxy that takes CONNECT, and leads every name to this machine."""

    def handle(self) -> None:
        method, where, _ = self.rfile.readline().decode().split()
        while self.rfile.readline().strip():
            pass
        self.server.asked.append((method, where))  # type: ignore[attr-defined]
        with socket.create_connection(("127.0.0.1", int(where.rpartition(":")[2]))) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(there, self.connection), daemon=True)
            back.start()
            _copy(self.connection, there)
            back.join(10)


def _copy(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            to.sendall(piece)
        to.shutdown(socket.SHUT_WR)


@pytest.fixture
def tunnel() -> Iterator[Any]:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnel)
    server.daemon_threads = True
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_files_come_through_the_proxy_that_is_named_which_resolves_names_itself(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], tunnel: Any
) -> None:
    def unknown(host: str, port: int) -> Sequence[str]:
        if host == "127.0.0.1":
            return [host]
        raise OSError(host)

    serving, trusting = tls
    proxy = f"http://me:secret@127.0.0.1:{tunnel.server_address[1]}"
    with media_server({"/a": body(CONTENT)}, serving) as server:
        settings = DownloadSettings(ssl_context=trusting, resolve=unknown, proxy=proxy)
        assert fetch(f"https://cdn.test:{server.port}/a", settings)[1] == CONTENT
        assert tunnel.asked == [("CONNECT", f"cdn.test:{server.port}")]
        with pytest.raises(DownloadRefused, match="not a public address"):
            fetch(f"https://169.254.169.254:{server.port}/a", settings)
    assert len(tunnel.asked) == 1
    assert "secret" not in repr(settings)


def test_an_address_that_is_none_of_a_proxy_is_refused_without_being_shown() -> None:
    with pytest.raises(KieConnectionInvalid, match=r"\[kie\] download_proxy is not the address of a proxy") as refused:
        fetch("https://cdn.test/a", DownloadSettings(proxy="ftp://me:secret@proxy"))
    assert "secret" not in str(refused.value)
