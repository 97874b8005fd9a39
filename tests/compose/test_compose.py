"""docker-compose.yaml, unchanged, brought up in containers: the demo, the proxy, the metrics, and what comes back.

On request only (``./run test compose``). Our images are built by the Dockerfile; those of others are stand-ins from
Debian's packages (``stand_ins/``), and Grafana is left out.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from compose.compose_stack import ComposeStack, Container, Rights, left_over, new_stack
from compose.engine import Engine, look_for_programs
from compose.images import make_images
from local_stack.ports import ReservedPort
from song_stack import eventually

DEMO = ("simulator", "local-s3")
ALL = (*DEMO, "public", "monitoring")
AIRFLOW = ("api-server", "scheduler", "dag-processor", "worker", "triggerer")
ONE_SHOTS = ("init", "simulator-connection", "local-s3-connection", "demo")
DURING_THE_DEMO = ("worker", "triggerer", "scheduler", "dag-processor")
AFTER_THE_DEMO = (
    "postgres",
    "redis",
    "s3",
    "simulator",
    "callback-proxy",
    "statsd-exporter",
    "prometheus",
    "api-server",
)
OURS = "kie_"
SONGS = 4
pytestmark = pytest.mark.timeout(5400)


@dataclass(frozen=True)
class Demo:
    """What came of one ``up`` with its demo.

    :param exit_code: of service ``demo``.
    :param songs: those that it names as archived.
    :param archived: those of them of which every file is whole in the bucket's volume.
    :param covers: how often KIE was asked for a cover, by song.
    :param containers: all containers after it.
    :param healthy: names of those that passed their health check.
    """

    exit_code: int
    songs: tuple[str, ...]
    archived: list[str]
    covers: Mapping[str, int]
    containers: Sequence[Container]
    healthy: list[str]


@dataclass(frozen=True)
class Seen:
    """What was seen of the stack, from its first start to ``down --volumes``.

    :param first: with the profiles simulator and local-s3.
    :param rights: what the processes of each of Airflow's services may do.
    :param anonymous: status of a call of Airflow's API without a login.
    :param known: how many DAGs a call with the login lists.
    :param second: on the same volumes, with all profiles, while one container of each of Airflow's kinds is killed.
    :param proxy: status and text of calls through the proxy, by method and path.
    :param plain: status of a call of the proxy without TLS.
    :param targets: health of what Prometheus scrapes.
    :param rules: names of its alert rules.
    :param series: names of its series that are ours.
    :param back: names of the healthy containers after one of each other kind was killed.
    :param stopped: status of a container a while after ``podman kill``.
    :param leaks: secrets that stand in the containers' logs.
    :param left: what there is after ``down --volumes``.
    :param open: whether the UI's port still answers then.
    """

    first: Demo
    rights: Mapping[str, set[Rights]]
    anonymous: int
    known: int
    second: Demo
    proxy: Mapping[tuple[str, str], tuple[int, str]]
    plain: int
    targets: Sequence[str]
    rules: Sequence[str]
    series: Sequence[str]
    back: list[str]
    stopped: str
    leaks: list[str]
    left: Mapping[str, list[str]]
    open: bool


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    """Build the images, bring the stack up twice and take it down; each test looks at one side of what was seen."""
    look_for_programs()
    engine = Engine()
    port = ReservedPort()
    stack = new_stack(engine, port.number)
    with stack.timed("images"):
        make_images(engine, stack.compose)
    try:
        yield watch(stack)
    finally:
        port.release()
        if left_over(engine)["containers"]:
            stack.down("--volumes")


def watch(stack: ComposeStack) -> Seen:
    """Bring the stack up and down, and note what is to be seen."""
    stack.up(*DEMO)
    first = after_demo(stack)
    rights = {service: stack.rights(stack.container(service)) for service in AIRFLOW}
    anonymous = httpx.get(f"{stack.url}/api/v2/dags", trust_env=False).status_code
    with contextlib.closing(stack.login()) as airflow:
        known = len(list(airflow.pages("/dags", "dags")))
    stack.down()
    stack.values["AIRFLOW_METRICS"] = "True"
    stack.up(*ALL)
    with contextlib.closing(stack.simulator()) as simulator:
        eventually(lambda: len(simulator.ledger("cover")) >= SONGS / 2, "half of the covers are paid for", 300.0)
    for service in DURING_THE_DEMO:
        stack.crash(service)
    second = after_demo(stack)
    proxy, plain = ask_proxy(stack)
    metrics = ask_prometheus(stack)
    for service in AFTER_THE_DEMO:
        stack.crash(service)
    back = stack.wait_healthy()
    stopped = after_podman_kill(stack, "redis")
    stack.down("--volumes")
    return Seen(
        first=first, rights=rights, anonymous=anonymous, known=known, second=second, proxy=proxy, plain=plain,
        targets=metrics[0], rules=metrics[1], series=metrics[2], back=back, stopped=stopped,
        leaks=stack.leaks(), left=left_over(stack.engine), open=answers(stack.url),
    )  # fmt: skip


def after_demo(stack: ComposeStack) -> Demo:
    """Wait for the end of the demo and for everybody's health, and look at what was archived and paid."""
    exit_code = stack.wait_end("demo")
    songs = tuple(re.findall(r"^([0-9a-f]{32})  archived$", stack.log("demo"), re.M))
    healthy = stack.wait_healthy()
    with contextlib.closing(stack.simulator()) as simulator:
        covers = Counter(charge["source_id"] for charge in simulator.ledger("cover"))
    return Demo(exit_code, songs, stack.archived(songs), covers, stack.containers(), healthy)


