"""The ledger of paid requests in real S3 services: of many that create an object exactly one succeeds."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from airflow_kie.archive.ledger_store import BucketLedgerStore
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.lifecycle.claims import AlreadyMade, BeingSent, Claimed, Intent, RequestId
from airflow_kie.lifecycle.ledger import Ledger
from s3_servers import S3Server, moto_s3

SONG = RequestId("studio eins/ä", "suno.music", "a" * 32)
NOW = 1_776_862_600.0


def store_in(server: S3Server, **config: Any) -> BucketLedgerStore:
    bucket = Bucket(server.client(**config), f"ledger-{uuid.uuid4().hex[:12]}")
    bucket.create_on_loopback()
    return BucketLedgerStore(bucket, "songs/_paid/")


@pytest.fixture(scope="module")
def moto() -> Iterator[S3Server]:
    """Give a service that honours conditional writes."""
    with moto_s3() as server:
        yield server


@contextmanager
def requests_to(store: BucketLedgerStore) -> Iterator[list[str]]:
    """Give the requests that are sent to S3, as they are sent."""
    sent: list[str] = []

    def note(request: Any, operation_name: str, **_: Any) -> None:
        condition = request.headers.get("If-None-Match")
        name = request.url.partition("?")[0].rpartition("/")[2]
        sent.append(f"{operation_name} {name}{' if there is none' if condition else ''}")

    events = store.bucket.client.meta.events
    events.register("request-created.s3", note)
    try:
        yield sent
    finally:
        events.unregister("request-created.s3", note)


def test_what_a_service_does_with_conditions_is_found_out(s3: S3Server) -> None:
    store = store_in(s3)
    assert store.honours_conditions("_probe") is (s3.root is None)  # moto does, rclone ignores them
    assert list(store.list("")) == []


def test_a_probe_of_another_process_changes_nothing(moto: S3Server) -> None:
    store = store_in(moto)
    with ThreadPoolExecutor(8) as workers:
        found = list(workers.map(lambda number: store.honours_conditions(f"_probe-{number}"), range(8)))
    assert found == [True] * 8


def test_a_repeated_request_does_not_make_a_service_one_that_ignores_conditions(moto: S3Server) -> None:
    """The ledger would be kept elsewhere for a day, where nothing of what was paid before is known."""
    store = store_in(moto)
    store.create("_probe", b"{}")  # what the client has sent before its answer was lost
    assert store.honours_conditions("_probe")


def test_an_object_is_created_once_and_never_changed(moto: S3Server) -> None:
    store = store_in(moto)
    assert store.create("a/1.intent", b'{"at": 1}')
    assert not store.create("a/1.intent", b'{"at": 2}')
    assert store.read("a/1.intent") == b'{"at": 1}'
    assert store.read("a/2.intent") is None
    assert list(store.list("a/")) == ["a/1.intent"]
    assert list(store.list("b/")) == []


def test_one_of_many_that_create_an_object_succeeds(moto: S3Server) -> None:
    store = store_in(moto, max_pool_connections=16)
    start = threading.Barrier(16)

    def create(number: int) -> bool:
        start.wait(60)
        return store.create("a/1.intent", str(number).encode())

    with ThreadPoolExecutor(16) as workers:
        created = list(workers.map(create, range(16)))
    assert created.count(True) == 1
    assert store.read("a/1.intent") == str(created.index(True)).encode()


def test_one_of_many_that_claim_a_request_may_send_it(moto: S3Server) -> None:
    store = store_in(moto, max_pool_connections=16)
    start = threading.Barrier(16)

    def claim(_: int) -> Any:
        ledger = Ledger(store)
        start.wait(60)
        return ledger.claim(SONG, Intent.made_at(ledger.clock()))

    with ThreadPoolExecutor(16) as workers:
        claims = list(workers.map(claim, range(16)))
    assert sum(isinstance(one, Claimed) for one in claims) == 1
    assert sum(isinstance(one, BeingSent) for one in claims) == 15


def test_a_create_takes_two_writes_and_no_read(moto: S3Server) -> None:
    store = store_in(moto)
    ledger = Ledger(store, lambda: NOW)
    with requests_to(store) as sent:
        claim = ledger.claim(SONG, Intent.made_at(NOW))
        assert isinstance(claim, Claimed)
        ledger.record_task(SONG, claim.number, "t-1")
    assert sent == ["PutObject 1.intent if there is none", "PutObject 1.task.t-1 if there is none"]


def test_whoever_comes_later_lists_once_and_reads_whose_it_was(moto: S3Server) -> None:
    store = store_in(moto)
    ledger = Ledger(store, lambda: NOW)
    ledger.claim(SONG, Intent.made_at(NOW, owner={"run": "monday"}))
    ledger.record_task(SONG, 1, "t-1")
    with requests_to(store) as sent:
        assert ledger.claim(SONG, Intent.made_at(NOW)) == AlreadyMade(1, "t-1", {"run": "monday"})
    assert [request.partition(" ")[0] for request in sent] == ["PutObject", "ListObjectsV2", "GetObject"]


@pytest.mark.parametrize("task_id", ["a/b", "a b", "ä", "a+b", "veo_task_ab12", "a" * 200])
def test_every_id_and_account_comes_back_as_it_was(moto: S3Server, task_id: str) -> None:
    store = store_in(moto)
    ledger = Ledger(store, lambda: NOW)
    ledger.claim(SONG, Intent.made_at(NOW))
    ledger.record_task(SONG, 1, task_id)
    assert ledger.find(SONG) == AlreadyMade(1, task_id, {})


def test_more_attempts_than_a_page_of_a_listing_are_all_seen(moto: S3Server) -> None:
    store = store_in(moto)
    keys = [f"{SONG.folder}{number}.{word}" for number in range(1, 502) for word in ("intent", "refused")]
    with ThreadPoolExecutor(16) as workers:
        list(workers.map(lambda key: store.create(key, b"{}"), keys))
    ledger = Ledger(store, lambda: NOW)
    claim = ledger.claim(SONG, Intent.made_at(NOW))
    assert isinstance(claim, Claimed)
    assert claim.number == 502


def test_an_entry_of_somebody_elses_that_is_too_large_is_in_doubt(moto: S3Server) -> None:
    store = store_in(moto)
    store.bucket.client.put_object(
        Bucket=store.bucket.name, Key=f"{store.prefix}{SONG.folder}1.intent", Body=b" " * 2_000_000
    )
    found = Ledger(store, lambda: NOW).find(SONG)
    assert type(found).__name__ == "InDoubt"


class Refusing:
    """A client of a service that refuses conditions instead of honouring or ignoring them."""

    def __init__(self, client: Any, status: int, code: str) -> None:
        self._client, self._status, self._code = client, status, code

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_object(self, **arguments: Any) -> Any:
        from botocore.exceptions import ClientError

        if "IfNoneMatch" in arguments:
            said = {"Error": {"Code": self._code}, "ResponseMetadata": {"HTTPStatusCode": self._status}}
            raise ClientError(said, "PutObject")
        return self._client.put_object(**arguments)


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (400, "InvalidArgument")])
def test_a_service_that_refuses_conditions_honours_none(moto: S3Server, status: int, code: str) -> None:
    store = store_in(moto)
    refusing = BucketLedgerStore(Bucket(Refusing(store.bucket.client, status, code), store.bucket.name), store.prefix)
    assert refusing.honours_conditions("_probe") is False


def test_a_bucket_that_may_not_be_written_is_an_error_and_no_answer(moto: S3Server) -> None:
    from airflow_kie.archive.s3.errors import S3Error

    store = store_in(moto)
    refusing = BucketLedgerStore(Bucket(Refusing(store.bucket.client, 403, "AccessDenied"), store.bucket.name), "")
    with pytest.raises(S3Error):
        refusing.honours_conditions("_probe")
