"""Mapping, dashboard and alert rules speak of the metrics that the code sends, by the names that they come out with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_kie.metrics import METRICS, Kind

MONITORING = Path(__file__).parents[3] / "include" / "monitoring"
RULES: list[dict[str, Any]] = yaml.safe_load((MONITORING / "prometheus_rules.yml").read_text())["groups"][0]["rules"]
TESTS = (MONITORING / "prometheus_rules_test.yml").read_text()
PANELS: list[dict[str, Any]] = json.loads((MONITORING / "grafana_dashboard.json").read_text())["panels"]
QUERIES = {rule["alert"]: rule["expr"] for rule in RULES} | {
    panel["title"]: target["expr"] for panel in PANELS for target in panel["targets"]
}
SERIES = {
    name: set(metric.tags) | ({"le"} if metric.kind is Kind.TIMER else set())
    for metric in METRICS.values()
    for name in (
        [metric.prometheus + end for end in ("_bucket", "_sum", "_count")]
        if metric.kind is Kind.TIMER
        else [metric.prometheus]
    )
}


def series_in(expression: str) -> set[str]:
    return set(re.findall(r"\bkie_\w+", re.sub(r'"[^"]*"', "", expression)))


def test_the_mapping_names_every_metric_with_its_kind_and_no_other() -> None:
    mapped = yaml.safe_load((MONITORING / "statsd_mapping.yml").read_text())["mappings"]
    kinds = {Kind.COUNTER: "counter", Kind.GAUGE: "gauge", Kind.TIMER: "observer"}
    assert [(one["match"], one["match_metric_type"], one["name"]) for one in mapped] == [
        (f"airflow.{metric.name}", kinds[metric.kind], metric.prometheus) for metric in METRICS.values()
    ]
    for one in mapped:
        assert ("histogram_options" in one) is (one["match_metric_type"] == "observer")


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_name_in_prometheus_says_its_unit(metric: Any) -> None:
    ends = {Kind.COUNTER: "_total", Kind.TIMER: "_seconds"}
    assert metric.prometheus.endswith(ends.get(metric.kind, ""))
    assert metric.prometheus.startswith(metric.name.replace(".", "_"))


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_asks_for_series_and_labels_that_exist(name: str) -> None:
    asked = series_in(QUERIES[name])
    assert asked
    assert asked <= set(SERIES)
    labels = {label.strip() for by in re.findall(r"by \(([^)]*)\)", QUERIES[name]) for label in by.split(",")}
    labels |= set(re.findall(r"[{,](\w+)=", QUERIES[name])) | set(re.findall(r"on \((\w+)\)", QUERIES[name]))
    assert labels <= set().union(*(SERIES[series] for series in asked))


def test_every_metric_is_shown_by_a_panel() -> None:
    shown = {series for panel in PANELS for target in panel["targets"] for series in series_in(target["expr"])}
    assert {m.name for m in METRICS.values() if not any(one.startswith(m.prometheus) for one in shown)} == set()


def test_no_panel_covers_another() -> None:
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(squares) == len(set(squares)) and max(x for x, _ in squares) < 24


def test_every_legend_names_a_label_of_its_query() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert re.search(rf"by \([^)]*\b{label}\b", target["expr"]), panel["title"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_do_and_is_seen_to_fire_and_not_to_fire_in_promtools_tests(
    rule: dict[str, Any],
) -> None:
    assert set(rule["annotations"]) == {"summary", "todo", "runbook", "status"} and rule["labels"]["severity"] in (
        "error",
        "warning",
    )
    written = [
        one
        for test in yaml.safe_load(TESTS)["tests"]
        for one in test["alert_rule_test"]
        if one["alertname"] == rule["alert"]
    ]
    assert {bool(one.get("exp_alerts")) for one in written} == {True, False}


def test_who_is_woken_by_an_alert_finds_its_row_in_the_page_that_it_names() -> None:
    page = (MONITORING.parents[1] / "docs" / "on-call.md").read_text()
    section = page.partition("\n## Woken by an alert\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(Kie\w+)` \|", section, re.M) == [rule["alert"] for rule in RULES]
    assert {rule["annotations"]["runbook"] for rule in RULES} == {"docs/on-call.md#woken-by-an-alert"}
    assert {rule["annotations"]["status"] for rule in RULES} == {"{{ $externalLabels.airflow }}/kie/status"}