def ask_proxy(stack: ComposeStack) -> tuple[dict[tuple[str, str], tuple[int, str]], int]:
    """Call the proxy, as KIE would and as others would."""
    calls = [
        ("POST", "/kie/callback/kie_default"),
        ("GET", "/kie/callback/kie_default"),
        ("POST", "/kie/callback/kie_default/x"),
        ("POST", "/kie/songs/x"),
        ("POST", "/auth/token"),
        ("GET", "/api/v2/monitor/health"),
        ("GET", "/"),
    ]
    with httpx.Client(base_url="https://localhost", verify=stack.certificate(), trust_env=False) as https:
        answers = {call: https.request(*call, json={"data": {"task_id": "x"}}) for call in calls}
    plain = httpx.get("http://localhost/kie/callback/kie_default", trust_env=False).status_code
    return {call: (answer.status_code, answer.text) for call, answer in answers.items()}, plain


def ask_prometheus(stack: ComposeStack) -> tuple[list[str], list[str], list[str]]:
    """Ask Prometheus for the health of its targets, its alert rules and our series, once it has scraped them."""

    def found(path: str) -> Any:
        answer = httpx.get(f"http://{stack.container('prometheus').address}:9090/api/v1/{path}", trust_env=False)
        return answer.json()["data"]

    def ours() -> list[str]:
        return [name for name in found("label/__name__/values") if name.startswith(OURS)]

    eventually(ours, "Prometheus has our series", 120.0, 1.0)
    targets = [target["health"] for target in found("targets")["activeTargets"]]
    rules = [rule["name"] for group in found("rules")["groups"] for rule in group["rules"]]
    return targets, rules, ours()


def after_podman_kill(stack: ComposeStack, service: str) -> str:
    """Kill a container as a person does, and return its status a while later."""
    stack.engine.run("kill", stack.container(service).name)
    time.sleep(5.0)
    return stack.container(service).status


def answers(url: str) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(httpx.TransportError):
        httpx.get(url, trust_env=False)
        return True
    return False


@pytest.mark.parametrize("which", ["first", "second"])
def test_the_demo_ends_well_and_every_song_is_whole_in_the_bucket(seen: Seen, which: str) -> None:
    demo: Demo = getattr(seen, which)
    assert demo.exit_code == 0
    assert len(demo.songs) == SONGS
    assert demo.archived == list(demo.songs)


@pytest.mark.parametrize("which", ["first", "second"])
def test_every_cover_is_paid_for_once(seen: Seen, which: str) -> None:
    demo: Demo = getattr(seen, which)
    assert demo.covers == dict.fromkeys(demo.songs, 1)


@pytest.mark.parametrize("which", ["first", "second"])
def test_what_stays_up_is_healthy_and_what_ends_has_ended_well(seen: Seen, which: str) -> None:
    demo: Demo = getattr(seen, which)
    ended = [one for one in demo.containers if one.service in ONE_SHOTS]
    running = [one for one in demo.containers if one.service not in ONE_SHOTS]
    assert {(one.service, one.status, one.exit_code) for one in ended} == {(name, "exited", 0) for name in ONE_SHOTS}
    assert {one.status for one in running} == {"running"}
    assert set(demo.healthy) == {one.name for one in running}


def test_two_triggerers_and_one_of_each_other_are_there(seen: Seen) -> None:
    there = Counter(one.service for one in seen.first.containers)
    assert {service: count for service, count in there.items() if count != 1} == {"triggerer": 2}
    assert set(AIRFLOW) <= set(there)


def test_only_the_ui_is_published_and_that_on_loopback(seen: Seen) -> None:
    published = {one.service: one.published for one in seen.first.containers if one.published}
    assert set(published) == {"api-server"}
    assert [address.rpartition(":")[0] for address in published["api-server"]] == ["127.0.0.1"]
    with_proxy = {one.service for one in seen.second.containers if one.published}
    assert with_proxy == {"api-server", "callback-proxy"}


def test_airflow_runs_as_user_50000_without_rights(seen: Seen) -> None:
    assert set(seen.rights) == set(AIRFLOW)
    for service, rights in seen.rights.items():
        assert rights == {Rights(50000, frozenset({"0" * 16}), gains=False)}, service


def test_nobody_gets_in_without_the_login(seen: Seen) -> None:
    assert seen.anonymous == 401
    assert seen.known >= 1


def test_the_proxy_lets_callbacks_in_and_nothing_else(seen: Seen) -> None:
    callback = ("POST", "/kie/callback/kie_default")
    assert seen.proxy[callback][0] == 401
    assert {call: answer for call, answer in seen.proxy.items() if call != callback and answer != (404, "")} == {}
    assert seen.plain == 308  # to TLS


def test_prometheus_scrapes_our_metrics_and_has_the_rules(seen: Seen) -> None:
    assert seen.targets == ["up"]
    assert "kie_created_total" in seen.series
    assert len(seen.rules) >= 9


def test_a_container_of_each_kind_that_dies_is_started_again_and_gets_well(seen: Seen) -> None:
    assert sorted(seen.back) == sorted(seen.second.healthy)
    assert seen.stopped == "exited"  # `kill` by hand is a person's wish, and stays


def test_no_secret_stands_in_a_log(seen: Seen) -> None:
    assert seen.leaks == []


def test_nothing_is_left_after_down_with_volumes(seen: Seen) -> None:
    assert seen.left == {"containers": [], "volumes": [], "networks": []}
    assert not seen.open
