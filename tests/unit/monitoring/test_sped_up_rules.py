"""The rules that the monitoring test runs are the published ones, and only their durations are shorter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from sped_up_rules import in_a_hurry, sped_up

PUBLISHED = (Path(__file__).parents[3] / "include" / "monitoring" / "prometheus_rules.yml").read_text()


@pytest.mark.parametrize(
    ("expression", "sooner"),
    [
        ("max by (cause) (kie_incident) == 1", "max by (cause) (kie_incident) == 1"),
        ("sum(increase(kie_failed_total[30m])) >= 3", "sum(increase(kie_failed_total[60000ms])) >= 3"),
        ("kie_failed_total offset 2h > 20", "kie_failed_total offset 240000ms > 20"),
        ("max(kie_unarchived_oldest_seconds) > 6 * 3600", "max(kie_unarchived_oldest_seconds) > 6 * 3600 / 30"),
        ("min(kie_next_expiry_days) < 2", "min(kie_next_expiry_days) < 2 / 30"),
        (
            "(time() - max(kie_health_check_time_seconds) > 1800) or absent(kie_x_seconds)",
            "(time() - max(kie_health_check_time_seconds) > 1800 / 30) or absent(kie_x_seconds)",
        ),
    ],
)
def test_only_durations_are_divided(expression: str, sooner: str) -> None:
    assert in_a_hurry(expression, 30) == sooner


def test_every_rule_is_there_with_its_labels_and_words_and_nothing_that_lasts_is_left_as_it_was() -> None:
    before, after = (yaml.safe_load(text)["groups"][0]["rules"] for text in (PUBLISHED, sped_up(PUBLISHED, 30)))
    assert [{**rule, "expr": "", "for": ""} for rule in after] == [{**rule, "expr": "", "for": ""} for rule in before]
    for rule in after:
        assert re.findall(r"\b\d+[smhdwy]\b", rule["expr"] + rule.get("for", "")) == []
        for limit in re.findall(r"_(?:seconds|days)\b.*[<>]=? *(.*)", rule["expr"]):
            assert " / 30" in limit


def test_a_duration_that_is_not_understood_is_refused() -> None:
    with pytest.raises(ValueError, match="not understood"):
        sped_up("groups: [{name: x, rules: [{alert: A, expr: up, for: 1h30m}]}]", 30)
