"""`airflow kie spend`: a month of the ledger, compared with KIE's balance."""

from __future__ import annotations

import csv
import io
import json
import os
import uuid
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airflow_connections import kie_connection
from airflow_kie.cli.spend import compare, spend
from airflow_kie.client.errors import KieContentRejected, KieCreateInDoubt
from airflow_kie.hooks import sending
from airflow_kie.hooks.chat import KieChatFailed, KieChatHook
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.ledger import Ledger, LedgerStore
from airflow_kie.lifecycle.spent import Spent, by_group, spent, total
from airflow_kie.operators.call import KieCallOperator
from airflow_kie.operators.task import KieTaskOperator
from airflow_task import TaskRun
from kie_simulator.server import SimulatorServer

SONG = {"prompt": "rain", "customMode": False, "instrumental": False, "model": "V5"}
FILM = {"model": "veo-3-1", "input": {"prompt": "a fox"}}  # 30 to 250 credits: KIE's page has no tier
Told = Callable[..., str]


@pytest.fixture
def told(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    """Give what the command says of an account that nobody else uses."""
    extra = {"rate_limit": 1000, "account": f"spends {uuid.uuid4().hex}"}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra=extra))
    kie.control.set(task_seconds=0)
    kie.control.set_credits(1000)

    def command(**options: Any) -> str:
        arguments = {"month": None, "by": "operation", "csv": False, "kie_conn_id": None} | options
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            spend(Namespace(**arguments))
        assert ended.value.code == 0
        return capsys.readouterr().out

    return command


def make(operation: str, request: dict[str, Any] | None, **options: Any) -> None:
    arguments: dict[str, Any] = {"poll_interval": 0.05, "deferrable": False} | options
    TaskRun(lambda: KieTaskOperator(task_id="make", operation=operation, request=request, **arguments)).attempt()


def test_the_ledger_adds_up_to_kies_balance_and_what_others_spent_is_a_line_of_its_own(
    kie: SimulatorServer, told: Told
) -> None:
    make("suno.music", {**SONG, "prompt": "snow"})
    make("market", FILM)
    out = told()
    charged = sum(charge["credits"] for charge in kie.control.ledger())
    assert charged == 72
    assert "  suno.music: 12 credits used, 12 quoted, 1 task" in out
    assert "  market: 60 credits used, 30 to 250 quoted, 1 task" in out
    assert "  all: 72 credits used, 42 to 262 quoted, 2 tasks" in out
    assert "KIE's balance: 1000 at " in out
    assert "not explained by the ledger: 0 (" in out
    kie.control.set_credits(1000 - charged - 40)
    assert "not explained by the ledger: 40 (" in told()


def test_csv_has_a_row_for_each_dag_the_sum_and_the_rest(kie: SimulatorServer, told: Told) -> None:
    make("suno.music", SONG)
    rows = list(csv.DictReader(io.StringIO(told(by="dag", csv=True))))
    assert [row["dag"] for row in rows] == ["music_cover", "(all)", "(not explained)"]
    assert [row["used"] for row in rows] == ["12", "12", "0"]
    assert told(month="2020-02", csv=True).splitlines()[1] == "(all),0,0,0,0,0,kie_default"


def test_a_request_in_doubt_counts_as_not_known_and_a_failed_one_as_nothing(kie: SimulatorServer, told: Told) -> None:
    kie.control.add_fault("create", "reset_after", kind="music", times=1)
    with pytest.raises(KieCreateInDoubt):
        make("suno.music", SONG)
    kie.control.add_fault("task", "fail", kind="music", times=1)
    make("suno.music", {**SONG, "prompt": "hail"})
    out = told()
    assert "  suno.music: 12 credits used, 36 quoted, 3 tasks, unknown for 1" in out


def test_a_song_that_kie_rejects_after_it_was_sent_has_used_nothing(kie: SimulatorServer, told: Told) -> None:
    kie.control.add_fault("task", "fail", kind="music", state="SENSITIVE_WORD_ERROR", times=1)
    with pytest.raises(KieContentRejected):
        make("suno.music", SONG)
    assert "  suno.music: 0 credits used, 12 quoted, 1 task" in told()


def test_a_month_that_is_over_is_compared_between_the_balances_that_its_requests_name() -> None:
    month = [Spent("a", at=at, used=12.0, balance=balance) for at, balance in ((1.0, 100.0), (2.0, None), (3.0, 70.0))]
    compared = compare(month, None)
    assert compared is not None
    assert (compared.before, compared.after, compared.used, compared.unexplained) == (100.0, 70.0, 24.0, 6.0)
    assert compare(month[1:2], None) is None


@dataclass
class Dated:
    """A store that says how old its objects are, and counts what is read."""

    bodies: dict[str, tuple[float, bytes]] = field(default_factory=dict)
    reads: int = 0

    def list_dated(self, prefix: str) -> list[tuple[str, float]]:
        return [(key, at) for key, (at, _) in self.bodies.items() if key.startswith(prefix)]

    def read(self, key: str) -> bytes | None:
        self.reads += 1
        return self.bodies[key][1] if key in self.bodies else None


