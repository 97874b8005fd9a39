"""What goes wrong, on purpose, and which alerts say so."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx

from airflow_kie.archive.ledger_store import BucketLedgerStore
from airflow_kie.archive.pending import Pending, new_pending
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.client.operations.suno import COVER
from airflow_kie.lifecycle.claims import InDoubt, Intent, RequestId
from airflow_kie.lifecycle.identity import request_digest
from airflow_kie.lifecycle.ledger import Ledger
from fault_suite.s3_proxy import Rule
from fault_suite.stage import PENDING, Stage
from local_stack.archive_check import claimed_songs
from local_stack.bucket import BucketPath
from local_stack.environment import SIMULATOR_KEY
from monitoring_programs import Exporter, Prometheus
from song_stack import eventually

SOONER = 30
"""How many times sooner the rules speak here: half an hour is a minute."""
CREDITS_ALERT = 100
"""`[kie] credits_alert` here."""
End = Callable[[], None]
_TAKES_PERMITS = """
import sys, time
from airflow_kie.hooks.kie import KieHook
limiter = KieHook().limiter()
for _ in range(20):
    limiter.take()
print("full", flush=True)
while True:
    limiter.take()
    time.sleep(0.05)
"""


@dataclass(frozen=True)
class Scene:
    """Where it goes wrong.

    :param stage: Airflow, the simulator, and S3 behind a proxy.
    :param exporter: takes what Airflow sends.
    :param prometheus: what sees it.
    """

    stage: Stage
    exporter: Exporter
    prometheus: Prometheus

    @property
    def receiver(self) -> str:
        """The address at which KIE calls back."""
        return f"{self.stage.running.state.urls['airflow']}/kie/callback/kie_default"

    @property
    def ledger(self) -> Ledger:
        """The ledger of paid requests, not through the proxy."""
        place = self.stage.bucket
        return Ledger(BucketLedgerStore(Bucket(place.client, place.bucket), f"{self.stage.prefix}/_paid/"))

    def songs(self, count: int, **order: object) -> list[str]:
        """Make songs on the simulator and return their music task ids."""
        return [song.task_id for song in self.stage.running.simulator.make_music(count=count, **order)]

    def start(self, songs: Sequence[str]) -> None:
        """Announce finished songs, as a system outside Airflow would."""
        for song in songs:
            self.stage.send_event(song)

    def start_together(self, songs: Sequence[str]) -> None:
        """Announce finished songs in one event: one run takes all of them, in one batch."""
        airflow = self.stage.airflow
        self.stage.ask(lambda: airflow.create_asset_event(PENDING, {"music_task_ids": list(songs)}))

    def wait_archived(self, songs: Sequence[str]) -> None:
        """Wait until songs are archived and no longer pending."""
        folder = self.stage.bucket / self.stage.prefix
        for song in songs:
            done = folder / song / "manifest.json"
            eventually(lambda done=done: done.exists(), f"song {song} is archived", pause=0.5)  # type: ignore[misc]
            eventually(lambda song=song: not self.pending(song).exists(), f"song {song} is not pending any more")  # type: ignore[misc]

    def pending(self, song: str) -> BucketPath:
        """Return the song's pending record."""
        return self.stage.bucket / self.stage.prefix / "_pending" / f"{song}.json"

    def add_pending(self, song: str, **known: object) -> End:
        """Write the pending record of a song that nobody works on, and no run takes; return what forgets it."""
        record: Pending = new_pending(song, received_from="inbox", now=datetime.now(UTC)).changed(**known)
        held = self.stage.bucket / self.stage.prefix / "_retry" / f"{song}.1"
        held.write_text("")
        self.pending(song).write_text(json.dumps(record.to_json()))

        def end() -> None:
            self.pending(song).unlink()
            held.unlink()

        return end

    def clear_cover(self, song: str) -> None:
        """Clear the task that makes a song's cover, as a person does who has fixed what it waits for."""
        airflow, claims = self.stage.airflow, claimed_songs(self.stage.bucket, self.stage.prefix)
        (run_id,) = [
            run["dag_run_id"]
            for run in self.stage.ask(lambda: airflow.runs("music_cover"))
            if song in claims.get(run["dag_run_id"], ())
        ]
        tasks = self.stage.ask(lambda: airflow.task_instances("music_cover", run_id))
        (task,) = [(task.task_id, task.map_index) for task in tasks if task.name == "generate_cover"]
        self.stage.ask(lambda: airflow.clear("music_cover", run_id, [task]))

    def runs_ended(self, songs: Sequence[str]) -> bool:
        """Whether every song was taken, and the runs that have taken them have ended."""
        runs = self.stage.ask(lambda: self.stage.airflow.runs("music_cover"))
        claims = claimed_songs(self.stage.bucket, self.stage.prefix)
        states = {song: run["state"] for run in runs for song in claims.get(run["dag_run_id"], ()) if song in songs}
        return states.keys() == {*songs} and {*states.values()} <= {"success", "failed"}


