"""The health check of kie_ops: what it finds at accounts, bucket and pending songs, what it reports, when it fails."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException

from airflow_connections import kie_connection
from airflow_kie.archive import pending, unarchived
from airflow_kie.archive.pending import Failure, WaitingFor
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3AccessDenied
from airflow_kie.client.errors import KieServerError
from airflow_kie.durable.xcom import INCIDENT_CHANGES_KEY
from airflow_kie.hooks.archive import open_song
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.ledger import Ledger
from airflow_kie.monitoring import health
from airflow_kie.monitoring.incidents import CAUSES
from airflow_kie.operators.health_check import LEDGERS_KEY
from airflow_kie.operators.task import KieTaskOperator
from airflow_task import FakeTaskStateStore, StoredFiles, TaskRun, health_check
from answering_server import Seen, serving
from kie_simulator.server import SimulatorServer
from local_stack.settings import PROJECT
from statsd_listener import StatsdListener, airflow_sends

A, B, C = "a" * 32, "b" * 32, "c" * 32


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsdListener]:
    with airflow_sends(monkeypatch) as listener:
        yield listener


Check = Callable[..., TaskRun]
Alarm = Callable[..., str]


@pytest.fixture
def check(health_store: FakeTaskStateStore) -> Check:
    """Give health checks, of which each remembers what the one before has reported."""
    return lambda name="scheduled__1": health_check(health_store, name)


@pytest.fixture
def alarm(check: Check) -> Alarm:
    """Give health checks that must fail, and what they fail with."""

    def run(name: str = "scheduled__1") -> str:
        with pytest.raises(AirflowFailException) as failed:
            check(name).execute()
        return str(failed.value)

    return run


def test_what_other_tasks_have_made_is_reported_before_kie_deletes_it(
    kie: SimulatorServer, archive: StoredFiles, alarm: Alarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    kie.control.set(task_seconds=0)
    request = {"prompt": "a fox", "model": "veo3_fast"}
    film = TaskRun(
        lambda: KieTaskOperator(
            task_id="make", operation="veo.generate", request=request, deferrable=False, poll_interval=0.05
        )
    ).attempt()
    monkeypatch.setattr(unarchived, "kept_for", lambda operation: timedelta(days=2))
    said = alarm()
    assert "KIE deletes the unarchived results of 1 paid task" in said
    assert f"`airflow kie redrive {film}` archives it" in said


def refuse_write(bucket: Bucket, key: str) -> None:
    raise S3AccessDenied(f"PutObject on bucket {bucket.name}, key {key}: AccessDenied")


def add_pending(bucket: str, music_task_id: str, **known: Any) -> None:
    open_song("aws_default", bucket, "songs", music_task_id).update_pending(received_from="form", **known)


def test_where_all_is_well_it_succeeds_sets_the_gauges_and_lists_nothing_but_pending(
    kie: SimulatorServer,
    archive: StoredFiles,
    bucket: str,
    check: Check,
    health_store: FakeTaskStateStore,
    sent: StatsdListener,
) -> None:
    kie.control.set_credits(750)
    add_pending(bucket, A, expires_at=datetime.now(UTC) + timedelta(days=5))
    add_pending(bucket, B)
    archive.put("songs/" + C + "/manifest.json")
    run = check()
    assert run.execute() == []
    assert run.ti.pushed[INCIDENT_CHANGES_KEY] == [] and health_store.rows.keys() == {LEDGERS_KEY}
    (last_check,) = sent.of("kie.health_check_time")
    assert abs(last_check.value - time.time()) < 600
    values = {sample.name.removeprefix("airflow.kie."): sample.value for sample in sent.samples}
    assert (values["credits"], values["unarchived"], values["callbacks_expected"]) == (750, 2, 0)
    assert 4.9 < values["next_expiry"] <= 5
    assert {sample.tags["cause"]: sample.value for sample in sent.of("kie.incident")} == dict.fromkeys(CAUSES, 0)


def test_each_check_begins_the_counters_that_alert_rules_read_so_that_their_first_event_counts(
    kie: SimulatorServer, bucket: str, check: Check, sent: StatsdListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_default,kie_b")
    monkeypatch.setenv("AIRFLOW_CONN_KIE_B", kie_connection(kie))
    check().execute()
    assert sent.of("kie.created"), "what is on its way is awaited"
    begun = [sample for sample in sent.samples if sample.kind == "c"]
    assert {sample.value for sample in begun} == {0}
    names = {(sample.name.removeprefix("airflow."), *sorted(sample.tags.items())) for sample in begun}
    kinds = [("cover", connection) for connection in ("kie_default", "kie_b")]
    assert {("kie.created", ("connection", c), ("kind", kind)) for kind, c in kinds} <= names
    assert {
        ("kie.done", ("completion_source", "callback"), ("connection", c), ("kind", kind)) for kind, c in kinds
    } <= names
    assert {("kie.archived", ("connection", c)) for _, c in kinds} <= names
    assert {("kie.callbacks", ("outcome", outcome)) for outcome in ("refused", "rate_limited", "not_stored")} <= names
    assert {sample.tags["reason"] for sample in begun if sample.name == "airflow.kie.failed"} == reasons_of_the_docs()


def test_a_limiters_connection_that_does_not_exist_is_reported_and_ends_no_check_of_another_account(
    kie: SimulatorServer, bucket: str, alarm: Alarm, sent: StatsdListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_pending(bucket, A)
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_default,kie_b")
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra={"limiter_conn_id": "no_such"}))
    monkeypatch.setenv("AIRFLOW_CONN_KIE_B", kie_connection(kie))
    assert "The connection cannot be used (connection kie_default)" in alarm()
    assert {sample.tags["connection"] for sample in sent.of("kie.doubts")} == {"kie_b"}


def reasons_of_the_docs() -> set[str]:
    """Return every reason that docs/on-call.md explains."""
    return set(re.findall(r"^\| `(\w+)` \| \*\*", (PROJECT / "docs" / "on-call.md").read_text(), re.M))


def test_a_bucket_that_takes_no_objects_is_reported_once_with_the_number_of_songs_that_wait(
    kie: SimulatorServer, bucket: str, check: Check, alarm: Alarm
) -> None:
    for song in (A, B, C):
        add_pending(bucket, song)
    rejected = Failure(reason="content_rejected", message="words", at=datetime.now(UTC))
    add_pending(bucket, "d" * 32, last_failure=rejected)  # which waits for a person, not for the bucket
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Bucket, "probe", refuse_write)
        message = alarm()
        assert message.startswith("s3 begins: 3 songs wait: bucket ")
        assert f"bucket {bucket} refuses PutObject (S3 denied access) since " in message
        (lasts,) = check("scheduled__2").execute()
        assert "refuses PutObject" in lasts
    check("scheduled__3").execute()
    last = check("scheduled__4")
    assert last.execute() == []
    assert [(one["change"], one["key"]) for one in last.ti.pushed[INCIDENT_CHANGES_KEY]] == [
        ("is over", f"s3:{bucket}")
    ]


def test_a_bucket_that_cannot_be_listed_is_an_incident(
    kie: SimulatorServer, bucket: str, alarm: Alarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__BUCKET", "there-is-no-such-bucket")
    monkeypatch.setattr("airflow_kie.archive.s3.bucket.Bucket.create_on_loopback", lambda self: False)
    assert "bucket there-is-no-such-bucket refuses ListBucket (The S3 bucket does not exist)" in alarm()


def test_a_balance_below_the_threshold_is_reported_and_again_when_it_is_used_up(
    kie: SimulatorServer, bucket: str, check: Check, alarm: Alarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__CREDITS_ALERT", "500")
    kie.control.set_credits(499)
    assert "credits begins: No songs wait: connection kie_default has 499 credits left since " in alarm("1")
    check("2").execute()
    kie.control.set_credits(0)
    assert alarm("3").startswith("credits is worse: ")


def capped(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, per_day: int) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra={"max_credits_per_day": per_day}))


def test_a_cap_is_reported_as_long_as_it_refuses_with_the_songs_of_that_connection(
    kie: SimulatorServer, bucket: str, check: Check, alarm: Alarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    capped(kie, monkeypatch, 0)
    add_pending(bucket, A)
    add_pending(bucket, B, kie_conn_id="another")
    add_pending(bucket, C, last_failure=Failure(reason="content_rejected", message="words", at=datetime.now(UTC)))
    assert "1 song waits: The connection's cap on credits is reached (connection kie_default) since " in alarm("1")
    (lasts,) = check("2").execute()
    assert "cap on credits is reached" in lasts
    capped(kie, monkeypatch, 500)
    assert check("3").execute() == []


def test_a_cap_that_no_song_waits_for_is_not_an_incident(
    kie: SimulatorServer, bucket: str, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    capped(kie, monkeypatch, 0)
    assert check().execute() == []


@pytest.mark.parametrize("known", ["waiting_for", "last_failure"])
def test_the_keys_own_limit_is_known_from_the_songs_that_met_it(
    kie: SimulatorServer, bucket: str, alarm: Alarm, known: str
) -> None:
    now = datetime.now(UTC)
    add_pending(bucket, A, last_failure=Failure(reason="key_limit", message="before", at=now - timedelta(days=3)))
    add_pending(bucket, B, kie_conn_id="another", waiting_for=WaitingFor(reason="key_limit", since=now))
    met = WaitingFor(reason="key_limit", since=now), Failure(reason="key_limit", message="433", at=now)
    add_pending(bucket, C, **{known: met[known == "last_failure"]})
    assert "account begins: 2 songs wait: This API key has reached its own usage limit at KIE" in alarm()


def test_a_limit_of_the_key_that_a_song_met_days_ago_is_over(kie: SimulatorServer, bucket: str, check: Check) -> None:
    met = datetime.now(UTC) - timedelta(days=3)
    add_pending(bucket, A, last_failure=Failure(reason="key_limit", message="433", at=met))
    assert check().execute() == []


def test_a_kie_that_fails_once_is_not_down_and_one_that_goes_on_failing_is(
    kie: SimulatorServer, bucket: str, check: Check, alarm: Alarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [503, 200, 503, 503, 503]

    def answer(_: Seen) -> tuple[int, dict[str, str], bytes]:
        code = answers.pop(0)
        return code, {}, json.dumps({"code": code, "msg": "m", "data": 700}).encode()

    with serving(answer) as server:
        monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, host=server.url))
        assert check("1").execute() == []
        assert "kie begins: No songs wait: KIE answered with a server error since " in alarm("2")
    assert answers == []


def test_a_key_that_is_refused_is_the_accounts_cause_and_hides_no_earlier_one(
    kie: SimulatorServer, bucket: str, check: Check, alarm: Alarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    kie.control.set_credits(0)
    assert alarm("1").startswith("credits begins")
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, password="a-wrong-key"))
    assert "account begins: No songs wait: KIE refused the API key (connection kie_default)" in alarm("2")
    for name in "345":
        run = check(name)
        run.execute()
        assert run.ti.pushed[INCIDENT_CHANGES_KEY] == []  # its balance cannot be seen, so its end is not reported


def changes_of(run: TaskRun) -> list[tuple[str, str]]:
    with contextlib.suppress(AirflowFailException):
        run.execute()
    return [(one["change"], one["key"].partition(":")[0]) for one in run.ti.pushed[INCIDENT_CHANGES_KEY]]


def test_what_is_known_of_the_ledger_is_not_over_because_kie_is_down(
    kie: SimulatorServer, bucket: str, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "doubts", lambda self, account: ["one", "another"])
    assert changes_of(check("1")) == [("begins", "doubt")]
    monkeypatch.setattr(KieHook, "credits", down)
    assert changes_of(check("2")) == [("begins", "kie")]
    assert [changes_of(check(name)) for name in "345"] == [[], [], []]
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, password=""))  # now nobody knows
    assert [change for name in "678" for change in changes_of(check(name)) if change[1] == "doubt"] == []


def down(_: KieHook) -> float:
    raise KieServerError


@pytest.mark.parametrize(("step", "known"), [("backlog_in", "untried"), ("expiring", "expiry")])
def test_what_is_known_of_the_bucket_is_not_over_because_it_cannot_be_read(
    kie: SimulatorServer, bucket: str, check: Check, monkeypatch: pytest.MonkeyPatch, step: str, known: str
) -> None:
    began = datetime.now(UTC) - timedelta(days=12)
    if known == "untried":
        song = open_song("aws_default", bucket, "songs", A)
        song.update_pending(received_from="form")
        monkeypatch.setattr(health, "UNTRIED", timedelta(seconds=-5))
    else:
        monkeypatch.setattr(health, "expiring", lambda *_: [unarchived.Listed("veo.generate", A, began)])
    assert changes_of(check("1")) == [("begins", known)]

    def refuse(*_: Any) -> None:
        raise S3AccessDenied(f"ListBucket on bucket {bucket}: AccessDenied")

    monkeypatch.setattr(health, step, refuse)
    assert changes_of(check("2")) == [("begins", "s3")]
    assert [changes_of(check(name)) for name in "345"] == [[], [], []]


def test_a_song_that_kie_deletes_soon_is_reported_by_its_id_and_one_without_files_is_not(
    kie: SimulatorServer, bucket: str, alarm: Alarm
) -> None:
    now = datetime.now(UTC)
    add_pending(bucket, A, expires_at=now + timedelta(days=10))
    add_pending(bucket, B, expires_at=now + timedelta(days=2))
    rejected = Failure(reason="content_rejected", message="words", at=now)
    add_pending(bucket, C, expires_at=now + timedelta(hours=2), last_failure=rejected)
    message = alarm("1")
    assert f"expiry begins: 1 song waits: KIE deletes their files, first those of song {B}, by " in message
    add_pending(bucket, B, expires_at=now + timedelta(hours=20))
    assert alarm("2").startswith("expiry is worse")


@pytest.mark.parametrize(("reason", "counts"), [("task_unknown", False), ("file_gone", False), ("timeout", True)])
def test_a_song_of_which_kie_has_nothing_does_not_age(
    kie: SimulatorServer, bucket: str, check: Check, sent: StatsdListener, reason: str, counts: bool
) -> None:
    old, now = datetime.now(UTC) - timedelta(hours=8), datetime.now(UTC)
    add_pending(bucket, A, first_seen_at=old, last_failure=Failure(reason=reason, message="words", at=old))
    add_pending(bucket, B, first_seen_at=now)
    check().execute()
    (age,) = sent.of("kie.unarchived_oldest")
    assert (age.value > 7 * 3600) is counts


def test_a_damaged_record_is_a_cause_of_its_own_and_hides_no_other_song(
    kie: SimulatorServer, archive: StoredFiles, bucket: str, alarm: Alarm, sent: StatsdListener
) -> None:
    archive.put(f"songs/_pending/{A}.json", b"not json")
    add_pending(bucket, B)
    assert alarm() == (
        f"record begins: 1 song waits: s3://{bucket}/songs/_pending/{A}.json cannot be read, so no run can work on its "
        "song."
    )
    assert [sample.value for sample in sent.of("kie.unarchived")] == [2]


def test_a_record_that_goes_while_the_records_are_read_is_not_damaged(
    kie: SimulatorServer, bucket: str, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_pending(bucket, A)
    read = pending.readable

    def archived_first(opened: Any, song: Any) -> Any:
        opened.delete(song.pending)
        return read(opened, song)

    monkeypatch.setattr(pending, "readable", archived_first)
    assert check().execute() == []


def test_a_try_that_ended_before_it_was_reported_reports_it_at_the_next_try(
    kie: SimulatorServer, bucket: str, check: Check, alarm: Alarm
) -> None:
    kie.control.set_credits(0)
    alarm("the same run")
    assert "credits" in alarm("the same run")
    check("the next run").execute()


def test_when_kie_deletes_a_song_is_in_its_record_once_it_waits_for_an_outage_or_has_failed(
    kie: SimulatorServer, bucket: str, archive: StoredFiles
) -> None:
    from airflow_kie.operators.suno import KieGenerateCoverOperator

    song = kie.control.make_music("Velvet Harbour")[0].task_id
    open_song("aws_default", bucket, "songs", song).update_pending(received_from="form")
    kie.control.set_credits(0)
    facts: dict[str, Any] = {"music_task_id": song, "bucket": bucket, "prefix": "songs", "deferrable": False}
    ends = (datetime.now(UTC) + timedelta(days=9)).isoformat(timespec="milliseconds")
    extra = {"dag_run": SimpleNamespace(run_type="asset_triggered")}
    run = TaskRun(lambda: KieGenerateCoverOperator(task_id="cover", expires_at=ends, **facts), extra=extra)
    with pytest.raises(AirflowRescheduleException):
        run.execute()
    stored = archive.json(f"songs/_pending/{song}.json")
    assert datetime.fromisoformat(stored["expires_at"]) == datetime.fromisoformat(ends)
    failed = open_song("aws_default", bucket, "songs", A)
    failed.record_failure("file_damaged", "words", None, ends)
    failed.record_failure("file_damaged", "words", None, "None")
    pending = failed.pending()
    assert pending is not None and pending.expires_at == datetime.fromisoformat(ends)
