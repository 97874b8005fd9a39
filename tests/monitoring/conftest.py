"""One run with everything that goes wrong in it, seen by the real programs; each test checks one side of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fault_suite.stage import stage
from local_stack.settings import PROJECT
from monitoring.causes import CAUSES, CREDITS_ALERT, SOONER, TOGETHER, End, Scene
from monitoring_programs import HOW_TO_GET, Alert, program, prometheus, statsd_exporter
from song_stack import eventually
from sped_up_rules import sped_up
from statsd_listener import statsd_environment

MONITORING = PROJECT / "include" / "monitoring"
RULES = (MONITORING / "prometheus_rules.yml").read_text()
FIRE_WITHIN, END_WITHIN = 180.0, 240.0
"""Seconds beside the two hours that KiePaidButNotArchived waits."""
RATE_INTERVAL = "30s"
"""What Grafana puts in place of $__rate_interval; it would choose at least four scrapes."""
QUIET = 20.0
"""Seconds without anything new at the end of the healthy phase, beside the longest `for` of a rule that counts."""


@dataclass(frozen=True)
class Phase:
    """A time in which some causes were there.

    :param causes: their names; none in the healthy phase.
    :param began: epoch seconds.
    :param ended: epoch seconds at which everything was well again.
    """

    causes: tuple[str, ...]
    began: float
    ended: float

    @property
    def expected(self) -> set[str]:
        """The alerts that say so."""
        return {alert for cause in self.causes for alert in CAUSES[cause].alerts}


@dataclass(frozen=True)
class Seen:
    """What the programs saw.

    :param phases: the healthy one first.
    :param alerts: every alert over all of it.
    :param panels: for each panel of the dashboard and each of its queries, the phases in which it showed data.
    :param firing_at_the_end: alerts that were still there when everything was well.
    """

    phases: Sequence[Phase]
    alerts: Sequence[Alert]
    panels: Mapping[str, Mapping[str, Sequence[Phase]]]
    firing_at_the_end: Mapping[str, str]

    def fired(self, phase: Phase) -> set[str]:
        """Return the alerts that fired within a phase."""
        return {
            alert.name
            for alert in self.alerts
            for at in alert.times
            if alert.state == "firing" and phase.began <= at <= phase.ended
        }


@pytest.fixture(scope="session")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Give what came of a run with every cause."""
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", flush=True)

    with scene(tmp_path_factory.mktemp("monitoring")) as stack:
        yield watch(stack, TOGETHER, say)


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Start the local stack, statsd_exporter, and once kie_ops has checked, Prometheus.

    Until then KieOpsNotRunning would be right: nothing was checked.
    """
    for needed in HOW_TO_GET:
        program(needed)  # what is missing is reported before a minute is spent
    with ExitStack() as running:
        exporter = running.enter_context(statsd_exporter(MONITORING / "statsd_mapping.yml", folder))
        settings = {
            "AIRFLOW__KIE__OPS_EVERY_MINUTES": str(10 / SOONER),
            "AIRFLOW__KIE__EXPIRY_ALERT_DAYS": str(3 / SOONER),
            "AIRFLOW__KIE__CREDITS_ALERT": str(CREDITS_ALERT),
            **statsd_environment(exporter.statsd_port),
        }
        there = running.enter_context(stage(folder / "stack", settings))
        there.running.airflow.wait_for_dag("kie_ops")
        eventually(lambda: has_checked(exporter.target), "kie_ops has checked, and found every connection")
        seeing = running.enter_context(prometheus(sped_up(RULES, SOONER), exporter.target, folder))
        eventually(lambda: seeing.now("kie_health_check_time_seconds"), "Prometheus has seen a check")
        yield Scene(there, exporter, seeing)


def has_checked(target: str) -> bool:
    """Return whether the exporter shows that kie_ops has checked, and that no connection lacked."""
    import httpx

    shown = httpx.get(f"http://{target}/metrics", trust_env=False, timeout=60).text
    return "\nkie_health_check_time_seconds " in shown and '\nkie_incident{cause="account"} 0\n' in shown


def watch(there: Scene, together: Sequence[Sequence[str]], say: Callable[[str], None]) -> Seen:
    """Let everything go well, then wrong in one way after the other, and return what was seen.

    :param there: the running programs.
    :param together: names of causes that are there at the same time.
    :param say: takes a line on the progress.
    """
    phases = [healthy(there)]
    say(f"healthy, {phases[0].ended - phases[0].began:.0f} s")
    for causes in together:
        phases.append(disturbed(there, causes, say))
    time.sleep(2)  # the last evaluation is in the history
    begin, until = phases[0].began, time.time()
    alerts = there.prometheus.history(begin, until)
    panels = {
        title: {
            query: [phase for phase in phases if there.prometheus.shows_data(query, phase.began, phase.ended)]
            for query in queries
        }
        for title, queries in panel_queries().items()
    }
    return Seen(phases, alerts, panels, there.prometheus.alerts())


def panel_queries() -> dict[str, list[str]]:
    """Return the queries of the dashboard, by the panel's title."""
    panels = json.loads((MONITORING / "grafana_dashboard.json").read_text())["panels"]
    return {
        panel["title"]: [target["expr"].replace("$__rate_interval", RATE_INTERVAL) for target in panel["targets"]]
        for panel in panels
    }


def healthy(there: Scene) -> Phase:
    """Cover six songs by events and one that KIE announces; nothing goes wrong.

    One goes ahead: covers and Airflow take as long as ever, and what is left of the ten minutes that
    KiePaidButNotArchived gives the very first ones is too short for them.
    """
    began = time.time()
    first, *songs = there.songs(6)
    there.start([first])
    there.wait_archived([first])
    there.start(songs)
    elsewhere = there.songs(1, state="PENDING", callback_url=there.receiver)
    there.wait_archived([*songs, *elsewhere])
    time.sleep(QUIET + 600 / SOONER)
    return Phase((), began, time.time())


def disturbed(there: Scene, causes: Sequence[str], say: Callable[[str], None]) -> Phase:
    """Let causes begin, wait for their alerts, end them, and wait until no alert is left.

    What does not come in time is not waited for any longer: the history shows it.
    """
    began = time.time()
    phase = Phase(tuple(causes), began, began)
    ends: list[End] = [CAUSES[cause].begin(there) for cause in causes]
    say(f"{', '.join(causes)}: begun")

    fired: set[str] = set()

    def fires() -> bool:
        fired.update(name for name, state in there.prometheus.alerts().items() if state == "firing")
        return phase.expected <= fired

    two_hours = 7200 / SOONER if "KiePaidButNotArchived" in phase.expected else 0.0
    all_fired = within(FIRE_WITHIN + two_hours, fires)
    say(f"  {'they fire' if all_fired else 'not all fire'}: {sorted(fired)}")
    for end in ends:
        end()
    over = within(END_WITHIN, lambda: not there.prometheus.alerts())
    say(f"  {'over' if over else 'not over'}: {there.prometheus.alerts()}")
    return Phase(phase.causes, began, time.time())


def within(seconds: float, so: Callable[[], bool]) -> bool:
    """Wait until something is so; return whether it came in time."""
    deadline = time.monotonic() + seconds
    while not so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True