@dataclass(frozen=True)
class Cause:
    """Something that goes wrong.

    :param alerts: the alerts that say so, and why where it is more than one.
    :param begin: lets it begin, and returns what ends it and waits until its songs are archived.
    """

    alerts: Mapping[str, str]
    begin: Callable[[Scene], End]


def kie_answers(code: int, message: str) -> Callable[[Scene], End]:
    """KIE refuses every request, while a song is to be covered."""

    def begin(scene: Scene) -> End:
        simulator, songs = scene.stage.running.simulator, scene.songs(1)
        fault = simulator.add_fault("api", "code", times=-1, code=code, msg=message)
        scene.start(songs)

        def end() -> None:
            simulator.clear_faults(fault)
            scene.wait_archived(songs)

        return end

    return begin


def no_credits(scene: Scene) -> End:
    """The account is empty."""
    simulator, songs = scene.stage.running.simulator, scene.songs(1)
    simulator.set_credits(0)
    scene.start(songs)

    def end() -> None:
        simulator.set_credits(10_000)
        scene.wait_archived(songs)

    return end


def few_credits(scene: Scene) -> End:
    """The balance is below the threshold; songs go on."""
    songs = scene.songs(1)
    scene.stage.running.simulator.set_credits(CREDITS_ALERT * 0.6)
    scene.start(songs)

    def end() -> None:
        scene.wait_archived(songs)
        scene.stage.running.simulator.set_credits(10_000)

    return end


def record_is_damaged(scene: Scene) -> End:
    """A pending record is not what was written: nobody knows what its song waits for."""
    record = scene.pending("c" * 32)
    record.write_text("{")
    return record.unlink


def bucket_refuses(scene: Scene) -> End:
    """S3 denies everything, before anything is paid."""
    songs = scene.songs(1)
    rule = scene.stage.proxy.add(Rule("error", times=-1, status=403, code="AccessDenied"))
    scene.start(songs)

    def end() -> None:
        scene.stage.proxy.remove(rule)
        scene.wait_archived(songs)

    return end


def receiver_is_refused(scene: Scene) -> End:
    """S3 denies the receiver the record of a song that another program has made; KIE calls four times."""
    (song,) = scene.songs(1)
    call = scene.stage.running.simulator.send_callback
    rule = scene.stage.proxy.add(Rule("error", f"_pending/{song}", ("PUT",), times=-1, status=403, code="AccessDenied"))
    assert set(call(song, url=scene.receiver)["statuses"]) == {500}

    def end() -> None:
        scene.stage.proxy.remove(rule)
        assert call(song, url=scene.receiver)["statuses"] == [200]
        scene.wait_archived([song])

    return end


def callbacks_are_lost(scene: Scene) -> End:
    """KIE calls and nobody answers; the covers are found by polls, a minute later."""
    simulator, songs = scene.stage.running.simulator, scene.songs(4)
    fault = simulator.add_fault("callback", "lost", kind="cover", times=-1)
    scene.start(songs)

    def end() -> None:
        scene.wait_archived(songs)
        simulator.clear_faults(fault)

    return end


def callbacks_are_forged(scene: Scene) -> End:
    """Somebody without KIE's secret calls thirty times."""
    body = {"code": 200, "msg": "ok", "data": {"callbackType": "complete", "task_id": "0" * 32, "data": []}}
    with httpx.Client(trust_env=False, timeout=30) as stranger:
        assert {stranger.post(scene.receiver, json=body).status_code for _ in range(30)} <= {401, 429}
    return lambda: None


