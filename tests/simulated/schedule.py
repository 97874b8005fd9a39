"""What a world is made of and what goes wrong in it: plain values, drawn and shrunk by Hypothesis."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

DIES = ("dies before", "dies after")
NETWORK = ("lost", "answer lost", "late", "slow", "stalls", *DIES)
FAULTS = {
    "kie.create": (
        *NETWORK,
        *("not sent", "too fast", "no credits", "error", "no id", "bad gateway", "bad gateway, made", "no such record"),
        "error, made",
    ),
    "kie.read": (
        *NETWORK,
        *("not shown", "too fast", "no access", "refused 404", "refused 422", "bad gateway", "no JSON", "unknown word"),
        *("another task", "another song", "no files", "a code beside it", "undelivered"),
    ),
    "ledger.create": (*NETWORK, "sent twice", "conflict"),
    "ledger.list": NETWORK,
    "ledger.read": NETWORK,
    "state": ("lost", "answer lost", *DIES),
    "callback": ("never", "late", "sent twice", "lost"),
}
"""What can go wrong, by where."""
MODES = ("poke", "defer", "many", "many deferred")
ENDINGS = ("done", "done", "failed", "undelivered", "hidden", "never")


@dataclass(frozen=True)
class Fault:
    """What happens to the nth thing of a kind.

    :param on: of what.
    :param nth: which, from 0.
    :param how: what happens.
    :param seconds: how long it takes, where that matters.
    """

    on: str
    nth: int
    how: str
    seconds: int


@dataclass(frozen=True)
class Worker:
    """One task instance of Airflow.

    :param mode: how it waits, and whether it has one request or all of them.
    :param request: which one.
    :param starts: seconds after the beginning.
    :param skew: seconds by which its machine's clock is ahead.
    :param second_try_beside: its first process is taken for dead while it lives; a second one is started beside it.
    """

    mode: str
    request: int
    starts: int
    skew: int
    second_try_beside: bool


@dataclass(frozen=True)
class Event:
    """What happens at some time.

    :param at: seconds after the beginning.
    :param what: ``clear`` (the Airflow task, by a person), ``empty`` (its stored state), ``kill`` (its process),
        ``cut`` (its network).
    :param worker: whose.
    :param seconds: how long, where that matters.
    """

    at: int
    what: str
    worker: int
    seconds: int


@dataclass(frozen=True)
class Schedule:
    """One course of the world.

    :param seed: of the times that requests take, and of everything that is not drawn here.
    :param operation: what is made.
    :param form: of KIE's API; empty: each its own.
    :param workers: who wants it.
    :param endings: how KIE's tasks end, in their order, over and over.
    :param faults: what goes wrong.
    :param events: what people and machines do.
    :param conditions: S3 honours conditional writes; otherwise the ledger is in a database.
    :param calls_back: KIE can call back.
    :param once: KIE makes a cover once for a song.
    :param capped: there is a cap that allows two paid tasks.
    """

    seed: int
    operation: str
    form: str
    workers: tuple[Worker, ...]
    endings: tuple[str, ...]
    faults: tuple[Fault, ...]
    events: tuple[Event, ...]
    conditions: bool
    calls_back: bool
    once: bool
    capped: bool


_SECONDS = st.sampled_from((1, 20, 45, 100, 200, 600))
_FAULT = st.builds(
    lambda what, nth, seconds: Fault(what[0], nth, what[1], seconds),
    st.sampled_from([(on, how) for on in sorted(FAULTS) for how in FAULTS[on]]),
    st.integers(0, 6),
    _SECONDS,
)
_WORKER = st.builds(
    Worker,
    mode=st.sampled_from(MODES),
    request=st.integers(0, 1),
    starts=st.sampled_from((0, 1, 5, 60, 200)),
    skew=st.sampled_from((0, -10, 10)),
    second_try_beside=st.sampled_from((False, False, False, True)),
)
_EVENT = st.builds(
    Event,
    at=st.integers(0, 400),
    what=st.sampled_from(("clear", "empty", "kill", "cut")),
    worker=st.integers(0, 2),
    seconds=_SECONDS,
)
SCHEDULES = st.builds(
    Schedule,
    seed=st.integers(0, 65_535),
    operation=st.sampled_from(("suno.music", "suno.cover")),
    form=st.sampled_from(("", "dedicated", "unified")),
    workers=st.lists(_WORKER, min_size=1, max_size=3).map(tuple),
    endings=st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=4).map(tuple),
    faults=st.lists(_FAULT, max_size=6).map(tuple),
    events=st.lists(_EVENT, max_size=3).map(tuple),
    conditions=st.sampled_from((True, True, False)),
    calls_back=st.booleans(),
    once=st.booleans(),
    capped=st.sampled_from((False, False, False, True)),
)
