"""Real S3 servers on loopback for tests: rclone over a folder (files one can open) and moto (close to AWS's answers).

>>> with rclone_s3(tmp_path) as s3:
...     s3.client().create_bucket(Bucket="songs")
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unused_ports import unused_port


@dataclass(frozen=True)
class S3Server:
    """Where a server listens and how to log in.

    :param root: folder that the buckets are folders of; None for moto, which keeps them in memory.
    """

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"
    root: Path | None = None

    def client(self, **config: Any) -> Any:
        """Return a boto3 S3 client for it."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(s3={"addressing_style": "path"}, proxies={}, **config),
        )


@contextmanager
def rclone_s3(folder: Path) -> Iterator[S3Server]:
    """Serve a folder over S3 with rclone in a process of its own; its log is ``rclone.log`` beside the folder."""
    root = folder / "s3"
    root.mkdir(parents=True, exist_ok=True)
    port, access, secret = unused_port(), "test-access", "test-secret-key"
    command = [
        str(Path(sys.executable).with_name("rclone")), "serve", "s3", str(root), "--addr", f"127.0.0.1:{port}",
        "--auth-key", f"{access},{secret}", "--dir-cache-time", "1s", "--config", os.devnull,
    ]  # fmt: skip
    with (folder / "rclone.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _await_port(port, process)
            yield S3Server(f"http://127.0.0.1:{port}", access, secret, root=root)
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def moto_s3() -> Iterator[S3Server]:
    """Serve moto's S3, empty, from a thread of this process; moto keeps one set of buckets for the whole process."""
    import logging

    from moto import backends
    from moto.server import ThreadedMotoServer

    services = backends.list_of_moto_modules()
    if not isinstance(services, list):  # it lists a folder for each request, a fourth of what an answer costs
        services = list(services)
        backends.list_of_moto_modules = lambda: services
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        for account in backends.get_backend("s3").values():
            for backend in account.values():
                backend.reset()
        host, port = server.get_host_and_port()
        yield S3Server(f"http://{host}:{port}", "test-access", "test-secret-key")
    finally:
        server.stop()


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    while True:  # as long as it lives: a busy machine may need any number of seconds
        if process.poll() is not None:
            raise RuntimeError(f"rclone ended with {process.returncode}; see rclone.log in the test's folder.")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