def songs_are_rejected(scene: Scene) -> End:
    """KIE has refused the words of five songs, and no retry helps; on a busy machine they take a minute to fail."""
    songs = scene.songs(5, state="SENSITIVE_WORD_ERROR", error_message="The prompt has sensitive words")
    scene.start(songs)

    def end() -> None:
        eventually(lambda: scene.runs_ended(songs), "the runs of the rejected songs have ended", pause=0.5)
        for song in songs:  # a person gives them up
            scene.pending(song).unlink(missing_ok=True)

    return end


def ops_is_paused(scene: Scene) -> End:
    """Somebody pauses kie_ops."""
    scene.stage.ask(lambda: scene.stage.airflow.pause("kie_ops"))
    return lambda: scene.stage.ask(lambda: scene.stage.airflow.unpause("kie_ops"))


def paid_is_not_archived(scene: Scene) -> End:
    """S3 denies every upload once six covers of one batch are paid for, and so what KIE then calls back with."""
    simulator, songs = scene.stage.running.simulator, scene.songs(6)
    for song in songs:
        simulator.add_fault("task", "takes", kind="cover", source_id=song, seconds=400)
    scene.start_together(songs)

    def paid() -> bool:
        return {charge["source_id"] for charge in simulator.ledger("cover")} >= set(songs)

    eventually(paid, "six covers are paid for", pause=0.5)
    rule = scene.stage.proxy.add(Rule("error", methods=("PUT",), times=-1, status=403, code="AccessDenied"))

    def end() -> None:
        scene.stage.proxy.remove(rule)
        scene.wait_archived(songs)

    return end


def song_is_pending_for_long(scene: Scene) -> End:
    """A song was first seen seven hours ago and nobody works on it."""
    return scene.add_pending("a" * 32, first_seen_at=datetime.now(UTC) - timedelta(hours=7) / SOONER)


def files_expire(scene: Scene) -> End:
    """KIE deletes in a day what nobody has archived."""
    return scene.add_pending("b" * 32, expires_at=datetime.now(UTC) + timedelta(days=1) / SOONER)


def download_is_cut_off(scene: Scene) -> End:
    """A cover comes truncated, as often as one attempt asks for it."""
    songs = scene.songs(1)
    simulator = scene.stage.running.simulator
    fault = simulator.add_fault("file", "truncated", source_id=songs[0], role="image", times=-1)
    scene.start(songs)

    def retried() -> bool:
        return bool(scene.prometheus.now("kie_retried_total > 0"))

    def end() -> None:
        eventually(retried, "an attempt is retried", pause=0.5)
        simulator.clear_faults(fault)
        scene.wait_archived(songs)

    return end


def cover_was_paid_before(scene: Scene) -> End:
    """Another program has asked KIE for this song's cover."""
    songs = scene.songs(1)
    body = {"taskId": songs[0], "callBackUrl": "https://example.invalid/"}
    url = f"{scene.stage.running.state.urls['simulator']}/api/v1/suno/cover/generate"
    headers = {"Authorization": f"Bearer {SIMULATOR_KEY}"}
    answer = httpx.post(url, json=body, headers=headers, trust_env=False, timeout=60)
    assert answer.json()["code"] == 200, answer.text
    scene.start(songs)
    return lambda: scene.wait_archived(songs)


def answer_was_lost(scene: Scene) -> End:
    """A worker died an hour ago while it asked for this song's cover: what costs nothing is asked for once more."""
    (song,) = scene.songs(1)
    request = RequestId("kie_default", COVER.name, request_digest(COVER, {"taskId": song}, {}))
    scene.ledger.claim(request, Intent.made_at(time.time() - 3600))
    scene.start([song])
    return lambda: scene.wait_archived([song])


def rate_is_used_up(scene: Scene) -> End:
    """Another process of the account makes new tasks as fast as KIE allows."""
    songs = scene.songs(1)
    greedy = subprocess.Popen(
        [sys.executable, "-c", _TAKES_PERMITS], env=scene.stage.running.env, stdout=subprocess.PIPE, text=True
    )
    assert greedy.stdout is not None
    while line := greedy.stdout.readline():
        if line.strip() == "full":
            break
    scene.start(songs)

    def end() -> None:
        try:
            eventually(
                lambda: scene.prometheus.now("kie_throttled_seconds_count > 0"), "a create is held back", pause=0.5
            )
        finally:
            greedy.kill()
            greedy.communicate()
        scene.wait_archived(songs)

    return end


