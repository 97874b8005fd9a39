"""The report of a run of the suite, as plain lines."""

from __future__ import annotations

from collections.abc import Iterator

from fault_suite.profile import settings_as_text
from fault_suite.steps import STEPS, VICTIMS
from fault_suite.suite import Outcome


def report(outcome: Outcome) -> Iterator[str]:
    """Yield the lines of the report."""
    yield "Settings of the test profile that differ from Airflow's and the project's defaults:"
    yield from (f"  {line}" for line in settings_as_text())
    yield "Faults that took effect:"
    yield from (f"  {times:4} {name}" for name, times in sorted(outcome.faults.items()))
    yield "Process kills:"
    yield from _kills(outcome)
    yield from (f"  never took effect: {missed}" for missed in outcome.missed)
    yield from _verdict(outcome)


def _kills(outcome: Outcome) -> Iterator[str]:
    victims = dict.fromkeys([*VICTIMS, *(victim for victim, _ in outcome.kills)])
    order = [step.name for step in STEPS]
    steps = sorted({step for _, step in outcome.kills}, key=lambda step: order.index(step) if step in order else -1)
    width = max(map(len, steps), default=0)
    yield f"  {'':{width}}  " + "  ".join(victims)
    for step in steps:
        cells = (f"{outcome.kills[victim, step] or '-':>{len(victim)}}" for victim in victims)
        yield f"  {step:{width}}  " + "  ".join(cells)


def _verdict(outcome: Outcome) -> Iterator[str]:
    found = outcome.found
    for name, items in (
        ("credits paid twice", found.double),
        ("made too often", found.too_often),
        ("made twice, as the ledger says", found.made_twice),
        ("lost", found.lost),
        ("corrupt", found.corrupt),
        ("sent without a result", found.wasted),
        ("other", found.other),
        ("failed because another one did", tuple(outcome.dragged)),
        ("not as expected", tuple(outcome.complaints)),
    ):
        yield from (f"  {name}: {item}" for item in items)
    rate = outcome.stale / max(1, outcome.songs + outcome.doomed)
    yield f"Stale events of Airflow that failed a task: {outcome.stale} ({rate:.2f} for each song)"
    yield (
        f"Seed {outcome.plan.seed}, duplicate {outcome.duplicate}: {outcome.injected} faults, "
        f"{outcome.kills.total()} of them kills; {outcome.songs} songs and {outcome.doomed} that cannot succeed, "
        f"in {outcome.seconds:.0f} s"
    )
    runs, songs = outcome.batches
    yield (
        f"Runs of many: {runs} with {songs} songs, {outcome.under_batches} kills under them; "
        f"songs that failed because another one did: {len(outcome.dragged)}"
    )
    yield (
        f"Credits paid twice {len(found.double)}, lost {len(found.lost)}, corrupt {len(found.corrupt)}, "
        f"covers made too often {len(found.too_often)}, made_twice {len(found.made_twice)}"
    )
