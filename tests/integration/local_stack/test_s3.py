"""The stack's S3 server: what it honours, where it listens, what it keeps and what it leaves behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from subprocess import Popen

import psutil  # type: ignore[import-untyped]
import pytest
from botocore.exceptions import ClientError

from local_stack.bucket import BucketPath, s3_client
from local_stack.environment import base_environment
from local_stack.ports import ReservedPort
from local_stack.processes import start
from local_stack.s3 import PORTS, remove_sockets, s3_part
from local_stack.secret_keys import keep_secrets
from local_stack.settings import StackSettings
from stored_times import set_modified_at


class Server:
    """The S3 part of a stack, without the rest of it."""

    def __init__(self, home: Path) -> None:
        self.settings = StackSettings(home)
        self.ports = [ReservedPort() for _ in range(PORTS)]
        self.start()

    def start(self) -> None:
        """Start it and wait until it is up."""
        secrets = keep_secrets(self.settings.home)
        base = base_environment("test", os.environ)
        self.part = s3_part(self.settings, base, secrets, [port.number for port in self.ports])
        log = self.settings.home / "s3.log"
        command, home = self.part.command(None), self.settings.home
        self.process: Popen[bytes] = start(command, cwd=home, log=log, environment=self.part.environment)
        assert self.part.address
        while not (url := self.part.address("")):
            assert self.process.poll() is None, log.read_text()
            time.sleep(0.05)
        self.bucket = BucketPath(s3_client(url, secrets), "kie-covers")

    def kill(self) -> None:
        """Kill it as a crash would, and as a stack does whose patience is over."""
        self.process.kill()
        self.process.wait()


@contextmanager
def served(home: Path) -> Iterator[Server]:
    """Serve until the end."""
    server = Server(home)
    try:
        server.bucket.make_bucket()
        yield server
    finally:
        server.kill()
        remove_sockets(server.settings)
        for port in server.ports:
            port.release()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that a test may kill, and starts again."""
    with served(tmp_path_factory.mktemp("s3")) as running:
        yield running


def refused(call: Callable[[], object]) -> str:
    """Return the code with which S3 refuses a call."""
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def test_every_condition_of_a_write_is_honoured(server: Server) -> None:
    client, where = server.bucket.client, {"Bucket": server.bucket.bucket, "Key": "a/b.json"}
    first = client.put_object(**where, Body=b"1", IfNoneMatch="*")["ETag"]
    assert refused(lambda: client.put_object(**where, Body=b"2", IfNoneMatch="*")) == "PreconditionFailed"
    second = client.put_object(**where, Body=b"2", IfMatch=first)["ETag"]
    assert refused(lambda: client.put_object(**where, Body=b"3", IfMatch=first)) == "PreconditionFailed"
    assert refused(lambda: client.delete_object(**where, IfMatch=first)) == "PreconditionFailed"
    assert (server.bucket / "a" / "b.json").read_bytes() == b"2"
    client.delete_object(**where, IfMatch=second)
    assert not (server.bucket / "a" / "b.json").exists()


def test_of_many_that_create_one_object_at_once_one_succeeds(server: Server) -> None:
    def create(number: int) -> bool:
        try:
            server.bucket.client.put_object(
                Bucket=server.bucket.bucket, Key=f"race/{number % 10}", Body=str(number).encode(), IfNoneMatch="*"
            )
        except ClientError as error:
            assert error.response["Error"]["Code"] == "PreconditionFailed"
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(create, range(100))) == 10


def test_what_is_not_there_is_not_there(server: Server) -> None:
    other = BucketPath(server.bucket.client, "another-bucket")
    assert not (other / "x").exists()
    assert list(other.iterdir()) == []
    assert refused(lambda: (other / "x").write_text("x")) == "NoSuchBucket"
    with pytest.raises(FileNotFoundError):
        (server.bucket / "nothing").read_bytes()


def test_a_folder_lists_what_is_in_it(server: Server) -> None:
    for key in ("list/one.txt", "list/{{ two }}.txt", "list/deep/three.txt"):
        (server.bucket / key).write_text(key)
    folder = server.bucket / "list"
    assert {path.name for path in folder.iterdir()} == {"one.txt", "{{ two }}.txt", "deep"}
    assert {path.read_text() for path in folder.objects()} == {path.key for path in folder.objects()}
    assert len(list(folder.objects())) == 3


def test_an_object_can_be_given_another_time(server: Server) -> None:
    path, then = server.bucket / "songs" / "_pending" / "abc.json", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    path.write_text("é" * 300)
    set_modified_at(server.settings, path, then)
    listed = server.bucket.client.list_objects_v2(Bucket=server.bucket.bucket, Prefix=path.key)["Contents"]
    assert [found["LastModified"] for found in listed] == [then]
    assert path.read_text() == "é" * 300


def test_without_the_stacks_keys_nothing_is_served(server: Server) -> None:
    url = server.bucket.client.meta.endpoint_url
    for access, secret, code in (
        (keep_secrets(server.settings.home).s3_access_key, "wrong", "SignatureDoesNotMatch"),
        ("somebody", "wrong", "InvalidAccessKeyId"),
    ):
        stranger = s3_client(url, type("Keys", (), {"s3_access_key": access, "s3_secret_key": secret})())
        assert refused(lambda stranger=stranger: stranger.list_buckets()) == code  # type: ignore[misc]


def test_it_listens_on_its_own_ports_of_this_machine_alone(server: Server) -> None:
    found = psutil.Process(server.process.pid).net_connections("tcp")
    listening = {connection.laddr for connection in found if connection.status == psutil.CONN_LISTEN}
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert {address.port for address in listening} <= {port.number for port in server.ports}


def test_two_run_side_by_side(server: Server, tmp_path: Path) -> None:
    with served(tmp_path) as other:
        (other.bucket / "x").write_text("theirs")
        assert not (server.bucket / "x").exists()


def test_after_a_kill_everything_is_served_again_within_seconds(server: Server) -> None:
    written = [server.bucket / "kept" / str(number) for number in range(50)]
    for path in written:
        path.write_text(path.key)
    for other_ports in (False, True):  # the same ones when a part comes back, others at the next start of the stack
        server.kill()
        if other_ports:
            remove_sockets(server.settings)
            for port in server.ports:
                port.release()
            server.ports = [ReservedPort() for _ in range(PORTS)]
        began = time.monotonic()
        server.start()
        assert [(server.bucket / path.key).read_text() for path in written] == [path.key for path in written]
        assert time.monotonic() - began < 100  # it takes 3 s, and on a busy machine ten times as long


def test_a_killed_server_leaves_no_socket_behind(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        numbers = [port.number for port in server.ports]
    left = [path for number in numbers for path in Path("/tmp").glob(f"seaweedfs*{number}*")]
    assert left == []


def test_what_is_stored_takes_little_more_than_its_size(server: Server) -> None:
    files = [path for path in server.settings.s3_dir.rglob("*") if path.is_file()]
    assert sum(path.stat().st_blocks * 512 for path in files) < 20_000_000