def exporter_is_restarted(scene: Scene) -> End:
    """statsd_exporter is restarted after a check of kie_ops, and has nothing to show until the next one."""

    def last_check() -> str:
        found = scene.prometheus.now("kie_health_check_time_seconds")
        return str(found[0]["value"][1]) if found else ""

    before = last_check()
    eventually(lambda: last_check() not in ("", before), "kie_ops has just checked", pause=0.5)
    scene.exporter.restart()
    eventually(lambda: not last_check(), "the exporter has forgotten the check")

    def end() -> None:
        eventually(last_check, "kie_ops has checked again", pause=0.5)

    return end


def request_is_in_doubt(scene: Scene) -> End:
    """A song was asked for, the answer was lost, and nobody knows whether KIE has made it."""
    ledger, request = scene.ledger, RequestId("kie_default", "suno.music", "d" * 32)
    ledger.claim(request, Intent.made_at(0.0))
    doubt = ledger.find(request)
    assert isinstance(doubt, InDoubt)
    ledger.record_doubt(request, doubt)

    def end() -> None:
        ledger.record(request, 1, "released")

    return end


BLOCKED = "the songs wait, and kie_ops finds out why"
CAUSES: Mapping[str, Cause] = {
    "a download is cut off": Cause({}, download_is_cut_off),
    "a cover was paid before": Cause({}, cover_was_paid_before),
    "the answer about a cover was lost": Cause({}, answer_was_lost),
    "the rate is used up": Cause({}, rate_is_used_up),
    "the exporter is restarted": Cause({}, exporter_is_restarted),
    "KIE is down": Cause({"KieSongsBlocked kie": BLOCKED}, kie_answers(455, "Under maintenance")),
    "no credits": Cause({"KieSongsBlocked credits": BLOCKED}, no_credits),
    "few credits are left": Cause(
        {"KieSongsBlocked credits": "songs go on, and soon will not: below [kie] credits_alert"}, few_credits
    ),
    "a record is damaged": Cause({"KieSongsBlocked record": "its song would be forgotten"}, record_is_damaged),
    "the key is refused": Cause(
        {"KieSongsBlocked account": BLOCKED}, kie_answers(401, "You do not have access permissions")
    ),
    "the bucket refuses": Cause({"KieSongsBlocked s3": BLOCKED}, bucket_refuses),
    "the bucket refuses the receiver": Cause({"KieCallbacksNotStored": "KIE was answered 500"}, receiver_is_refused),
    "callbacks are lost": Cause({"KieCallbacksMissing kie_default": "polls alone find covers"}, callbacks_are_lost),
    "callbacks are forged": Cause({"KieCallbacksRefused": "30 calls without a signature"}, callbacks_are_forged),
    "songs are rejected": Cause({"KieFailures content_rejected": "songs failed for good"}, songs_are_rejected),
    "kie_ops is paused": Cause({"KieOpsNotRunning": "nobody checks"}, ops_is_paused),
    "paid and not archived": Cause(
        {
            "KieSongsBlocked s3": "the uploads are refused: what to fix",
            "KiePaidButNotArchived": "for two hours nothing of what is paid for came: how much it matters",
            "KieCallbacksNotStored": "each names its request, and the ledger that takes the task's id is in S3",
            "KieCallbacksMissing kie_default": "none was stored, so only reads have found the covers",
        },
        paid_is_not_archived,
    ),
    "a request is in doubt": Cause({"KiePersonNeeded doubt": "it may have been paid for"}, request_is_in_doubt),
    "a song is pending for long": Cause({"KieSongPendingTooLong": "seven hours"}, song_is_pending_for_long),
    "files expire": Cause({"KieFilesExpire": "in a day"}, files_expire),
}
TOGETHER: Sequence[Sequence[str]] = (
    ("a download is cut off", "a cover was paid before", "the rate is used up"),
    ("the exporter is restarted",),
    ("KIE is down",),
    ("no credits",),
    ("few credits are left", "a record is damaged", "a request is in doubt", "the answer about a cover was lost"),
    ("the key is refused",),
    ("the bucket refuses",),
    (
        "kie_ops is paused",
        "songs are rejected",
        "callbacks are lost",
        "callbacks are forged",
        "the bucket refuses the receiver",
    ),
    ("paid and not archived", "a song is pending for long", "files expire"),
)
"""Which causes are there at the same time; one group follows the other once nothing of it is left."""
