"""The ledger's entries outside of S3: what only helps to list doubts can be deleted, and accounts are told apart."""

from __future__ import annotations

from pathlib import Path

from airflow_kie.client.rate_limiter.paid_requests import DatabaseLedgerStore
from airflow_kie.client.rate_limiter.store import Store
from airflow_kie.durable.task_state import TaskStateLedgerStore
from airflow_task import FakeTaskStateStore


def test_one_entry_is_deleted_and_the_others_stay(tmp_path: Path) -> None:
    for store in (
        TaskStateLedgerStore(FakeTaskStateStore()),
        DatabaseLedgerStore(Store(f"sqlite:///{tmp_path}/creates.db")),
    ):
        for key in ("a/1.intent", "a/1.sent"):
            store.create(key, b"{}")
        for key in ("a/1.sent", "a/2.sent", "b/1.sent"):
            store.delete(key)
        assert list(store.list("a/")) == ["a/1.intent"]


def test_accounts_whose_names_differ_in_capitals_alone_have_a_ledger_each(tmp_path: Path) -> None:
    store = DatabaseLedgerStore(Store(f"sqlite:///{tmp_path}/creates.db"))
    for account in ("acme", "Acme"):
        store.create(f"{account}/suno.music/{'0' * 32}/1.intent", b"{}")
    assert list(store.list("acme/")) == [f"acme/suno.music/{'0' * 32}/1.intent"]
