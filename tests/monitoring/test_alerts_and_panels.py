"""The alert rules and the dashboard on the real programs: what each cause lets fire, and what a panel shows.

Needs Prometheus (with promtool) and statsd_exporter; takes 15 to 20 minutes, since the rules wait for minutes
even where every duration is divided by 30. So it runs where it is named: `./run test monitoring`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from monitoring.causes import CAUSES, SOONER, TOGETHER
from monitoring.conftest import MONITORING, RULES, Seen
from monitoring_programs import promtool
from sped_up_rules import sped_up

pytestmark = pytest.mark.timeout(3000)
EMPTY_WHERE_ALL_IS_WELL = {
    "Existing tasks adopted",
    "Delayed by the rate limiter",
    "Failures",
    "Retries",
    "Rescheduled",
}


def test_promtool_finds_the_rules_well_formed(tmp_path: Path) -> None:
    assert promtool("check", "rules", MONITORING / "prometheus_rules.yml").returncode == 0
    (tmp_path / "sooner.yml").write_text(sped_up(RULES, SOONER))
    assert promtool("check", "rules", tmp_path / "sooner.yml").returncode == 0


def test_promtools_tests_of_the_rules_pass() -> None:
    done = promtool("test", "rules", MONITORING / "prometheus_rules_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_cause_that_lets_it_fire_and_every_cause_is_tried() -> None:
    alerts = {alert.partition(" ")[0] for cause in CAUSES.values() for alert in cause.alerts}
    assert alerts == {rule["alert"] for rule in yaml.safe_load(RULES)["groups"][0]["rules"]}
    assert sorted(name for group in TOGETHER for name in group) == sorted(CAUSES)


def test_while_all_is_well_no_alert_fires(seen: Seen) -> None:
    assert seen.phases[0].causes == ()
    assert seen.fired(seen.phases[0]) == set()


def test_in_each_phase_the_alerts_of_its_causes_fire_and_no_other_one(seen: Seen) -> None:
    assert {phase.causes: seen.fired(phase) for phase in seen.phases} == {
        phase.causes: phase.expected for phase in seen.phases
    }
    assert [phase.causes for phase in seen.phases[1:]] == [tuple(causes) for causes in TOGETHER]


def test_when_a_cause_is_over_its_alerts_are_too(seen: Seen) -> None:
    for phase in seen.phases:
        late = {alert.name for alert in seen.alerts for at in alert.times if 0 <= at - phase.ended < 1}
        assert late == set(), phase.causes
    assert seen.firing_at_the_end == {}


def test_over_all_of_it_exactly_the_expected_alerts_have_fired(seen: Seen) -> None:
    fired = {alert.name for alert in seen.alerts if alert.state == "firing"}
    assert fired == {alert for cause in CAUSES.values() for alert in cause.alerts}


def test_every_panel_shows_data_in_a_healthy_run_but_five_which_show_it_when_there_is_something_to_show(
    seen: Seen,
) -> None:
    healthy = seen.phases[0]
    empty = {title for title, shown in seen.panels.items() if any(healthy not in phases for phases in shown.values())}
    assert empty == EMPTY_WHERE_ALL_IS_WELL
    never = [(title, query) for title, shown in seen.panels.items() for query, phases in shown.items() if not phases]
    assert never == []
