"""What one run of the suite does, drawn from a seed: which song meets which faults, which process dies where."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fault_suite.catalogue import DOOMS, GENERATE, SLOTS, UNHEARD, Doom, KieFault, SongFault, refused_reads
from fault_suite.steps import NO_PROCESS, STEPS, VICTIMS, Step

HANDS: Mapping[str, float] = {
    "create": 1,
    "music": 4,  # reads in the triggerer cost next to nothing, so these may be many
    "cover": 7,
    "ending": 0.3,
    "file": 2,
    "balance": 0.2,
    "link": 0.3,
    "pending": 0.6,
    "upload": 0.7,
    "manifest": 0.5,
    "manifest_read": 0.5,
}
"""How many kinds of a slot a song meets, on the average."""
SMALL = (
    (
        ("dag-processor", "music complete, deferred"),
        ("task", "cover, create in flight"),
        ("triggerer", "cover, deferred"),
    ),
    (("task", "cover, id stored"), ("api-server", "cover, deferred"), ("supervisor", "archive, upload")),
    (("scheduler", "cover, create in flight"),),
)
"""The kills of the small plan, one line for each song: every process, and always the moments around a payment.

Several on a song, since what costs is its tasks; the last line is begun first.
"""
BATCHED = (
    (
        ("task", "music complete"),
        ("task", "cover, create in flight"),
        ("triggerer", "cover, deferred"),
        ("task", "archive, upload"),
    ),
    (
        ("triggerer", "music complete, deferred"),
        ("supervisor", "cover, id stored"),
        ("scheduler", "cover, deferred"),
        ("supervisor", "archive, download"),
    ),
    (
        ("scheduler", "cover, create in flight"),
        ("task", "cover, id stored"),
        ("api-server", "cover, deferred"),
        ("task", "archive, before the manifest"),
    ),
)
"""The kills of the full plan under runs of many songs, one line for each run."""
BATCH_SONGS = 50
"""Songs of a run of many, which go in one batch."""
DOOMED_IN_BATCHES = ("sensitive words", "cover fails again and again")
"""What fails beside the others: one song before anything is paid, one with each of its covers."""
BATCH_SHARE = 1 / 3
"""How many of the songs with faults come in runs of many."""
TWICE = ("cover, before the create", "cover, create in flight", "cover, id stored", "archive, before the manifest")
"""The moments around a payment and before the manifest: in the full plan every process dies at each of them twice."""
MORE = 1.4
"""How many more faults are planned than are asked for: not each finds its moment."""


@dataclass(frozen=True)
class SongPlan:
    """A song and the faults that it meets; all of them can be survived.

    :param title: its title.
    :param faults: at most one for each slot.
    :param music: how it is made on the simulator.
    """

    title: str
    faults: tuple[SongFault, ...]
    music: Mapping[str, Any] = field(default_factory=dict)


_UNHEARD = SongPlan("Unheard cover", UNHEARD)


@dataclass(frozen=True)
class Kill:
    """One process kill.

    :param victim: which process, see :data:`~fault_suite.steps.VICTIMS`.
    :param step: where the song is that it happens to.
    """

    victim: str
    step: Step


@dataclass(frozen=True)
class BatchPlan:
    """A run of many songs in one batch, under which processes die.

    :param songs: songs that must be archived in the end; those that meet no fault, by the run itself.
    :param dooms: songs beside them that cannot be.
    :param kills: in the order of the chain; one more song, the first one, is held at each of these steps.
    """

    songs: tuple[SongPlan, ...]
    dooms: tuple[Doom, ...]
    kills: tuple[Kill, ...]


@dataclass(frozen=True)
class Plan:
    """One run of the suite.

    :param seed: what everything was drawn from.
    :param songs: songs that must be archived in the end.
    :param dooms: songs that cannot be.
    :param journeys: process kills: each song of a journey meets its kills one after the other.
    :param episodes: names of longer troubles, see :mod:`fault_suite.episodes`.
    :param generated: songs that KIE makes for credits, and what each create meets.
    :param batches: runs of many songs.
    :param outage_songs: how many songs meet an outage.
    """

    seed: int
    songs: tuple[SongPlan, ...]
    dooms: tuple[Doom, ...]
    journeys: tuple[tuple[Kill, ...], ...]
    episodes: tuple[str, ...]
    generated: tuple[KieFault, ...] = ()
    batches: tuple[BatchPlan, ...] = ()
    outage_songs: int = 3

    @property
    def all_songs(self) -> tuple[SongPlan, ...]:
        """All songs that must be archived, alone or in runs of many."""
        return (*self.songs, *(song for batch in self.batches for song in batch.songs))

    @property
    def kills(self) -> tuple[Kill, ...]:
        """All process kills."""
        return tuple(kill for kills in (*self.journeys, *(batch.kills for batch in self.batches)) for kill in kills)


def full_plan(seed: int, faults: int, episodes: tuple[str, ...]) -> Plan:
    """Return a plan with every victim at every step, every kind of fault, and at least so many faults.

    :param seed: decides everything.
    :param faults: how many faults are to strike, kills included; more are planned, since not each finds its moment.
    """
    rng = random.Random(seed)  # noqa: S311 - draws a plan, protects nothing
    journeys = [
        tuple(Kill(victim, step) for step in STEPS if not _impossible(victim, step))
        for victim in rng.sample(VICTIMS, len(VICTIMS))
    ]
    twice = [step for step in STEPS if step.name in TWICE]
    journeys += [tuple(Kill(victim, step) for step in twice) for victim in VICTIMS]
    songs = songs_with_faults(rng, int(MORE * max(0, faults - sum(map(len, (*journeys, *BATCHED))))))
    alone = songs[int(len(songs) * BATCH_SHARE) :]
    batches = _batches(songs[: len(songs) - len(alone)])
    return Plan(seed, (_UNHEARD, *alone), DOOMS, tuple(journeys), episodes, tuple(GENERATE), batches)


def batched_plan(seed: int, faults: int) -> Plan:
    """Return the runs of many songs of a full plan alone: all songs with faults are in them, and nothing else happens.

    :param seed: decides everything.
    :param faults: as of a full plan.
    """
    rng = random.Random(seed)  # noqa: S311 - draws a plan, protects nothing
    songs = songs_with_faults(rng, int(MORE * max(0, faults - sum(map(len, BATCHED)))))
    return Plan(seed, (), (), (), (), (), _batches(songs))


def small_plan(seed: int, faults: int, episodes: tuple[str, ...]) -> Plan:
    """Return a plan for the tests: the kills of :data:`SMALL`, a few songs, and some that cannot succeed.

    The song whose cover is not heard of meets every code, too, that could make a read of its paid cover final.

    :param seed: decides everything.
    :param faults: how many faults strike songs at least.
    """
    rng = random.Random(seed)  # noqa: S311 - draws a plan, protects nothing
    journeys = tuple(map(_kills, SMALL))
    dooms = tuple(doom for doom in DOOMS if not doom.once)
    unheard = SongPlan("Unheard cover, refused reads", (*UNHEARD, *refused_reads()))
    songs = songs_with_faults(rng, faults, share=0.4)
    return Plan(seed, (unheard, *songs), dooms, journeys, episodes, tuple(GENERATE[:1]), outage_songs=1)


def _kills(named: Sequence[tuple[str, str]]) -> tuple[Kill, ...]:
    steps = {step.name: step for step in STEPS}
    return tuple(Kill(victim, steps[name]) for victim, name in named)


def _batches(songs: Sequence[SongPlan]) -> tuple[BatchPlan, ...]:
    """Return the runs of many songs of a plan.

    :param songs: songs with faults, which are dealt to the runs.
    """
    return tuple(
        batch_plan(number, songs[number :: len(BATCHED)], _kills(named)) for number, named in enumerate(BATCHED)
    )


def batch_plan(number: int, songs: Sequence[SongPlan], kills: tuple[Kill, ...]) -> BatchPlan:
    """Return a run of many songs: the given ones, those of which each fails for a reason of its own, and plain ones.

    :param number: of the run, from 0.
    :param songs: songs with faults.
    :param kills: what dies under it.
    """
    dooms = tuple(doom for doom in DOOMS if doom.name in DOOMED_IN_BATCHES)
    plain = (SongPlan(f"Plain song {number + 1}", ()),) * max(0, BATCH_SONGS - 1 - len(songs) - len(dooms))
    return BatchPlan((*songs, *plain), dooms, kills)


def _impossible(victim: str, step: Step) -> bool:
    return victim in NO_PROCESS and step.state == "deferred"


def songs_with_faults(rng: random.Random, faults: int, share: float = 1.0) -> tuple[SongPlan, ...]:
    """Return songs with so many faults; the kinds of a slot are dealt like cards, so that all of them come.

    :param faults: how many are to be planned.
    :param share: how many of the usual number each song meets: fewer take it less time.
    """
    decks: dict[str, list[SongFault]] = {slot: [] for slot in SLOTS}
    songs: list[SongPlan] = []
    planned = 0
    while planned < faults:
        dealt = tuple(
            fault
            for slot, count in HANDS.items()
            for fault in _dealt(rng, decks, slot, int(share * count + rng.random()))
        )
        planned += sum(fault.strikes for fault in dealt)
        unfinished = {"state": rng.choice(["PENDING", "TEXT_SUCCESS", "FIRST_SUCCESS"])}
        music = unfinished if rng.random() < 0.8 else {}
        songs.append(SongPlan(f"Fault song {len(songs) + 1}", dealt, music))
    return tuple(songs)


def _dealt(rng: random.Random, decks: dict[str, list[SongFault]], slot: str, count: int) -> list[SongFault]:
    """Return so many different kinds of a slot; two that tell the same lie would be believed."""
    hand: dict[str, SongFault] = {}
    for _ in range(count):
        if not decks[slot]:
            decks[slot] = list(SLOTS[slot])
            rng.shuffle(decks[slot])
        fault = decks[slot].pop()
        hand.setdefault(fault.name.partition(" (")[0], fault)
    return list(hand.values())
