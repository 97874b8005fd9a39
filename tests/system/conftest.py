"""One full stack for all system tests: simulator, S3, and Airflow's real processes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import invented_operation
import pod_executor
from local_stack.environment import SIMULATOR_KEY
from local_stack.running import RunningStack, running_stack
from local_stack.settings import PROJECT
from song_crashes import Crashed, crash_songs
from song_stack import TIMEOUT_SECONDS, SongStack
from statsd_listener import StatsdListener, listening, statsd_environment

AIRFLOW = {
    "AIRFLOW__KIE__CONFIRM_FAILURE_SECONDS": "2",  # a failure is believed within the patience of a test
    "AIRFLOW__KIE__INBOX_EVERY_MINUTES": "1440",  # the tests start cover_inbox themselves
    "AIRFLOW__KIE__OPS_EVERY_MINUTES": "1440",  # and kie_ops
    "AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS": "True",  # what is paid for is known without it, also after a clear
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "36000",  # the files do not change
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "600",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",  # nobody waits for a single task here
    # Airflow's own, a hundred in a second, would crowd ours out of the listener's socket while it gets no processor.
    "AIRFLOW__METRICS__METRICS_ALLOW_LIST": r"^kie\.",
    # A killed scheduler's tasks are taken over after half a minute instead of five. The heartbeat that decides about
    # it keeps its default of 30 s: on a busy machine a scheduler that lives is later than 8 s, and takes its own
    # running tasks away from itself.
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    # A proxy that does not answer: KIE and S3 stand on loopback, and nothing there may be asked through it.
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"),
}


APART, MEDIA = "sim-apart", "sim-media"
"""Keys of accounts of the simulator beside the stack's own one; the forms of the first know nothing of each other."""
FORMS_OF_ACCOUNT: Mapping[str, Mapping[str, Any]] = {
    APART: {"ids_between_forms": "separate"},
    MEDIA: {},
}
CONNECTIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "kie_dedicated": (SIMULATOR_KEY, {"api": "dedicated", "account": "kie_default"}),
    "kie_apart": (APART, {}),
    "kie_media": (MEDIA, {"api": "unified", "account": MEDIA, "rate_limit": 1000}),
}
"""Connections beside ``kie_default``, which names no form: key, and what differs in the extra fields."""


def add_connections(running: RunningStack) -> None:
    """Add the connections beside ``kie_default``, which are called back as that one is, and their accounts."""
    default = json.loads(running.env["AIRFLOW_CONN_KIE_DEFAULT"])
    for name, (key, extra) in CONNECTIONS.items():
        fields = {"conn_type": "kie", "host": default["host"], "password": key}
        connection = {**fields, "connection_id": name, "extra": json.dumps({**default["extra"], **extra})}
        running.airflow.call("POST", "/connections", connection)
    for account, habits in FORMS_OF_ACCOUNT.items():
        running.simulator.accept_key(account)
        running.simulator.set(account=account, **habits)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of the stack more time than others: the first one of each shared fixture waits for all of it.

    The time is there against what hangs, and enough for a machine that is several times slower than usual.
    """
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800))


def package_with_one_row_more(into: Path) -> dict[str, str]:
    """Return the settings of a package that is this one, with one row more among its operations.

    :param into: an empty folder.
    """
    plugins = into / "plugins"
    shutil.copytree(PROJECT / "plugins", plugins)
    row = Path(invented_operation.__file__).read_text().partition("\nfrom airflow_kie")
    with (plugins / "airflow_kie" / "client" / "operations" / "account.py").open("a") as family:
        family.write(f"\n{row[1]}{row[2]}")
    return {"PYTHONPATH": str(plugins), "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins)}


def pods_beside(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings with which tasks of the executor ``pods`` run in pods, and all others as ever.

    :param settings: the others, with the package's place.
    """
    places = os.pathsep.join((settings["PYTHONPATH"], str(Path(pod_executor.__file__).parent)))
    return {"PYTHONPATH": places, "AIRFLOW__CORE__EXECUTOR": "LocalExecutor,pods:pod_executor.PodExecutor"}


WITHOUT_LINEAGE = "paid_.*|in_pods|deliver_killed|signed_upload"


def lineage_into(home: Path) -> dict[str, str]:
    """Return the settings by which every task's lineage is written into a folder, a file for each event."""
    (home / "lineage").mkdir()
    transport = {"type": "file", "log_file_path": str(home / "lineage" / "event"), "append": False}
    return {
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        "AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT": "120",  # 10 s by default, after which a busy machine loses an event
        "AIRFLOW__OPENLINEAGE__EMISSION_POLICY": json.dumps(
            [
                # Events of DAG runs are Airflow's own alone, and need another pool of processes beside the scheduler.
                {"scope": {}, "controls": {"emit_dag_events": False}},
                # DAGs of tests that do not look at lineage: each event costs a process.
                {"scope": {"dag_id": WITHOUT_LINEAGE}, "match_mode": "regex", "controls": {"emit": False}},
            ]
        ),
    }


