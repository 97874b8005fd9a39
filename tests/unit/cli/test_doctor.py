"""`airflow kie doctor`: each check says what it saw, and the exit code says whether something has failed."""

from __future__ import annotations

import json
import re
import uuid
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from airflow_connections import kie_connection
from airflow_database import dag, make_tables, pool, run, scheduled, stored, triggerer
from airflow_kie.cli.doctor import account_findings
from airflow_kie.cli.doctor import doctor as command
from airflow_kie.hooks import archive
from airflow_kie.hooks.archive import open_bucket
from airflow_kie.hooks.kie import KieHook
from airflow_kie.monitoring.checks.account import api_findings, clock_finding, key_findings, limiter_findings
from airflow_kie.monitoring.checks.installation import bucket_findings, dag_findings, pool_findings, triggerer_findings
from answering_server import serving
from doctor_findings import SECRET, account, connect, looked_at
from kie_simulator.server import SimulatorServer
from unused_ports import unused_port


@dataclass(frozen=True)
class Doctor:
    """Runs the command in this process."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, **options: Any) -> tuple[Any, str]:
        """Return the exit code and what was printed."""
        arguments = Namespace(**{"kie_conn_id": None, "redacted": False, "json": False} | options)
        with pytest.raises(SystemExit) as ended:
            command(arguments)
        return ended.value.code, self.capsys.readouterr().out


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands change how this process looks connections up, for one test."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")


@pytest.fixture
def doctor(kie: SimulatorServer, bucket: str, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(capsys)


@pytest.fixture(autouse=True, scope="module")
def tables() -> None:
    make_tables()


@pytest.fixture
def around() -> Iterator[None]:
    """A triggerer that lives and the three DAGs."""
    with stored(triggerer(), dag("music_cover"), dag("cover_inbox"), dag("music_generate")):
        yield


@pytest.mark.usefixtures("around")
def test_where_all_is_in_order_every_line_is_ok_and_so_is_the_exit_code(doctor: Doctor) -> None:
    code, text = doctor(json=True)
    told = json.loads(text)
    assert {row["check"]: row["level"] for row in told["checks"]} == dict.fromkeys(
        [
            "key",
            "credits",
            "clock",
            "limiter",
            "api",
            "ledger",
            "spending",
            "callbacks",
            "bucket",
            "inbox",
            "pool",
            "triggerer",
            "DAG",
        ],
        "ok",
    )
    assert (code, told["ok"]) == (0, True)
    assert set(told["versions"]) == {"airflow", "provider", "python", "executor", "system"}


def test_a_person_reads_one_line_for_each_check_of_every_allowed_connection(
    doctor: Doctor, kie: SimulatorServer, monkeypatch: Any
) -> None:
    connect(monkeypatch, kie, "kie_label_b")
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_default,kie_label_b")
    code, text = doctor()
    first, *lines = text.splitlines()
    assert first.startswith("airflow 3.")
    assert lines[0] == "ok    key           [kie_default] KIE accepts the API key."
    assert "ok    key           [kie_label_b] KIE accepts the API key." in lines
    assert [line[:4] for line in lines if "triggerer  " in line] == ["FAIL"]
    assert code == 1


def test_a_key_that_kie_refuses_is_a_failure(kie: SimulatorServer, monkeypatch: Any) -> None:
    connect(monkeypatch, kie, password="wrong-key")
    looked = account()
    level, seen = looked.line("key")
    assert level == "FAIL"
    assert "KIE refused the API key" in seen
    assert looked.levels | {"key": ""} == {
        "key": "",
        "clock": "ok",
        "limiter": "ok",
        "api": "ok",
        "ledger": "ok",
        "spending": "ok",
        "callbacks": "ok",
    }


def test_it_is_told_in_which_form_kie_is_asked(kie: SimulatorServer, monkeypatch: Any) -> None:
    for api, told in {
        "": "unified API variant; those about a song use the variant that made it",
        "dedicated": "only KIE's dedicated API variant.*KIE documents V6 only for the other variant",
        "unified": "only KIE's unified API variant",
    }.items():
        connect(monkeypatch, kie, extra={"api": api})
        level, seen = looked_at(api_findings, KieHook()).line("api")
        assert level == "ok"
        assert re.search(told, seen)
        assert "No recorded cover of either API variant is public" in seen


def test_no_credits_are_a_failure_and_few_a_warning(kie: SimulatorServer, monkeypatch: Any) -> None:
    kie.control.set_credits(0)
    assert looked_at(key_findings, KieHook()).line("credits")[0] == "FAIL"
    monkeypatch.setenv("AIRFLOW__KIE__CREDITS_ALERT", "100")
    kie.control.set_credits(52)
    assert looked_at(key_findings, KieHook()).line("credits") == (
        "warn", "52 credits are left, fewer than [kie] credits_alert (100). Top up soon."
    )  # fmt: skip


def test_a_kie_that_cannot_be_reached_is_told_and_the_rest_is_still_looked_at(
    kie: SimulatorServer, monkeypatch: Any
) -> None:
    connect(monkeypatch, kie, host=f"http://127.0.0.1:{unused_port()}")
    looked = account()
    assert looked.levels == {
        "key": "FAIL",
        "limiter": "ok",
        "api": "ok",
        "ledger": "ok",
        "spending": "ok",
        "callbacks": "ok",
    }
    assert "KIE could not be reached" in looked.line("key")[1]


def test_a_connection_that_does_not_exist_is_one_failure() -> None:
    looked = looked_at(account_findings, "kie_nowhere")
    assert looked.levels == {"connection": "FAIL"}
    assert "Connection kie_nowhere does not exist" in looked.line("connection")[1]


def test_a_connection_that_stands_in_airflows_database_is_found(doctor: Doctor, kie: SimulatorServer) -> None:
    from airflow.models.connection import Connection

    told = json.loads(kie_connection(kie))
    row = Connection("kie_stored", "kie", host=told["host"], password=told["password"], extra=told["extra"])
    with stored(row):
        _, text = doctor(kie_conn_id="kie_stored")
    assert "ok    key           KIE accepts the API key." in text


@pytest.mark.parametrize(
    ("ahead", "level"), [(0, "ok"), (9, "ok"), (-40, "warn"), (40, "warn"), (-400, "FAIL"), (400, "FAIL")]
)
def test_clocks_that_differ_are_told_by_how_much_and_which_way(ahead: float, level: str) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    found = clock_finding(now, now, format_datetime(now - timedelta(seconds=ahead), usegmt=True))
    assert found.level == level
    if level != "ok":
        assert f"{abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} KIE's" in found.seen


def test_the_clock_is_compared_with_the_date_of_kies_answer(kie: SimulatorServer, monkeypatch: Any) -> None:
    date = format_datetime(datetime.now(UTC) - timedelta(hours=1, seconds=30), usegmt=True)
    answer = f'HTTP/1.1 200 OK\r\nDate: {date}\r\nConnection: close\r\n\r\n{{"code":200,"msg":"","data":7}}'
    with serving(lambda _: answer.encode()) as server:
        connect(monkeypatch, kie, host=server.url)
        level, seen = looked_at(key_findings, KieHook()).line("clock")
    assert level == "FAIL"
    assert re.search(r"is 36[0-9][0-9] s ahead of KIE's", seen)


@pytest.mark.parametrize(("told", "ahead"), [(-15, "15 s ahead of"), (0, "ok"), (29, "ok"), (45, "15 s behind")])
def test_an_answer_that_takes_long_is_no_clock_that_is_wrong(told: int, ahead: str) -> None:
    sent = datetime(2026, 11, 22, 12, tzinfo=UTC)
    date = format_datetime(sent + timedelta(seconds=told), usegmt=True)
    seen = clock_finding(sent, sent + timedelta(seconds=30), date).seen
    assert ("agree" if ahead == "ok" else ahead) in seen


def test_a_file_that_limits_one_machine_is_not_enough_for_an_executor_of_many(
    kie: SimulatorServer, monkeypatch: Any
) -> None:
    assert looked_at(limiter_findings, KieHook()).line("limiter")[0] == "ok"
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    level, seen = looked_at(limiter_findings, KieHook()).line("limiter")
    assert level == "warn"
    assert "limiter_conn_id" in seen


def test_looking_at_the_limiter_counts_nothing(kie: SimulatorServer, monkeypatch: Any) -> None:
    # KIE's own window is over while a machine stands still.
    monkeypatch.setattr("airflow_kie.client.rate_limiter.limiter.SECONDS", 600.0)
    connect(monkeypatch, kie, extra={"rate_limit": 1, "account": f"counted-{uuid.uuid4()}"})  # by no run before this
    looked_at(limiter_findings, KieHook())
    assert KieHook().limiter().take().granted
    assert not KieHook().limiter().take().granted


def test_a_limiter_store_that_is_down_is_a_failure_that_shows_no_password(
    kie: SimulatorServer, monkeypatch: Any
) -> None:
    connect(monkeypatch, kie, extra={"limiter_conn_id": "the_store"})
    monkeypatch.setenv("AIRFLOW_CONN_THE_STORE", f"postgres://u:hidden-pw@127.0.0.1:{unused_port()}/x")
    level, seen = looked_at(limiter_findings, KieHook()).line("limiter")
    assert level == "FAIL"
    assert "hidden-pw" not in seen


@pytest.mark.parametrize(("exists", "level"), [(True, "ok"), (False, "FAIL")])
def test_a_pool_that_does_not_exist_is_named_where_our_tasks_are_scheduled_in_it(exists: bool, level: str) -> None:
    with stored(*([pool("kie_creates")] if exists else []), dag("music_cover"), run(), scheduled("kie_creates")):
        assert looked_at(pool_findings).line("pool")[0] == level


def test_a_paused_dag_is_a_warning_that_says_what_is_lost() -> None:
    with stored(dag("music_cover", paused=True), dag("cover_inbox"), dag("kie_ops", paused=True)):
        told = looked_at(dag_findings).lines("DAG")
    assert [level for level, _ in told] == ["warn", "ok", "warn", "ok"]
    assert "Airflow drops events for a paused DAG" in told[0][1]
    assert "Nobody is notified of outages" in told[2][1]


def test_a_triggerer_without_a_fresh_sign_of_life_counts_as_none() -> None:
    old = triggerer()
    old.latest_heartbeat = datetime.now(UTC) - timedelta(minutes=10)
    with stored(old):
        assert looked_at(triggerer_findings).levels == {"triggerer": "FAIL"}


def test_no_bucket_is_a_warning_and_one_that_cannot_be_written_a_failure(
    bucket: str, archive: Any, monkeypatch: Any
) -> None:
    assert looked_at(bucket_findings).line("bucket")[0] == "ok"
    assert archive.listed() == [], "the bucket is left as it was"
    monkeypatch.setenv("AIRFLOW__KIE__PREFIX", "a/../b")
    assert looked_at(bucket_findings).line("bucket")[0] == "FAIL"
    monkeypatch.setenv("AIRFLOW__KIE__BUCKET", "")
    assert looked_at(bucket_findings).line("bucket")[0] == "warn"


@pytest.mark.parametrize(("operation", "action"), [("GetObject", "GetObject"), ("ListObjectsV2", "ListBucket")])
def test_a_bucket_that_can_be_written_and_not_read_is_a_failure(
    bucket: str, monkeypatch: Any, operation: str, action: str
) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, operation)

    opened = open_bucket("aws_default", bucket)
    opened.client.meta.events.register(f"before-call.s3.{operation}", refuse)
    monkeypatch.setattr(archive, "open_bucket", lambda *_: opened)
    level, said = looked_at(bucket_findings).line("bucket")
    opened.client.meta.events.unregister(f"before-call.s3.{operation}", refuse)  # the client serves other tests too
    assert (level, f"{action} on bucket {bucket}" in said) == ("FAIL", True)


def test_a_check_that_breaks_does_not_stop_the_others(kie: SimulatorServer, monkeypatch: Any) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__CREDITS_ALERT", "many")
    looked = account()
    assert [level for level, _ in looked.lines("key")] == ["ok", "FAIL"]
    assert looked.line("limiter")[0] == "ok"


def test_redacted_it_names_nothing_that_only_the_owner_may_see(
    doctor: Doctor, kie: SimulatorServer, bucket: str, monkeypatch: Any
) -> None:
    private = {
        "connection": "kie_label_b", "key": "private-key-0815", "account": "label-b", "secret": SECRET,
        "store": "private-store", "password": "private-pw", "bucket": bucket,
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_label_b,kie_gone_c")
    monkeypatch.setenv("AIRFLOW_CONN_PRIVATE_STORE", f"postgres://u:{private['password']}@127.0.0.1:1/x")
    extra = {"account": "label-b", "webhook_secret": SECRET, "limiter_conn_id": private["store"].replace("-", "_")}
    connect(
        monkeypatch, kie, "kie_label_b", password=private["key"],
        extra=extra | {"callback_url": f"http://127.0.0.1:{unused_port()}"},
    )  # fmt: skip
    monkeypatch.setenv("AIRFLOW__KIE__CREDITS_ALERT", "many")
    with stored(triggerer()):
        texts = [doctor(redacted=True)[1], doctor(redacted=True, json=True)[1]]
    for text in texts:
        assert [name for name, value in private.items() if value in text] == []
        assert "127.0.0.1" not in text
        assert "kie_gone_c" not in text
        assert "kie_label_b" not in text
    assert "connection 2" in texts[0]
    assert "FAIL  key" in texts[0]
