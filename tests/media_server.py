"""A loopback server whose every path is a small script, for downloads that go wrong in every way."""

from __future__ import annotations

import contextlib
import io
import math
import ssl
import struct
import threading
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Script = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class MediaServer:
    """Where it listens, what it answers, and what it was asked."""

    port: int = 0
    scripts: dict[str, Script] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def asked(self, path: str) -> int:
        return sum(1 for asked, _ in self.requests if asked.partition("?")[0] == path)


@contextmanager
def media_server(scripts: dict[str, Script] | None = None, tls: ssl.SSLContext | None = None) -> Iterator[MediaServer]:
    server = MediaServer(scripts=scripts or {})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.requests.append((self.path, dict(self.headers.items())))
            self.close_connection = True
            script = server.scripts.get(self.path.partition("?")[0], status(404))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client has seen enough
                script(self)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test output quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    if tls is not None:
        http.socket = tls.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
    server.port = http.server_port
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join(10)


def body(content: bytes, content_type: str = "application/octet-stream", length: int | None = None) -> Script:
    """Answer 200 with the content; another length than the real one is a lie."""

    def script(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", content_type)
        request.send_header("Content-Length", str(len(content) if length is None else length))
        request.end_headers()
        request.wfile.write(content)

    return script


def status(code: int) -> Script:
    def script(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return script


def redirect(to: str, code: int = 302) -> Script:
    def script(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        request.send_header("Location", to)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return script


def one_after_the_other(*scripts: Script) -> Script:
    """Answer each request with the next script; the last one stays."""
    left = list(scripts)

    def script(request: BaseHTTPRequestHandler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(request)

    return script


def picture(seed: int = 1, form: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a small real image that differs by seed."""
    from PIL import Image

    image = Image.linear_gradient("L").resize(size).convert("RGB")
    image.paste((seed * 37 % 256, seed * 91 % 256, seed * 53 % 256), (0, 0, 16, 16))
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


def wav(seconds: float = 0.5, pitch: float = 440.0) -> bytes:
    """Return a short sound."""
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        samples = (int(9000 * math.sin(2 * math.pi * pitch * n / 8000)) for n in range(int(8000 * seconds)))
        sound.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return out.getvalue()


def mp3(seconds: float = 1.0) -> bytes:
    """Return a short MP3 stream, which does not say how long it is."""
    import lameenc

    encoder = lameenc.Encoder()
    encoder.set_bit_rate(64)
    encoder.set_in_sample_rate(44100)
    encoder.set_channels(1)
    encoder.silence()
    sound = b"\x00\x01\x00\x08" * int(22050 * seconds)
    return bytes(encoder.encode(sound) + encoder.flush())


def mp3_with_header(stream: bytes, mark: bytes = b"Xing") -> bytes:
    """Return an MP3 of :func:`mp3` with a first frame that names its frames and bytes, as encoders write it."""
    length = 144_000 * 64 // 44_100  # MPEG 1, layer 3, 64 kbit/s, 44.1 kHz, mono
    frames = len(stream) // length
    header = b"\xff\xfb\x50\xc4" + bytes(17) + mark + struct.pack(">III", 3, frames, len(stream) + length)
    return header.ljust(length, b"\x00") + stream
