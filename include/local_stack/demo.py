"""``./run demo``: songs on the simulator, their covers in S3, from start to stop in one command."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
from rich.console import Console

from local_stack.airflow_api import AirflowApi, AirflowRefused, TaskInstance
from local_stack.archive_check import ArchivedSong, check_song
from local_stack.bucket import BucketPath, s3_client
from local_stack.demo_progress import STEPS, Progress
from local_stack.demo_report import report
from local_stack.failure import explain
from local_stack.secret_keys import keep_secrets
from local_stack.settings import add_sqlite, demo_settings
from local_stack.stack import Stack, StackFailed
from local_stack.state import StackState
from local_stack.timeout import Timeout

DAG = "music_cover"
TITLES = ("Morning over Lisbon", "Été sans fin", "Paper Boats", "Neon Rain", "The Lighthouse", "Slow Train North")
RUN_SECONDS = 720.0
SONG_SECONDS = 1.0
"""How much longer a run may take for each song: KIE takes two new tasks a second."""
FASTEST = 100_000
"""Simulated seconds per second that the simulator takes at most."""
LOG_LINES = 20
FILES = "songs"
"""Folder, beside the logs, for copies of what was archived."""


@dataclass(frozen=True)
class Song:
    """A song that is finished on the simulator."""

    music_task_id: str
    title: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--songs", type=_count, default=4, metavar="N", help="how many songs (default: 4)")
    parser.add_argument("--keep", action="store_true", help="leave the stack running at the end")
    parser.add_argument(
        "--speed", type=_speed, default=8.0, help="simulated seconds per second; a cover takes 30 to 60 (default: 8)"
    )
    add_sqlite(parser)
    parser.epilog = "It always uses the simulator, even if keys are set: nothing is paid."


def run(options: argparse.Namespace) -> int:
    """Run the demo.

    :param options: ``songs``, ``keep``, ``speed``, ``sqlite``.
    :return: exit code: 0 only when every song is archived.
    """
    began = time.monotonic()
    settings = demo_settings(os.environ, options.speed, options.sqlite)
    console = Console(highlight=False)
    say(f"The demo runs in {settings.home}")
    if os.environ.get("KIE_API_KEY"):
        say("KIE_API_KEY is set, but the demo only ever uses the simulator; ./run up uses your key.")
    with Stack(settings) as stack:
        try:
            try:
                status = Demo(stack, console, began).run(options.songs)
            except (AirflowRefused, httpx.HTTPError) as error:
                status = 1
                say(f"The demo failed: {error}\nLogs: {settings.logs}")
            kept = stack.keep() if options.keep else None
        except StackFailed as failure:
            stack.stop()
            say(explain(failure))
            return 1
        except BaseException:
            say(f"\nThe demo was interrupted while {phase(stack.state)}. Logs: {settings.logs}")
            raise
        say(f"Files: {settings.home / FILES}   Logs: {settings.logs}")
        if kept is not None:
            say(f"Airflow keeps running: {kept.urls['airflow']}  Stop it with: ./run down")
            return status
    say(f"Everything is stopped. The demo took {time.monotonic() - began:.0f} s.")
    return status


class Demo:
    """One demo on one stack."""

    def __init__(self, stack: Stack, console: Console, began: float) -> None:
        """Prepare; nothing is asked of the stack yet."""
        self.stack = stack
        self.settings = stack.settings
        self.console = console
        self.began = began

    def run(self, count: int) -> int:
        """Make songs, run the DAG for them, show it and check what was archived.

        :param count: how many songs.
        :return: exit code.
        """
        state = self.wait()
        api = AirflowApi(state.urls["airflow"])
        say(f"Airflow is up after {time.monotonic() - self.began:.0f} s: {api.url}")
        songs = make_songs(state.urls["simulator"], titles_of(count))
        api.wait_for_dag(DAG)
        conf = {
            "music_task_ids": [song.music_task_id for song in songs],
            "bucket": self.settings.bucket,
            "prefix": self.settings.prefix,
        }
        run_id = api.trigger(DAG, conf)
        with Progress([song.title for song in songs], self.console) as progress:
            run_state = self.follow(api, run_id, progress)
        bucket = BucketPath(s3_client(state.urls["s3"], keep_secrets(self.settings.home)), self.settings.bucket)
        archived = [check_song(bucket, self.settings.prefix, song.music_task_id) for song in songs]
        whole = report(self.console, progress.titles, archived, progress.steps)
        self.copy(archived)
        if not (whole and run_state == "success"):
            self.show_failures(api, run_id, run_state)
        return 0 if whole and run_state == "success" else 1

    def copy(self, songs: Sequence[ArchivedSong]) -> None:
        """Copy the songs' files out of S3, which ends with the stack, so that a person can open them."""
        for song in songs:
            folder = self.settings.home / FILES / song.manifest.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            for file in song.manifest.parent.iterdir():
                (folder / file.name).write_bytes(file.read_bytes())

    def wait(self) -> StackState:
        """Wait for the stack, reporting each part as it comes up."""
        reported: set[str] = set()

        def show(state: StackState) -> None:
            for part, seconds in state.seconds.items():
                if part not in reported:
                    reported.add(part)
                    say(f"  {seconds:5.1f} s  {PART_WORDS.get(part, part)}")

        say("Starting the simulator, S3 and Airflow …")
        return self.stack.wait_until_ready(show)

    def follow(self, api: AirflowApi, run_id: str, progress: Progress) -> str:
        """Show a run until it ends, and return its state; ``timed out`` when it does not."""
        timeout = Timeout(RUN_SECONDS + SONG_SECONDS * len(progress.titles))
        while True:
            self.stack.check()
            state = api.run_state(DAG, run_id)  # before its tasks: the last read then shows how they ended
            progress.observe(api.task_instances(DAG, run_id))
            if state in ("success", "failed"):
                return state
            if timeout.expired():
                return "timed out"
            time.sleep(0.4)

    def show_failures(self, api: AirflowApi, run_id: str, run_state: str) -> None:
        """Say which steps failed, with the last lines of the first one's log."""
        say(f"\nThe run {run_id} of {DAG}: {run_state}.")
        failed = [task for task in api.task_instances(DAG, run_id) if task.state == "failed"]
        failed.sort(key=lambda task: (STEPS.index(task.name) if task.name in STEPS else len(STEPS), task.map_index))
        for task in failed:
            say(f"  {_named(task)} failed.")
        if failed:
            first = failed[0]
            log = api.logs(DAG, run_id, first.task_id, first.try_number, first.map_index)
            lines = [line for line in log.splitlines() if "::group::" not in line and "::endgroup::" not in line]
            say(f"Last lines of the log of {_named(first)}:")
            say("\n".join(f"  | {line[:400]}" for line in lines[-LOG_LINES:]))
        say(f"Task logs: {self.settings.airflow_home / 'logs'}")