def test_of_a_long_ledger_only_the_requests_of_the_month_are_read() -> None:
    store, day = Dated(), 24 * 3600.0
    for number in range(1000):
        folder, at = f"me/suno.music/{number:032x}", number * day
        store.bodies[f"{folder}/1.intent"] = (
            at + 5,
            json.dumps({"at": at, "not_after": at, "quoted": [3, 3]}).encode(),
        )
        store.bodies[f"{folder}/1.task.x"] = (at + 9, b"{}")
    store.bodies[f"me/suno.music/{500:032x}/1.used"] = (900 * day, b'{"credits": 2}')
    found = spent(Ledger(cast("LedgerStore", store)), "me", 490 * day, 520 * day)
    assert [one.at / day for one in found] == list(range(490, 520))
    assert total(found).used == 29 * 3 + 2
    assert store.reads <= 33 + 1


def test_a_ledger_in_a_database_is_read_in_few_transactions(kie: SimulatorServer, told: Told) -> None:
    store = KieHook().ledger_database()[0]
    keys = [f"them/suno.music/{number:032x}/1.intent" for number in range(3)]
    for key in keys:
        store.create(key, key.encode())
    assert store.read_many([*keys, "none"]) == {key: key.encode() for key in keys}


def test_the_user_who_has_started_a_run_is_known(
    kie: SimulatorServer, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = SimpleNamespace(triggering_user_name="ada")
    monkeypatch.setattr(sending, "get_current_context", lambda: {"dag_run": run})
    make("suno.music", SONG)
    assert "  ada: 12 credits used, 12 quoted, 1 task" in told(by="user")


def test_labels_of_a_request_and_of_a_list_are_in_the_ledger(kie: SimulatorServer, told: Told) -> None:
    make("suno.music", SONG, labels={"film": "The\nFox"})
    make("suno.music", None, requests=[{**SONG, "prompt": "hail"}], labels={"film": "The Fox"})
    out = told(by="label")
    assert "  film=The Fox: 24 credits used, 24 quoted, 2 tasks" in out


def test_what_kie_answers_at_once_is_counted_with_and_without_a_task_of_airflow(
    kie: SimulatorServer, told: Told
) -> None:
    TaskRun(lambda: KieCallOperator(task_id="boost", operation="style", request={"content": "rain"})).attempt()
    KieHook().call("style", {"content": "rain"})
    paid = sum(charge["credits"] for charge in kie.control.ledger())
    assert paid > 0
    out = told()
    assert f"  style: {paid:g} credits used, {paid:g} quoted, 2 tasks" in out
    assert "not explained by the ledger: 0 (" in out


def chat(prompt: str) -> Any:
    agent = KieChatHook("kie_chat", "claude-haiku-4-5").create_agent(instructions="Be short.")
    return agent.run_sync(prompt, model_settings={"max_tokens": 100}).output


@pytest.mark.usefixtures("chat")
def test_what_chat_models_are_asked_is_counted_and_a_lost_answer_is_not_known(kie: SimulatorServer, told: Told) -> None:
    chat("one")
    chat("two")
    used = sum(charge["credits"] for charge in kie.control.ledger("chat"))
    kie.control.add_fault("chat", "reset_after")
    with pytest.raises(KieChatFailed):
        chat("three")
    kie.control.add_fault("chat", "code", code=422)  # it costs nothing, and is not counted
    with pytest.raises(KieChatFailed):
        chat("four")
    (line,) = [line for line in told().splitlines() if line.startswith("  chat: ")]
    assert line.startswith(f"  chat: {used:g} credits used, 0 to ")
    assert line.endswith(", 3 tasks, unknown for 1")


@pytest.mark.usefixtures("chat")
def test_a_chat_model_answers_where_the_ledger_cannot_be_written(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__LEDGER", "gs://no-such-service/paid")
    assert chat("one").startswith("The simulated claude-haiku-4-5")
    assert "`airflow kie spend` does not include it" in caplog.text


def test_labels_and_users_are_counted_each() -> None:
    asked = [Spent("a", 1.0, {"user": "ada"}, {"film": "x", "unit": "2"}, used=3.0), Spent("a", 2.0, used=1.0)]
    assert {name: one.used for name, one in by_group(asked, "label").items()} == {
        "film=x": 3.0,
        "unit=2": 3.0,
        "(no label)": 1.0,
    }
    assert {name: one.used for name, one in by_group(asked, "user").items()} == {"ada": 3.0, "(no user)": 1.0}


def test_two_connections_of_one_account_count_once_and_a_table_names_the_connection(
    kie: SimulatorServer, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("suno.music", SONG)
    monkeypatch.setenv("AIRFLOW_CONN_SECOND_KEY", os.environ["AIRFLOW_CONN_KIE_DEFAULT"])
    monkeypatch.setenv("AIRFLOW_CONN_ANOTHER", kie_connection(kie, extra={"account": f"other {uuid.uuid4().hex}"}))
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_default, second_key, another")
    rows = list(csv.DictReader(io.StringIO(told(csv=True))))
    sums = [(row["connection"], row["used"]) for row in rows if row["operation"] == "(all)"]
    assert sums == [("kie_default", "12"), ("another", "0")]
    assert [line for line in told().splitlines() if line.startswith("Conn")] == [
        "Connection kie_default:",
        "Connection another:",
    ]


def test_a_kie_that_is_down_hides_nothing_of_the_ledger(
    kie: SimulatorServer, told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    make("suno.music", SONG)
    kie.control.add_fault("credit", "http", http=503, times=50)
    with pytest.raises(SystemExit) as ended:
        spend(Namespace(month=None, by="operation", csv=False, kie_conn_id=None))
    said = capsys.readouterr()
    assert (ended.value.code, "  suno.music: 12 credits used" in said.out) == (1, True)
    assert "Connection kie_default: the balance could not be read. " in said.err
