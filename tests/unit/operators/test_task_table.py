"""A table of requests in one task: each result is archived as it ends, and one table says what became of each row."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_connections import kie_connection
from airflow_kie.archive.tables import requests as tables
from airflow_kie.archive.tables import results
from airflow_kie.client.catalogue.models import Model
from airflow_kie.client.errors import KieConnectionInvalid, KieInvalidRequest, KieOutOfCredits, KieSomeFailed
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.operators import task
from airflow_kie.operators.lists import archive as list_archive
from airflow_kie.operators.lists import requests, task_list
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.triggers.event import Outcome, event_of
from airflow_task import StoredFiles, TaskInstance, TaskRun, WorkerCrash, run_trigger, stored_trigger
from kie_simulator.server import SimulatorServer

MODEL = {"model": "z-image", "input": {"aspect_ratio": "1:1"}}
PLANTED = "{{ var.value.get('kie') }} {% if %} ${HOME} 50 %s 007"


@pytest.fixture(autouse=True)
def at_once(kie: SimulatorServer) -> None:
    """Let KIE end its tasks at once."""
    kie.control.set(task_seconds=0)


def pictures(*prompts: str) -> list[dict[str, Any]]:
    return [{"id": f"no-{number}", "input": {"prompt": prompt}} for number, prompt in enumerate(prompts)]


def run_of(requests: Any, archive: StoredFiles, run_id: str = "monday", **options: Any) -> TaskRun:
    def make() -> KieTaskOperator:
        known = {"poll_interval": 0.05, "deferrable": True, "request": MODEL, "to": f"s3://{archive.bucket}/media"}
        return KieTaskOperator(task_id="make", operation="market", requests=requests, **known | options)

    return TaskRun(make, ti=TaskInstance(dag_id="pictures", run_id=run_id, map_index=-1))


def rows_of(value: dict[str, Any], archive: StoredFiles) -> list[dict[str, Any]]:
    """Return the rows of the table, which are as many as the counts say."""
    rows = [json.loads(line) for line in archive.body(value["results"].partition(f"{archive.bucket}/")[2]).splitlines()]
    assert sum(value["counts"].values()) == value["rows"] == len(rows)
    assert [row["index"] for row in rows] == list(range(len(rows)))
    return rows


def prompts_paid(kie: SimulatorServer) -> list[str]:
    return sorted(charge["request"]["input"]["prompt"] for charge in kie.control.ledger("jobs"))


@pytest.mark.parametrize("deferrable", [True, False])
def test_each_result_is_in_the_bucket_and_has_a_row_in_the_order_of_the_requests(
    kie: SimulatorServer, archive: StoredFiles, deferrable: bool
) -> None:
    run = run_of(pictures("rain", "snow", "hail"), archive, deferrable=deferrable, key_field="id")
    value = run.attempt()
    assert value["results"] == f"s3://{archive.bucket}/media/_lists/pictures/monday/make/results.jsonl"
    assert {name: count for name, count in value["counts"].items() if count} == {"archived": 3}
    rows = rows_of(value, archive)
    assert [row["key"] for row in rows] == ["no-0", "no-1", "no-2"]
    assert {charge["task_id"] for charge in kie.control.ledger("jobs")} == {row["task_id"] for row in rows}
    for row in rows:
        (file,) = row["files"]
        assert len(archive.body(file["key"])) == file["size"]
        assert (row["status"], row["error"], row["quoted"]) == ("archived", None, row["used"])
    paid = sum(charge["credits"] for charge in kie.control.ledger())
    assert value["credits_quoted"] == pytest.approx(sum(row["quoted"] for row in rows))
    assert value["credits_used"] == pytest.approx(sum(row["used"] for row in rows)) == pytest.approx(paid)
    assert {entry["id"] for entry in archive.indexed("media")} == {row["task_id"] for row in rows}
    assert not [key for key in archive.listed() if "/rows/" in key]


def test_what_a_table_is_quoted_at_is_not_known_where_the_price_of_a_row_is_not(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    rain, snow = pictures("rain", "snow")
    snow["input"] |= {"a_newer_field": True}  # it may cost more
    value = run_of([rain, snow], archive).attempt()
    assert [row["quoted"] for row in rows_of(value, archive)] == [0.8, None]
    assert (value["credits_quoted"], value["credits_used"]) == (None, 1.6)


@pytest.mark.parametrize(
    ("fail_on", "fails"), [("any", True), ("never", False), (0.7, False), ("0.5", True), (0, True)]
)
def test_bad_rows_fail_alone_and_fail_on_decides_when_all_else_is_archived(
    kie: SimulatorServer, archive: StoredFiles, fail_on: Any, fails: bool
) -> None:
    kie.control.add_fault("create", "code", kind="jobs", code=422, msg="The prompt is refused", times=1)
    run = run_of(["no object", *pictures("rain", "hail")], archive, fail_on=fail_on)
    if fails:
        with pytest.raises(KieSomeFailed, match=r"2 of 3 requests failed\. no\. 0: "):
            run.attempt()
    else:
        assert run.attempt() == run.ti.pushed["results"]
    rows = rows_of(run.ti.pushed["results"], archive)
    assert sorted(row["status"] for row in rows) == ["archived", "refused", "refused"]
    assert rows[0]["error"].startswith("KIE refused the request")


TABLES = {
    "csv": "id,input.prompt,input.seed:json\n1,{0},7\n2,snow,\n3,,x\n4,a,1,2\n1,again,\n".replace("{0}", PLANTED),
    "jsonl": "\n".join(
        [
            json.dumps({"id": 1, "input": {"prompt": PLANTED, "seed": 7}}),
            json.dumps({"id": "2", "input": {"prompt": "snow"}}),
            '{"id": "3"',
            '["4"]',
            json.dumps({"id": 1, "input": {"prompt": "again"}}),
        ]
    ),
}


@pytest.mark.parametrize("ending", TABLES)
def test_a_table_in_s3_reaches_kie_letter_by_letter_and_another_run_pays_only_for_new_keys(
    kie: SimulatorServer, archive: StoredFiles, ending: str
) -> None:
    archive.put(f"in/table.{ending}", TABLES[ending].encode())
    address = f"s3://{archive.bucket}/in/table.{ending}"
    run = run_of(address, archive, key_field="id", fail_on="never")
    rows = rows_of(run.attempt(), archive)
    assert [row["status"] for row in rows] == ["archived", "archived", "refused", "refused", "refused"]
    assert "its key 1 is also that of an earlier row" in rows[4]["error"]
    assert prompts_paid(kie) == sorted([PLANTED, "snow"])
    assert {charge["request"]["input"].get("seed") for charge in kie.control.ledger("jobs")} == {7, None}
    new = {"csv": "9,more,\n", "jsonl": '\n{"id": 9, "input": {"prompt": "more"}}'}[ending]
    archive.put(f"in/table.{ending}", (TABLES[ending] + new).encode())
    more = rows_of(run_of(address, archive, "tuesday", key_field="id", fail_on="never").attempt(), archive)
    assert [row["task_id"] for row in more[:5]] == [row["task_id"] for row in rows]
    assert prompts_paid(kie) == sorted([PLANTED, "snow", "more"])


def test_a_row_of_an_earlier_run_is_not_even_read_at_kie(kie: SimulatorServer, archive: StoredFiles) -> None:
    first = rows_of(run_of(pictures("rain", "snow"), archive, key_field="id").attempt(), archive)
    kie.control.add_fault("details", "code", code=500, msg="down")
    again = rows_of(run_of(pictures("rain", "snow"), archive, "tuesday", key_field="id").attempt(), archive)
    assert [row["files"] for row in again] == [row["files"] for row in first]
    assert len(prompts_paid(kie)) == 2


def test_a_task_that_is_killed_twice_goes_on_with_what_is_paid_and_archived(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_list, "MAKING", 1)
    monkeypatch.setattr(task_list, "AT_ONCE", 3)
    monkeypatch.setattr(list_archive, "ROWS", 2)
    monkeypatch.setattr(results, "MANY", 1)
    calls = {"archive": 0}
    archive_task = list_archive.archive_task

    def killed_twice(*args: Any, **known: Any) -> Any:
        calls["archive"] += 1
        if calls["archive"] in (3, 6):
            raise WorkerCrash
        return archive_task(*args, **known)

    monkeypatch.setattr(list_archive, "archive_task", killed_twice)
    run = run_of(pictures(*"abcdefgh"), archive)
    for _ in range(2):
        with pytest.raises(WorkerCrash):
            run.attempt()
        run = run.retried()
    rows = rows_of(run.attempt(), archive)
    assert [row["status"] for row in rows] == ["archived"] * 8
    assert prompts_paid(kie) == list("abcdefgh")
    assert calls["archive"] <= 8 + 2 + 2  # at most what was under way is archived again


def test_a_slow_task_holds_up_no_result_and_no_later_request(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_list, "AT_ONCE", 2)
    monkeypatch.setattr(task_list, "LINGER_SECONDS", 0.0)
    kie.control.add_fault("task", "takes", kind="jobs", seconds=1e6, times=1)
    run = run_of(pictures("slow", "rain", "snow"), archive, wait_timeout=2.0)
    try:
        run.execute()
    except TaskDeferred as deferred:
        with pytest.raises(KieSomeFailed):
            run.resume(deferred)
    rows = rows_of(run.ti.pushed["results"], archive)
    assert sorted(row["status"] for row in rows) == ["archived", "archived", "timeout"]
    assert len([event for event in run.events if event["tasks"]]) >= 2


@pytest.mark.parametrize("to", [None, "media"])
def test_a_list_goes_on_where_the_records_that_it_waited_for_are_lost(
    kie: SimulatorServer, archive: StoredFiles, to: str | None
) -> None:
    run = run_of(pictures("rain", "snow"), archive, to=to and f"s3://{archive.bucket}/{to}")
    with pytest.raises(TaskDeferred) as deferred:
        run.execute()
    event = run_trigger(stored_trigger(deferred.value))
    run.wake("execute_complete", {"event": event})  # as dag.test() does it
    assert len(prompts_paid(kie)) == 2


def test_a_table_that_changes_while_it_is_worked_on_is_refused_until_a_clear(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    archive.put("in/table.csv", b"input.prompt\nrain\n")
    run = run_of(f"s3://{archive.bucket}/in/table.csv", archive)
    with pytest.raises(TaskDeferred):
        run.execute()
    archive.put("in/table.csv", b"input.prompt\nsnow\nrain\n")
    with pytest.raises(KieInvalidRequest, match="has changed since this task began"):
        run.retried().attempt()
    assert len(rows_of(run.cleared().attempt(), archive)) == 2
    assert prompts_paid(kie) == ["rain", "snow"]


@pytest.mark.parametrize(
    ("requests", "refused"),
    [
        ("table.csv", "is not an address such as s3://bucket/folder"),
        ("s3://{bucket}/in/none.csv", "none.csv does not exist"),
        ("s3://{bucket}", "s3://.*/ does not exist"),
        ("s3://{bucket}/in/table.xlsx", "does not end in .csv"),
        ("s3://{bucket}/in/twice.csv", "has an empty or repeated column name"),
        ({"prompt": "rain"}, "neither a list nor an address"),
    ],
)
def test_what_is_neither_a_list_nor_a_table_is_refused_before_anything_is_paid(
    kie: SimulatorServer, archive: StoredFiles, requests: Any, refused: str
) -> None:
    archive.put("in/table.xlsx")
    archive.put("in/twice.csv", b"a,a\n1,2\n")
    asked = requests.format(bucket=archive.bucket) if isinstance(requests, str) else requests
    with pytest.raises(Exception, match=refused):
        run_of(asked, archive).attempt()
    assert not kie.control.ledger()


def test_a_table_with_too_many_rows_is_refused_before_one_of_them_is_sent(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_ROWS", 2)
    monkeypatch.setattr(task_list, "MAKING", 1)
    archive.put("in/table.csv", b"input.prompt\nrain\nsnow\nhail\n")
    run = run_of(f"s3://{archive.bucket}/in/table.csv", archive)
    for attempt in (run, run.retried()):
        with pytest.raises(KieInvalidRequest, match="more than 2 rows; split it; nothing was sent"):
            attempt.attempt()
    assert not kie.control.ledger()


def test_a_table_that_is_too_large_is_refused_without_the_advice_for_damaged_records(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MAX_BYTES", 20)
    archive.put("in/pictures.csv", b"id,input.prompt\n1,a red fox\n2,a lighthouse\n")
    with pytest.raises(KieInvalidRequest, match="larger than the allowed 20 bytes: split the table") as refused:
        run_of(f"s3://{archive.bucket}/in/pictures.csv", archive).attempt()
    assert "delete it" not in str(refused.value)
    assert kie.control.ledger() == []


@pytest.mark.parametrize("fail_on", ["some", "10%", None, "nan", 10])
def test_a_share_that_is_none_is_refused_before_anything_is_paid(
    kie: SimulatorServer, archive: StoredFiles, fail_on: Any
) -> None:
    with pytest.raises(KieInvalidRequest, match="fail_on"):
        run_of(pictures("rain"), archive, fail_on=fail_on).attempt()
    assert not kie.control.ledger()


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"input": {"prompt": "rain", "at": datetime(2026, 11, 30, tzinfo=UTC)}}, "datetime"),
        ({"input": {"prompt": "rain", "deep": json.loads("[" * 900 + "]" * 900)}}, "recursion"),
        ({"input": {"prompt": "rain", "n": 10**400}}, "number"),
        ({"model": "elevenlabs/text-to-dialogue-v3", "input": {"dialogue": ["rain"]}}, "object"),
    ],
)
def test_a_row_with_a_value_that_kie_cannot_have_stops_no_other(
    kie: SimulatorServer, archive: StoredFiles, body: dict[str, Any], refused: str
) -> None:
    extra = {"model": "wan/2-7-image", "input": {}} if "n" in body["input"] else {}
    run = run_of([extra | body, *pictures("snow")], archive, fail_on="never")
    rows = rows_of(run.attempt(), archive)
    assert [row["status"] for row in rows] == ["refused", "archived"]
    assert refused in rows[0]["error"]


def test_what_is_paid_is_archived_while_the_account_can_pay_for_nothing_more(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    bodies = pictures("rain", "snow")
    run = run_of(bodies, archive, key_field="id")
    with pytest.raises(TaskDeferred):
        run.execute()
    bodies[:] = pictures("rain", "snow", "hail")
    kie.control.add_fault("create", "code", code=402, msg="Insufficient credits", times=-1)
    with pytest.raises(KieOutOfCredits):
        run.retried().attempt()
    paid = {charge["task_id"] for charge in kie.control.ledger("jobs")}
    assert len(paid) == 2
    assert {entry["id"] for entry in archive.indexed("media")} == paid


def test_a_triggerer_that_cannot_wait_ends_the_attempt(kie: SimulatorServer, archive: StoredFiles) -> None:
    run = run_of(pictures("rain"), archive)
    with pytest.raises(TaskDeferred) as left:
        run.execute()
    event = event_of(Outcome.FAILED, TaskRecord(""), KieConnectionInvalid("the key cannot be read"))
    with pytest.raises(KieConnectionInvalid, match="the key cannot be read"):
        run.wake(left.value.method_name, {**(left.value.kwargs or {}), "event": event})


def test_what_is_waited_for_is_archived_also_behind_requests_that_cannot_be_sent(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_list, "MAKING", 1)
    bodies = [{"id": "snow", "input": {"prompt": "snow"}}]
    run = run_of(bodies, archive, key_field="id")
    with pytest.raises(TaskDeferred) as left:
        run.execute()
    bodies[:0] = pictures("hail", "rain")
    kie.control.add_fault("create", "code", code=402, msg="Insufficient credits", times=-1)
    with pytest.raises(KieOutOfCredits):
        run.resume(left.value)
    assert [entry["id"] for entry in archive.indexed("media")] == [
        paid["task_id"] for paid in kie.control.ledger("jobs")
    ]


def test_under_a_runs_cap_the_rows_that_fit_are_archived_and_the_others_say_why(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = kie_connection(kie, extra={"rate_limit": 1000, "max_credits_per_run": 2})
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", connection)
    run = run_of(pictures("rain", "snow", "hail", "fog"), archive, fail_on="never", key_field="id")  # 0.8 credits each
    value = run.attempt()
    assert {name: count for name, count in value["counts"].items() if count} == {"archived": 2, "refused": 2}
    refused = [row for row in rows_of(value, archive) if row["status"] == "refused"]
    assert {(row["reason"], row["task_id"], row["used"]) for row in refused} == {("over_cap", None, None)}
    assert all("max_credits_per_run of kie_default allows fewer" in row["error"] for row in refused)
    assert len(prompts_paid(kie)) == 2


def test_what_checks_a_row_may_read_connections_which_airflow_refuses_within_an_event_loop(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> Mapping[str, Model]:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        reads.append(1)
        return {}

    reads: list[int] = []
    monkeypatch.setattr(task, "newer_models", read)
    bodies = [*pictures("rain"), {"id": "wrong", "input": {"prompt": "fog", "aspect_ratio": "5:7"}}]
    value = run_of(bodies, archive, fail_on="never", key_field="id").attempt()
    assert reads
    assert {name: count for name, count in value["counts"].items() if count} == {"archived": 1, "refused": 1}


@pytest.mark.parametrize("window", ["day", "month"])
def test_a_row_that_costs_more_than_a_cap_ever_allows_is_refused_and_holds_no_other_back(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch, window: str
) -> None:
    connection = kie_connection(kie, extra={"rate_limit": 1000, f"max_credits_per_{window}": 5})
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", connection)
    monkeypatch.setattr(task_list, "MAKING", 1)
    costly = {"model": "nano-banana-pro", "input": {"prompt": "fog", "aspect_ratio": "1:1"}}  # 18 credits
    value = run_of([costly, *pictures("rain")], archive, fail_on="never").attempt()
    rows = rows_of(value, archive)
    assert [(row["status"], row["reason"]) for row in rows] == [("refused", "over_cap"), ("archived", None)]
    assert f"max_credits_per_{window} of kie_default allows fewer." in rows[0]["error"]


def test_a_result_that_is_archived_while_others_are_written_down_is_listed_in_the_index(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[list_archive.ListArchive] = []
    begin, entry_of = list_archive.ListArchive.begin, list_archive.entry_of

    def noted(self: list_archive.ListArchive, *, again: bool) -> None:
        begun.append(self)
        begin(self, again=again)

    def written_down_meanwhile(manifest: Any) -> Any:
        begun[-1].flush()
        return entry_of(manifest)

    monkeypatch.setattr(list_archive.ListArchive, "begin", noted)
    monkeypatch.setattr(list_archive, "entry_of", written_down_meanwhile)
    run_of(pictures("rain", "snow"), archive, key_field="id").attempt()
    assert len(archive.indexed("media")) == 2