PART_WORDS: Mapping[str, str] = {
    "database": "Airflow's database is made",
    "postgres": "PostgreSQL answers",
    "simulator": "the KIE simulator answers",
    "s3": "S3 answers",
    "api-server": "Airflow's UI answers",
    "airflow": "scheduler, triggerer and dag-processor are healthy",
}


def titles_of(count: int) -> list[str]:
    """Return so many titles, each once."""
    return [TITLES[i % len(TITLES)] + (f" {i // len(TITLES) + 1}" if i >= len(TITLES) else "") for i in range(count)]


def make_songs(simulator: str, titles: Sequence[str]) -> list[Song]:
    """Make finished songs on the simulator, without charge.

    :param simulator: its address.
    :param titles: one for each song.
    """
    body = {"titles": list(titles)}
    answer = httpx.post(f"{simulator}/_sim/music", json=body, trust_env=False, timeout=30)
    answer.raise_for_status()
    return [Song(song["task_id"], song["title"]) for song in answer.json()["songs"]]


def phase(state: StackState | None) -> str:
    """Say what a stack is doing."""
    if state is None or state.phase == "starting":
        waiting = sorted(set(PART_WORDS) - set(state.seconds if state else ()) - {"database", "postgres"})
        return f"the stack was starting (not up yet: {', '.join(waiting)})"
    return "the songs were on their way"


def _named(task: TaskInstance) -> str:
    return task.task_id if task.map_index < 0 else f"{task.task_id} of {task.label or f'song {task.map_index + 1}'}"


def say(text: str) -> None:
    """Tell the person."""
    print(text, file=sys.stdout, flush=True)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 1000):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to 1000")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= FASTEST:
        raise argparse.ArgumentTypeError(f"{text} is not greater than 0 and at most {FASTEST}")
    return speed
