"""What one run of the suite does, drawn from a seed: which song meets which faults, which process dies where."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fault_suite.catalogue import DOOMS, SLOTS, Doom, SongFault
from fault_suite.steps import NO_PROCESS, STEPS, VICTIMS, Step

_WEIGHTS: Mapping[str, int] = {"create": 5, "music": 3, "cover": 4, "ending": 2, "file": 4, "balance": 1, "link": 1}


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


@dataclass(frozen=True)
class Kill:
    """One process kill.

    :param victim: which process, see :data:`~fault_suite.steps.VICTIMS`.
    :param step: where the song is that it happens to.
    """

    victim: str
    step: Step


@dataclass(frozen=True)
class Plan:
    """One run of the suite.

    :param seed: what everything was drawn from.
    :param songs: songs that must be archived in the end.
    :param dooms: songs that cannot be.
    :param kills: process kills, in order.
    :param episodes: names of longer troubles, see :mod:`fault_suite.episodes`.
    """

    seed: int
    songs: tuple[SongPlan, ...]
    dooms: tuple[Doom, ...]
    kills: tuple[Kill, ...]
    episodes: tuple[str, ...]


def full_plan(seed: int, faults: int, episodes: tuple[str, ...]) -> Plan:
    """Return a plan with every victim at every step, every kind of fault, and at least so many faults.

    :param seed: decides everything.
    :param faults: how many faults are to strike, kills included; more are planned, since not each finds its moment.
    """
    rng = random.Random(seed)  # noqa: S311 - draws a plan, protects nothing
    kills = [Kill(victim, step) for victim in VICTIMS for step in STEPS if not _impossible(victim, step)]
    rng.shuffle(kills)
    songs = _songs(rng, int(1.3 * max(0, faults - len(kills))))
    return Plan(seed, songs, DOOMS, tuple(kills), episodes)


def small_plan(seed: int, faults: int, episodes: tuple[str, ...]) -> Plan:
    """Return a plan for the tests: one kill of each victim, a few songs, two that cannot succeed.

    :param seed: decides everything.
    :param faults: how many faults strike songs at least.
    """
    rng = random.Random(seed)  # noqa: S311 - draws a plan, protects nothing
    kills = []
    for victim in VICTIMS:
        kills.append(Kill(victim, rng.choice([step for step in STEPS if not _impossible(victim, step)])))
    return Plan(seed, _songs(rng, faults), tuple(rng.sample(DOOMS[:8], 2)), tuple(kills), episodes)


def _impossible(victim: str, step: Step) -> bool:
    return victim in NO_PROCESS and step.state == "deferred"


def _songs(rng: random.Random, faults: int) -> tuple[SongPlan, ...]:
    """Return songs with so many faults; the kinds of a slot are dealt like cards, so that all of them come."""
    decks: dict[str, list[SongFault]] = {slot: [] for slot in SLOTS}
    songs: list[SongPlan] = []
    planned = 0
    while planned < faults:
        slots = _drawn_slots(rng)
        dealt = tuple(_dealt(rng, decks, slot) for slot in slots)
        planned += sum(fault.strikes for fault in dealt)
        unfinished = {"state": rng.choice(["PENDING", "TEXT_SUCCESS", "FIRST_SUCCESS"])}
        music = unfinished if rng.random() < 0.15 else {}
        songs.append(SongPlan(f"Fault song {len(songs) + 1}", dealt, music))
    return tuple(songs)


def _drawn_slots(rng: random.Random) -> list[str]:
    wanted, pool = rng.randint(4, 6), list(SLOTS)
    drawn: list[str] = []
    while len(drawn) < wanted:
        slot = rng.choices(pool, [_WEIGHTS.get(name, 3) for name in pool])[0]
        pool.remove(slot)
        drawn.append(slot)
    return drawn


def _dealt(rng: random.Random, decks: dict[str, list[SongFault]], slot: str) -> SongFault:
    if not decks[slot]:
        decks[slot] = list(SLOTS[slot])
        rng.shuffle(decks[slot])
    return decks[slot].pop()
