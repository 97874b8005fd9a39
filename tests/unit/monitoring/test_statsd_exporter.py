"""Our stand-in for statsd_exporter: our metrics, as Airflow sends them, get the mapping's names, labels and kinds."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from local_stack import statsd_exporter as exporter
from local_stack.settings import PROJECT
from monitoring_programs import statsd_exporter

MAPPING = PROJECT / "include" / "monitoring" / "statsd_mapping.yml"


@pytest.fixture
def taking() -> exporter.Exporter:
    return exporter.Exporter(exporter.rules_of(MAPPING.read_text()))


def lines(taking: exporter.Exporter) -> list[str]:
    return [line for line in taking.text().splitlines() if not line.startswith("statsd_exporter_")]


def test_a_counter_adds_up_under_its_name_with_its_tags_as_labels(taking: exporter.Exporter) -> None:
    taking.receive(b"airflow.kie.created,connection=kie_default,kind=cover:1|c\nairflow.kie.created,kind=music:3|c")
    taking.receive(b"airflow.kie.created,kind=cover,connection=kie_default:2|c")
    assert lines(taking)[:3] == [
        "# TYPE kie_created_total counter",
        'kie_created_total{connection="kie_default",kind="cover"} 3',
        'kie_created_total{kind="music"} 3',
    ]


def test_a_counter_that_was_sampled_counts_for_those_that_were_not_sent(taking: exporter.Exporter) -> None:
    taking.receive(b"airflow.kie.created:1|c|@0.1")
    assert "kie_created_total 10" in lines(taking)


def test_a_gauge_holds_its_last_value_and_moves_by_what_has_a_sign(taking: exporter.Exporter) -> None:
    taking.receive(b"airflow.kie.credits,connection=a:50.5|g\nairflow.kie.incident,cause=account:0|g")
    taking.receive(b"airflow.kie.credits,connection=a:+2|g\nairflow.kie.doubts:4|g\nairflow.kie.doubts:-1|g")
    assert {'kie_credits{connection="a"} 52.5', 'kie_incident{cause="account"} 0', "kie_doubts 3"} <= set(lines(taking))


def test_a_timer_is_a_histogram_in_seconds(taking: exporter.Exporter) -> None:
    taking.receive(b"airflow.kie.throttled,over=rate:700|ms\nairflow.kie.throttled,over=rate:100000000|ms")
    shown = lines(taking)
    assert shown[0] == "# TYPE kie_throttled_seconds histogram"
    assert [line.rpartition(" ")[2] for line in shown if "_bucket" in line] == [*"0111111111", "2"]
    assert 'kie_throttled_seconds_bucket{over="rate",le="0.5"} 0' in shown
    assert shown[-3:-1] == [
        'kie_throttled_seconds_sum{over="rate"} 100000.7',
        'kie_throttled_seconds_count{over="rate"} 2',
    ]


def test_a_series_that_nobody_sends_any_more_is_forgotten_where_the_mapping_says_so(
    taking: exporter.Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    clock = SimpleNamespace(monotonic=lambda: now)  # not that of the whole process, in which other servers run
    monkeypatch.setattr(exporter, "time", clock)
    taking.receive(b"airflow.kie.waiting,triggerer=one:4|g\nairflow.kie.doubts:1|g")
    now += 599
    taking.receive(b"airflow.kie.waiting,triggerer=two:5|g")
    assert 'kie_waiting{triggerer="one"} 4' in lines(taking)
    now += 3
    assert [line for line in lines(taking) if line[0] != "#"] == ["kie_doubts 1", 'kie_waiting{triggerer="two"} 5']


def test_what_the_mapping_does_not_name_keeps_its_name(taking: exporter.Exporter) -> None:
    taking.receive(b"airflow.scheduler_heartbeat:1|c\nairflow.dag-run,dag.id=a b:2000|ms")
    assert lines(taking)[:5] == [
        "# TYPE airflow_dag_run summary",
        'airflow_dag_run_sum{dag_id="a b"} 2',
        'airflow_dag_run_count{dag_id="a b"} 1',
        "# TYPE airflow_scheduler_heartbeat counter",
        "airflow_scheduler_heartbeat 1",
    ]


@pytest.mark.parametrize(
    "bad", ["", ":1|c", "x", "x:1", "x:y|c", "x:1|q", "airflow.kie.created:1|c|", "kie.\udcff:1|c"]
)
def test_a_line_that_is_none_is_counted_and_spoils_no_other(taking: exporter.Exporter, bad: str) -> None:
    taking.receive(f"{bad}\nairflow.kie.doubts:1|g".encode("utf-8", "surrogateescape"))
    assert "kie_doubts 1" in lines(taking)


def test_a_label_of_another_stays_one_label(taking: exporter.Exporter) -> None:
    taking.receive(b'airflow.kie.failed,reason=a"b\\c:1|c')
    assert 'kie_failed_total{reason="a\\"b\\\\c"} 1' in lines(taking)


@pytest.mark.parametrize(
    "entry",
    [
        "{match: 'airflow.*.x', match_metric_type: counter, name: x}",
        "{match: x, match_metric_type: counter, name: x, labels: {a: b}}",
        "{match: x, match_metric_type: observer, name: x}",
    ],
)
def test_a_mapping_that_asks_for_more_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="statsd_exporter can"):
        exporter.rules_of(f"mappings: [{entry}]")


def test_it_runs_with_the_real_ones_options(tmp_path: Path) -> None:
    command = [sys.executable, exporter.__file__]
    with statsd_exporter(MAPPING, tmp_path, command) as running:
        metrics = f"http://{running.target}/metrics"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as airflow:
            while "kie_doubts 7\n" not in httpx.get(metrics, trust_env=False, timeout=200).text:
                airflow.sendto(b"airflow.kie.doubts:7|g", ("127.0.0.1", running.statsd_port))
        assert httpx.get(f"http://{running.target}/-/healthy", trust_env=False, timeout=200).status_code == 200
        assert httpx.get(f"http://{running.target}/", trust_env=False, timeout=200).status_code == 404
        running.restart()
        assert "kie_doubts" not in httpx.get(metrics, trust_env=False, timeout=200).text