@pytest.fixture(scope="session")
def statsd() -> Iterator[StatsdListener]:
    """Give what every process of the stack sends to StatsD."""
    with listening() as listener:
        yield listener


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, statsd: StatsdListener) -> Iterator[RunningStack]:
    """Give a stack that is up, with the project's DAGs; its parts are started again when a test kills them."""
    dags = tmp_path_factory.mktemp("the dags")
    for file in [*(PROJECT / "dags").glob("*.py"), *(Path(__file__).parent / "dags").glob("*.py")]:
        shutil.copy(file, dags)
    shutil.copy(PROJECT / "docs" / "examples" / "each_archived_song.py", dags)
    home = tmp_path_factory.mktemp("a stack")
    package = package_with_one_row_more(tmp_path_factory.mktemp("the package"))
    airflow = {
        **AIRFLOW,
        "AIRFLOW__KIE__KIE_CONN_IDS": ", ".join(("kie_default", *CONNECTIONS)),
        **package,
        **pods_beside(package),
        **lineage_into(home),
        **statsd_environment(statsd.port),
    }
    with running_stack(home, speed=8.0, dags=dags, airflow=airflow) as running:
        add_connections(running)
        yield running


@pytest.fixture(scope="session")
def songs(stack: RunningStack) -> SongStack:
    """Give the stack as seen from its songs, with every DAG parsed."""
    for dag_id in ("music_cover", "cover_inbox", "music_generate", "kie_ops", "reordered_songs", "each_archived_song"):
        stack.airflow.wait_for_dag(dag_id, seconds=TIMEOUT_SECONDS)
    stack.airflow.pause("each_archived_song")  # its own test wants it; it would cost each song of the others a run
    found = SongStack(stack)
    found.bucket.make_bucket()
    return found


@dataclass(frozen=True)
class Begun:
    """Work that was begun all at once; each test waits for its own part.

    :param good: two songs of a form run; the third one, ``refused``, has sensitive words.
    :param form: the form's run.
    :param reordered: two songs of DAG reordered_songs; KIE does not show their covers as finished yet.
    :param reordered_run: their run.
    :param held: the fault that keeps their covers unfinished.
    :param with_events: three songs of which an event each tells.
    :param in_inbox: four songs dropped into the inbox: one alone, two as JSON Lines, one as CSV.
    :param inbox_run: the run that reads the inbox.
    :param generate_run: a run of music_generate, with the connection that names the dedicated form.
    :param retried: a song whose create KIE refuses once, and whose first cover comes damaged as often as a try asks.
    :param retried_run: its run.
    """

    good: list[str]
    refused: str
    form: str
    reordered: list[str]
    reordered_run: str
    held: list[str]
    with_events: list[str]
    in_inbox: list[str]
    inbox_run: str
    generate_run: str
    retried: str
    retried_run: str


@pytest.fixture(scope="session")
def begun(songs: SongStack) -> Begun:
    """Begin everything that may run side by side: the stack is busy, as it is in real life."""
    simulator = songs.running.simulator
    with_events = songs.songs(*(f"Event {number}" for number in range(1, 4)))
    for song in with_events:
        songs.send_event(song, labels={"our_id": f"E-{song[:4]}"})

    dedicated = {"prompt": "A slow waltz for two tired robots", "kie_conn_id": "kie_dedicated"}
    generate_run = songs.trigger("music_generate", dedicated)

    good = songs.songs("Velvet Harbour", "Été sans fin")
    (refused,) = songs.songs("Rude Words", state="SENSITIVE_WORD_ERROR", error_message="The prompt has sensitive words")
    form = songs.trigger("music_cover", {"music_task_ids": [good[0], refused, good[1]]})

    (retried,) = songs.songs("Second Wind")
    simulator.add_fault("create", "code", kind="cover", source_id=retried)
    simulator.add_fault("file", "truncated", kind="cover", source_id=retried, times=3)
    retried_run = songs.trigger("music_cover", {"music_task_ids": [retried]})

    reordered = songs.songs("Alpha", "Bravo")
    held = [
        simulator.add_fault("details", "unknown_state", kind="cover", source_id=song, state=7, times=-1)
        for song in reordered
    ]
    songs.reorder(reordered)
    reordered_run = songs.trigger("reordered_songs")

    in_inbox = songs.songs("Alone", "Line One", "Line Two", "Row One")
    songs.drop("alone.json", json.dumps({"music_task_id": in_inbox[0], "labels": {"our_id": "A-1"}}))
    lines = [{"music_task_id": song, "labels": {"our_id": f"L-{n}"}} for n, song in enumerate(in_inbox[1:3], start=1)]
    songs.drop("lines.jsonl", "\n".join(json.dumps(line) for line in lines))
    songs.drop("rows.csv", f"music_task_id,album\n{in_inbox[3]},Red\n")
    songs.drop("broken.json", '{"music_task_id": ')
    inbox_run = songs.trigger("cover_inbox")
    return Begun(
        good, refused, form, reordered, reordered_run, held, with_events, in_inbox, inbox_run, generate_run,
        retried, retried_run,
    )  # fmt: skip


@dataclass(frozen=True)
class WithAudio:
    """The run that adds their audio to two songs whose covers are archived.

    :param run_id: the run, which has ended well.
    :param songs: the songs.
    :param before: what the folder of the first one held before.
    """

    run_id: str
    songs: list[str]
    before: Mapping[str, bytes]


@pytest.fixture(scope="session")
def with_audio(songs: SongStack, begun: Begun) -> WithAudio:
    """Give two songs whose audio was asked for later."""
    songs.wait_archived(begun.good)
    before = songs.contents(begun.good[0])
    run = songs.trigger("music_cover", {"music_task_ids": begun.good, "archive_audio": True})
    assert songs.ended("music_cover", run) == "success"
    return WithAudio(run, begun.good, before)


@pytest.fixture(scope="session")
def crashed(songs: SongStack) -> Crashed:
    """Give a run under whose songs processes were killed."""
    return crash_songs(songs)
