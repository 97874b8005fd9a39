"""An object of the inbox that is replaced while it is read: what moves away is the version that was read, no other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_connections import aws_connection, kie_connection
from airflow_kie.archive.inbox.bucket import InboxBucket
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.s3.bucket import Bucket
from airflow_task import StoredFiles
from inbox_dag import InboxDag
from kie_simulator.server import SimulatorServer
from s3_servers import S3Server

A, B, C = "a" * 32, "b" * 32, "c" * 32
KEY = "inbox/songs.json"


@pytest.fixture
def archive(s3: S3Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoredFiles]:
    """Give an empty bucket on each kind of S3 server, which the inbox is in."""
    name = f"inbox-{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    s3.client().create_bucket(Bucket=name)
    monkeypatch.setenv("AIRFLOW__KIE__BUCKET", name)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection(s3))
    with SimulatorServer() as kie:
        monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie))
        yield StoredFiles(s3.client(), name)


@pytest.fixture
def after_first(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], None]], None]:
    """Give a way to do something right after the first request of a kind about the inbox object."""

    def arrange(operation: str, do: Callable[[], None]) -> None:
        from botocore.client import BaseClient

        call, done = BaseClient._make_api_call, []

        def watched(client: Any, name: str, arguments: dict[str, Any]) -> Any:
            answer = call(client, name, arguments)
            about = f"{arguments.get('Key')} {arguments.get('CopySource')}"
            if name == operation and KEY in about and not done:
                done.append(True)
                do()
            return answer

        monkeypatch.setattr(BaseClient, "_make_api_call", watched)

    return arrange


def body(*songs: str) -> bytes:
    return json.dumps(list(songs)).encode()


def started(dag: InboxDag, archive: StoredFiles) -> set[str]:
    """Return the songs that have been started: by an event, or by a run that refers to them."""
    orders = [archive.json(f"songs/_inbox/{conf['inbox_order']}.json") for conf in dag.runs.values()]
    return {*dag.events, *(song["music_task_id"] for order in orders for song in order["songs"])}


@pytest.mark.parametrize("second", [body(C), body(B, C), body(A, B)], ids=["one song", "two songs", "the same"])
@pytest.mark.parametrize("moment", ["GetObject", "HeadObject", "CopyObject"])
def test_the_songs_of_an_object_that_is_replaced_at_any_moment_are_all_started(
    archive: StoredFiles, after_first: Callable[[str, Callable[[], None]], None], moment: str, second: bytes
) -> None:
    archive.put(KEY, body(A, B))
    after_first(moment, lambda: archive.put(KEY, second))
    dag = InboxDag()
    for _ in range(3):
        states = dag.run()
        assert "failed" not in states.values(), dag.errors
    assert started(dag, archive) == {A, B, *json.loads(second)}
    assert KEY not in archive.listed()
    assert archive.body("inbox/done/songs.json") == second


def test_a_good_object_that_replaces_a_bad_one_while_that_is_rejected_is_taken(
    archive: StoredFiles, after_first: Callable[[str, Callable[[], None]], None]
) -> None:
    archive.put(KEY, b"{")
    after_first("GetObject", lambda: archive.put(KEY, body(A)))
    dag = InboxDag()
    dag.run()
    assert archive.body(KEY) == body(A)
    dag.run()
    assert dag.events == [A]


def test_an_object_that_is_taken_back_while_it_is_read_stays_away(
    archive: StoredFiles, after_first: Callable[[str, Callable[[], None]], None]
) -> None:
    archive.put(KEY, body(A, B))
    after_first("GetObject", lambda: archive.client.delete_object(Bucket=archive.bucket, Key=KEY))
    dag = InboxDag()
    assert "failed" not in dag.run().values(), dag.errors
    assert not [key for key in archive.listed() if key.startswith("inbox/")]


def test_what_is_done_is_not_listed_again(archive: StoredFiles) -> None:
    listed: list[str] = []
    client = archive.client
    client.meta.events.register(
        "before-parameter-build.s3.ListObjectsV2", lambda params, **_: listed.append(params["Prefix"])
    )
    for number in range(30):
        archive.put(f"inbox/done/{number}.json")
        archive.put(f"inbox/rejected/{number}.json")
    archive.put("inbox/a folder/one.json")
    archive.put("inbox/two.json")
    inbox = InboxBucket(Bucket(client, archive.bucket), ArchiveKeys("songs"))
    assert {facts.key for facts in inbox.waiting()} == {"inbox/a folder/one.json", "inbox/two.json"}
    assert set(listed) == {"inbox/", "inbox/a folder/"}
