"""How far a run of many songs is: each song's step, the rate, and when the run is expected to end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_kie._airflow_private import metadata
from airflow_kie.durable.song_batch import STORE_KEY
from airflow_kie.triggers.event import ENDED_KEY
from airflow_kie.web.pages.queries import batches_of_run

NOT_BEGUN, ARCHIVED, FAILED = "Not begun", "Archived", "Failed"
READY = "Ready, its batch waits"
"""KIE's task has ended, and others of the batch are waited for."""
STEPS: Mapping[str, str] = {
    "KieMusicSensor": "Waiting for the song",
    "KieGenerateCoverOperator": "Cover in progress",
    "KieCoverSensor": "Reading the cover",
    "KieCoverToS3Operator": "Being archived",
}
"""What the songs of a batch wait for, by the operator at which the batch is."""
_ARCHIVES = list(STEPS)[-1]
_ENDED_BADLY = {"failed", "upstream_failed", "removed"}
_BY_STEP = (FAILED, NOT_BEGUN, *STEPS.values(), READY, ARCHIVED)


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    :param states: the step of each song.
    :param rate: songs that it archives in a minute.
    :param ends_at: when it is expected to end; None: it has ended, or nothing is archived yet.
    """

    states: Mapping[str, str]
    rate: float
    ends_at: datetime | None

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How many songs are at each step, failures first; steps without songs are left out."""
        counts = Counter(self.states.values())
        return [(step, counts[step]) for step in _BY_STEP if counts[step]]

    def at(self, step: str) -> list[str]:
        """Return the songs at a step."""
        return [song for song, where in self.states.items() if where == step]


def progress_of(dag_id: str, run_id: str) -> Progress | None:
    """Return how far a run is; None where it has no list of songs, or several."""
    batches, before = batches_of_run(dag_id, run_id)
    found = metadata.steps_of_run(dag_id, run_id, STEPS, STORE_KEY) if batches else None
    if found is None:
        return None
    began, ended, steps = found
    tasks = {(index, operator): (state, stored) for operator, index, state, stored in steps}
    if len(tasks) < len(steps):
        return None
    states: dict[str, str] = dict.fromkeys(before, ARCHIVED)
    ready = {operator: _ready(dag_id, run_id, operator) for operator in {o for _, o in _waiting(tasks)}}
    for index, songs in enumerate(batches):
        states |= _states(songs, [tasks.get((index, operator), (None, {})) for operator in STEPS])
    for index, operator in _waiting(tasks):
        here = {song for song in batches[index] if states[song] == STEPS[operator]} if index < len(batches) else set()
        states |= dict.fromkeys(here & ready[operator], READY)
    archived = sum(state == ARCHIVED for state in states.values()) - len(before)
    left = sum(state not in (ARCHIVED, FAILED) for state in states.values())
    now = datetime.now(UTC)
    minutes = max(((ended or now) - (began or now)) / timedelta(minutes=1), 1e-3)
    rate = archived / minutes
    return Progress(states, rate, now + timedelta(minutes=left / rate) if left and rate and not ended else None)


def _waiting(tasks: Mapping[tuple[int, str], tuple[str | None, Any]]) -> list[tuple[int, str]]:
    """Return the batches that wait in the triggerer, each with the operator at which it is."""
    return [where for where, (state, _) in tasks.items() if state == "deferred"]


def _ready(dag_id: str, run_id: str, operator: str) -> set[str]:
    """Return the songs whose task has ended while their batch waits."""
    reported = metadata.xcoms_of_run(dag_id, run_id, [operator], [ENDED_KEY])
    return {song for songs in reported for song in songs}


def _states(songs: Sequence[str], tasks: Sequence[tuple[str | None, Mapping[str, Any]]]) -> dict[str, str]:
    """Return the step of each song of a batch.

    :param tasks: state of the batch's task instance at each step, and what it has stored of its songs.
    """
    failed = {song for _, stored in tasks for song in stored.get("failures", ())}
    archived = set(tasks[-1][1].get("rows", ()))
    if len(songs) == 1 and tasks[-1][0] == "success":
        archived = set(songs)
    step = next((step for (state, _), step in zip(tasks, STEPS.values(), strict=True) if state != "success"), FAILED)
    if step == next(iter(STEPS.values())) and tasks[0][0] in (None, "scheduled", "queued"):
        step = NOT_BEGUN
    if any(state in _ENDED_BADLY for state, _ in tasks):
        step = FAILED
    return {song: ARCHIVED if song in archived else FAILED if song in failed else step for song in songs}
