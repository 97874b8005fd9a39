"""One run of the suite: songs meet their faults while processes die, then the longer troubles, then the reckoning."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from fault_suite.catalogue import Doom, KieFault, target
from fault_suite.checks import Findings, findings, title_of
from fault_suite.episodes import EPISODES, Episode
from fault_suite.kills import GAP, Killer
from fault_suite.paid import ACCOUNT, PaidRequests
from fault_suite.plan import BatchPlan, Plan, SongPlan
from fault_suite.s3_proxy import Rule
from fault_suite.stage import Stage
from fault_suite.stale import stale_events
from local_stack.airflow_api import AirflowRefused
from local_stack.timeout import Timeout

Say = Callable[[str], None]
RECONCILE_SECONDS = 60.0  # one costs as much as a song


@dataclass
class Outcome:
    """What a run of the suite has come to.

    :param plan: what was planned.
    :param faults: faults that struck, by name.
    :param kills: process and step → how often.
    :param missed: kills that found no moment.
    :param ended: runs under which processes died, and in which state each ended; those with a doomed song are left out.
    :param songs: songs that had to be archived.
    :param doomed: songs that could not be.
    :param batches: runs of many songs, and how many they were together.
    :param under_batches: kills while a song of such a run was held; they are among the others.
    :param dragged: songs that met no fault, and that their run did not archive: another one's stopped them.
    :param stale: how often Airflow failed a task by a stale event of its own.
    :param found: what does not hold.
    :param complaints: what did not go as it must in an episode.
    :param seconds: how long it took.
    :param duplicate: what KIE answered to a create that it had seen before.
    """

    plan: Plan
    faults: Counter[str] = field(default_factory=Counter)
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    songs: int = 0
    doomed: int = 0
    batches: tuple[int, int] = (0, 0)
    under_batches: int = 0
    dragged: list[str] = field(default_factory=list)
    stale: int = 0
    found: Findings = field(default_factory=Findings)
    complaints: list[str] = field(default_factory=list)
    seconds: float = 0.0
    duplicate: str = "named"

    @property
    def injected(self) -> int:
        """Everything that struck, kills included."""
        return self.faults.total() + self.kills.total()

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not (self.found or self.complaints or self.dragged)


class Suite:
    """Carries out a plan on a stage.

    :param stage: the stack.
    :param plan: what is to happen.
    :param say: reports progress to a person.
    :param at_once: songs with faults that are under way at one time.
    :param outage: seconds that the longest outages last.
    :param gap: seconds between two kills of parts of Airflow.
    """

    def __init__(
        self, stage: Stage, plan: Plan, say: Say, *, at_once: int = 14, outage: float = 60.0, gap: float = GAP
    ) -> None:
        self.stage, self.plan, self.say = stage, plan, say
        self.at_once, self.outage_seconds = at_once, outage
        self.killer = Killer(stage, plan.journeys, gap, plan.batches, self._make_others)
        self.outcome = Outcome(plan, duplicate=stage.duplicate)
        self.songs: list[str] = []
        self.creates: dict[str, int] = {}
        self._generated: dict[str, str] = {}
        """The songs that cost credits: title and run."""
        self._adopted: set[str] = set()
        self._kie: list[tuple[str, str]] = []
        self._once: dict[str, str] = {}
        self._s3: list[tuple[str, Rule]] = []
        self._under_way: list[str] = []
        self._without_faults: set[str] = set()
        self._seen_archived: set[str] = set()

    def run(self, seconds: float = 900.0) -> Outcome:
        """Carry the plan out and return what came of it.

        :param seconds: for the songs and kills; what is not done by then is left out, and logged.
        """
        began = time.monotonic()
        self._doom(once=False)
        self._generate()
        self._mix(Timeout(seconds))
        self._settle()
        if self._doom(once=True):
            self._settle()
        self._episodes()
        self._settle()
        return self._reckon(began)

    # --- parts ---

    def _doom(self, *, once: bool) -> int:
        """Send the songs that cannot succeed, and return how many."""
        dooms = [doom for doom in self.plan.dooms if doom.once is once]
        for doom in dooms:
            self.stage.send_event(self._make_doomed(doom))
        return len(dooms)

    def _make_doomed(self, doom: Doom) -> str:
        (song,) = self.stage.running.simulator.make_music(doom.name, **doom.music)
        self.creates[song.task_id] = doom.creates
        if doom.fault:
            fault = self._arm(doom.name, doom.fault, song.task_id)
            if doom.once:
                self._once[fault] = doom.name
        return song.task_id

    def _make_others(self, batch: BatchPlan) -> list[str]:
        """Make the songs of a run of many, except the one that is held."""
        return [*map(self._make, batch.songs), *map(self._make_doomed, batch.dooms)]

    def _generate(self) -> None:
        """Ask for songs that cost credits; the answer to each create is lost."""
        for number, fault in enumerate(self.plan.generated, start=1):
            title = f"Paid song {number}"
            self._arm(fault.name, fault, title)
            self._generated[title] = self.stage.generate(title)

    def _mix(self, timeout: Timeout) -> None:
        waiting, reported = deque(self.plan.songs), time.monotonic()
        while waiting or not self.killer.finished:
            if timeout.expired():
                self.say(f"Out of time: {len(waiting)} songs with faults are left out.")
                break
            self._under_way = [song for song in self._under_way if not self._archived(song)]
            while waiting and len(self._under_way) < self.at_once:
                self._under_way.append(self._send(waiting.popleft()))
            try:
                self.killer.check()
            except (TimeoutError, AirflowRefused, httpx.HTTPError) as error:
                self.say(f"A kill failed: {error}")
            if time.monotonic() - reported > 30:
                reported = time.monotonic()
                self._tell(len(waiting))
            time.sleep(0.8)
        self.killer.stop()

    def _settle(self, seconds: float = 900.0) -> None:
        """Wait until every song is archived and nothing goes on; dropped songs are dispatched again meanwhile.

        :param seconds: how long no further song may be archived before that is given up. A request whose callback
            does not come is in doubt after 420.
        """
        timeout, reconcile_at = Timeout(seconds), time.monotonic() + RECONCILE_SECONDS
        fewest = len(self._all_songs()) + 1
        while not timeout.expired():
            pending = [song for song in self._all_songs() if not self._archived(song)] + self._not_made()
            active = self.stage.active_runs()
            if not pending and not active:
                return
            if len(pending) < fewest:
                fewest, timeout = len(pending), Timeout(seconds)
            if time.monotonic() > reconcile_at:
                self.say(f"{len(pending)} covers are pending, {len(active)} runs continue; cover_inbox reconciles.")
                self._adopt()
                self.stage.reconcile()
                reconcile_at = time.monotonic() + RECONCILE_SECONDS
            time.sleep(1.0)

    def _adopt(self) -> None:
        """Name the song of each request that is in doubt, as a person does who has looked it up at KIE.

        The answer to its create was lost, and its callbacks met an api-server that was down: a callback that has
        arrived must have brought the id, and one that could not be delivered anywhere says nothing of an api-server.
        """
        made, titles = self._made(), {run_id: title for title, run_id in self._generated.items()}
        for ledger in PaidRequests(self.stage.running).ledgers() if made else ():
            for request, doubt in ledger.doubts(ACCOUNT):
                title = titles.get(doubt.intent.owner.get("run", ""))
                if title in made:
                    self.say(f"{title} was in doubt and was adopted.")
                    callbacks = self.stage.running.simulator.state()["callbacks"]
                    told = [callback["outcome"] for callback in callbacks if callback["task_id"] == made[title]]
                    if not told or {*told} - {"gave_up", "lost"}:
                        self.outcome.complaints.append(f"{title} was in doubt; its callbacks: {told}")
                    ledger.adopt(request, made[title])
                    self._adopted.add(self._generated[title])
        for run_id in self._adopted:  # one that fails only after its song was adopted fails before the next look
            self.stage.start_failed_again("music_generate", run_id)

    def _episodes(self) -> None:
        for name in self.plan.episodes:
            self.say(f"Episode: {name}.")
            episode = Episode(self.stage, self.outage_seconds, self.plan.outage_songs)
            try:
                EPISODES[name](episode)
            except (TimeoutError, AirflowRefused, httpx.HTTPError) as error:
                episode.complaints.append(f"{name}: {error}")
            self.songs += episode.songs
            self.outcome.faults.update(episode.faults)
            self.outcome.complaints += episode.complaints
            for complaint in episode.complaints:
                self.say(f"  {complaint}")

    def _reckon(self, began: float) -> Outcome:
        outcome = self.outcome
        outcome.faults.update(self._struck())
        outcome.kills = self.killer.done
        outcome.missed = [f"{kill.victim}: {kill.step.name}" for kill in self.killer.missed]
        outcome.ended = {run_id: self.stage.wait_ended("music_cover", run_id) for run_id in self.killer.runs}
        outcome.songs, outcome.doomed = len(self._all_songs()), len(self.creates) + len(self.killer.doomed)
        creates = {**self.creates, **dict.fromkeys(self.killer.doomed, 0)}
        outcome.found = findings(self.stage, self._all_songs(), creates, at_the_end=True)
        outcome.complaints += self._sent_again() + [f"{title} was never made" for title in self._not_made()]
        for run_id, songs in self.killer.batches.items():
            self.stage.wait_ended("music_cover", run_id)
            try:
                failed = self.stage.not_archived_by(run_id, [song for song in songs if song in self._without_faults])
            except AirflowRefused as error:
                outcome.complaints.append(f"{run_id} has no report: {error}")
                continue
            outcome.dragged += [f"{song} in {run_id}: {reason}" for song, reason in failed.items()]
        songs_of_many = sum(1 + len(songs) for songs in self.killer.batches.values())
        outcome.batches, outcome.under_batches = (len(self.killer.batches), songs_of_many), self.killer.under_batches
        outcome.stale = stale_events(self.stage.part_log("scheduler"))
        outcome.seconds = time.monotonic() - began
        return outcome

    # --- songs ---

    def _send(self, planned: SongPlan) -> str:
        song = self._make(planned)
        self.stage.send_event(song)
        return song

    def _make(self, planned: SongPlan) -> str:
        (song,) = self.stage.running.simulator.make_music(planned.title, **planned.music)
        for fault in planned.faults:
            if isinstance(fault, KieFault):
                self._arm(fault.name, fault, song.task_id)
            else:
                self._s3.append((fault.name, self.stage.proxy.add(fault.rule(song.task_id))))
        self.songs.append(song.task_id)
        if not planned.faults:
            self._without_faults.add(song.task_id)
        return song.task_id

    def _arm(self, name: str, fault: KieFault, song: str) -> str:
        meant = {**target(fault, song), **fault.options}
        number = self.stage.running.simulator.add_fault(fault.phase, fault.action, **meant)
        self._kie.append((name, number))
        return number

    def _archived(self, song: str) -> bool:
        manifest = self.stage.bucket / self.stage.prefix / song / "manifest.json"
        if song not in self._seen_archived and manifest.exists():
            self._seen_archived.add(song)
        return song in self._seen_archived

    def _all_songs(self) -> list[str]:
        return [*self.songs, *self.killer.songs, *self._made().values()]

    def _made(self) -> dict[str, str]:
        """Return the songs that KIE has made for credits: title and id."""
        charges = self.stage.running.simulator.ledger("music") if self._generated else []
        return {title_of(charge): charge["task_id"] for charge in charges}

    def _not_made(self) -> list[str]:
        made = self._made()
        return [title for title in self._generated if title not in made]

    # --- counts ---

    def _struck(self) -> Counter[str]:
        armed = {fault["id"]: fault["struck"] for fault in self.stage.running.simulator.faults()}
        counted: Counter[str] = Counter()
        for name, number in self._kie:
            counted[name] += armed.get(number, 0)
        for name, rule in self._s3:
            counted[name] += rule.struck
        return +counted

    def _sent_again(self) -> list[str]:
        """Return the creates that KIE refused for good and that were sent again."""
        armed = {fault["id"]: fault["struck"] for fault in self.stage.running.simulator.faults()}
        sent = [(name, armed.get(number, 0)) for number, name in self._once.items()]
        return [f"{name}: sent {times} times" for name, times in sent if times > 1]

    def _tell(self, waiting: int) -> None:
        struck, kills = self._struck().total(), self.killer.done.total()
        archived = len([song for song in self._all_songs() if self._archived(song)])
        self.say(
            f"{struck + kills} faults so far, {kills} of them kills; {archived} of {len(self._all_songs())} songs "
            f"are archived, {waiting} are waiting."
        )
        early = findings(self.stage, (), self.creates, at_the_end=False)
        if early.double or early.too_often or early.other:
            self.say(f"  Failed: {early}")
