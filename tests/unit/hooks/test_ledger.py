"""Where an account's ledger of paid requests is: in S3, else in the limiter's database, else in the task's state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_connections import aws_connection
from airflow_kie.archive.ledger_store import BucketLedgerStore
from airflow_kie.archive.s3.errors import S3Error
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.rate_limiter import store
from airflow_kie.client.rate_limiter.paid_requests import DatabaseLedgerStore
from airflow_kie.hooks import once_a_day
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.ledger import OpenedLedger, ledger_address, open_ledger
from airflow_kie.operators.suno import KieGenerateMusicOperator
from airflow_task import TaskRun
from kie_simulator.server import SimulatorServer
from ledgers import MemoryLedgerStore
from s3_servers import S3Server, rclone_s3


def opened() -> OpenedLedger:
    return open_ledger(KieHook(), MemoryLedgerStore())


def music_run() -> TaskRun:
    return TaskRun(
        lambda: KieGenerateMusicOperator(task_id="generate", prompt="rain", deferrable=False, poll_interval=0.05)
    )


@pytest.fixture
def several_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tasks run on machines that share no file."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Give an S3 service that ignores conditions."""
    with rclone_s3(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture
def without_conditions(kie: SimulatorServer, rclone: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the bucket be on that service."""
    if not (rclone.root or Path()).joinpath("plain").exists():
        rclone.client().create_bucket(Bucket="plain")
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection(rclone))
    monkeypatch.setenv("AIRFLOW__KIE__BUCKET", "plain")


# --- the address ---


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"bucket": "covers"}, ("covers", "songs/_paid/")),
        ({"bucket": "covers", "prefix": "a/b/"}, ("covers", "a/b/_paid/")),
        ({"bucket": "covers", "prefix": ""}, ("covers", "_paid/")),
        ({"bucket": "covers", "ledger": "s3://money/kie"}, ("money", "kie/")),
        ({"ledger": "s3://money"}, ("money", "")),
        ({"ledger": "s3://money/a/b/"}, ("money", "a/b/")),
        ({}, ("", "songs/_paid/")),
    ],
)
def test_the_ledger_is_below_the_archive_unless_a_setting_says_where(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], address: tuple[str, str]
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"AIRFLOW__KIE__{name.upper()}", value)
    assert ledger_address() == address


@pytest.mark.parametrize("wrong", ["money", "https://money/kie", "s3:money", "s3:///kie", "/tmp/kie", "s3://["])
def test_an_address_that_is_none_pays_for_nothing(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__LEDGER", wrong)
    with pytest.raises(KieInvalidRequest, match="is not an address such as s3://bucket/prefix; nothing was sent"):
        music_run().attempt()
    assert not kie.control.ledger("music")


# --- where it is ---


def test_a_bucket_whose_service_honours_conditions_has_it(kie: SimulatorServer, bucket: str) -> None:
    ledger = opened()
    assert isinstance(ledger.ledger.store, BucketLedgerStore)
    assert (ledger.where, ledger.not_covered) == (f"s3://{bucket}/songs/_paid/", "")


def test_another_bucket_than_the_archives_has_it_where_a_setting_says_so(
    kie: SimulatorServer, bucket: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_server.client().create_bucket(Bucket=f"money-{bucket}")
    monkeypatch.setenv("AIRFLOW__KIE__LEDGER", f"s3://money-{bucket}/kie")
    assert (opened().where, opened().not_covered) == (f"s3://money-{bucket}/kie/", "")


def test_without_a_bucket_the_limiters_database_has_it(kie: SimulatorServer) -> None:
    ledger = opened()
    assert isinstance(ledger.ledger.store, DatabaseLedgerStore)
    assert ledger.where.startswith("SQLite file ")
    assert ledger.not_covered == ""


def test_a_service_that_ignores_conditions_leaves_it_to_the_database_and_names_what_is_not_covered(
    without_conditions: None,
) -> None:
    ledger = opened()
    assert isinstance(ledger.ledger.store, DatabaseLedgerStore)
    assert "requests of Airflows that use another database" in ledger.not_covered
    assert "the S3 service of bucket plain does not honour conditional writes" in ledger.not_covered


def test_where_nothing_is_shared_the_task_has_it_and_it_is_said(
    without_conditions: None, several_machines: None
) -> None:
    ledger = opened()
    assert isinstance(ledger.ledger.store, MemoryLedgerStore)
    assert ledger.where == "the task state store"
    assert "requests of other runs" in ledger.not_covered
    assert "does not honour conditional writes, and the limiter's store is a local file" in ledger.not_covered


def test_without_a_bucket_on_several_machines_it_is_said_too(kie: SimulatorServer, several_machines: None) -> None:
    assert "[kie] bucket and [kie] ledger are not set" in opened().not_covered


def test_a_task_says_in_its_log_what_is_not_covered(
    kie: SimulatorServer, several_machines: None, caplog: pytest.LogCaptureFixture
) -> None:
    music_run().attempt()
    assert "Not covered: requests of other runs" in caplog.text


# --- what a service does with conditions ---


def test_a_service_is_asked_once_a_day(kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    honours = BucketLedgerStore.honours_conditions

    def counted(self: BucketLedgerStore, probe: str) -> bool:
        asked.append(probe)
        return honours(self, probe)

    monkeypatch.setattr(BucketLedgerStore, "honours_conditions", counted)
    for _ in range(3):
        monkeypatch.setattr(once_a_day, "_answers", {})  # as in another process
        assert opened().not_covered == ""
    assert len(asked) == 1


def test_a_bucket_that_cannot_be_reached_pays_for_nothing(
    kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__LEDGER", "s3://no-such-bucket/kie")
    with pytest.raises(S3Error):
        music_run().attempt()
    assert not kie.control.ledger("music")


def test_a_limiters_store_that_is_missing_stops_nobody_whose_ledger_is_in_a_bucket(
    kie: SimulatorServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a cap on spending the limiter's database may be away: what is paid is known in S3."""
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(store, "default_store", lambda: f"sqlite:///{tmp_path}/file/kie.db")
    made = music_run().attempt()
    assert [charge["task_id"] for charge in kie.control.ledger("music")] == [made]


def test_a_database_that_is_missing_pays_for_nothing_where_it_has_the_ledger(
    kie: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(store, "default_store", lambda: f"sqlite:///{tmp_path}/file/kie.db")
    with pytest.raises(Exception, match=r"kie\.db"):
        music_run().attempt()
    assert not kie.control.ledger("music")


# --- what is asked of S3 ---


@pytest.mark.parametrize("recorded", [False, True], ids=["the ledger alone", "recorded until it is archived"])
def test_a_create_that_costs_credits_asks_s3_for_the_ledgers_writes_and_for_one_that_says_that_it_is_not_archived(
    kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    from airflow_kie.hooks import archive

    opened()  # the service is asked once a day what it does with conditions
    sent: list[str] = []
    clients: list[Any] = []
    real = archive.open_bucket

    def watched(*arguments: Any) -> Any:
        made = real(*arguments)
        if made.client not in clients:  # one serves several buckets
            clients.append(made.client)
            made.client.meta.events.register("request-created.s3", lambda request, **_: sent.append(name_of(request)))
        return made

    monkeypatch.setattr(archive, "open_bucket", watched)
    monkeypatch.setenv("AIRFLOW__KIE__RECORD_UNARCHIVED", str(recorded))
    made = music_run().attempt()
    unarchived = [f"PUT {made}.json"] if recorded else []
    assert sent == ["PUT 1.intent", "PUT 1.sent", f"PUT 1.task.{made}", *unarchived, "DELETE 1.sent"]


def name_of(request: Any) -> str:
    return f"{request.method} {request.url.partition('?')[0].rpartition('/')[2]}"
