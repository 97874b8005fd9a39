"""The paid tasks of a batch of songs: each song has its own, and none waits for another's."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from airflow_kie import metrics, settings
from airflow_kie.client.answers.decode import Ended
from airflow_kie.client.errors import KieError, Remedy, Scope, error_from_event
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.durable.defaults import optional
from airflow_kie.durable.requests import given_up, ledger_of
from airflow_kie.durable.song_batch import COVER_KEY, SongBatch, batch_seconds, form_of
from airflow_kie.durable.waiting import defer_list
from airflow_kie.durable.xcom import MADE_TWICE_KEY
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.sending import Sender
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.identity import request_digest
from airflow_kie.lifecycle.ledger import Ledger
from airflow_kie.lifecycle.many import follow_many
from airflow_kie.lifecycle.record import TaskRecord, read_records
from airflow_kie.lineage.facts import TaskLineage
from airflow_kie.lineage.songs import of_songs
from airflow_kie.triggers.event import Outcome, ended_tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import BaseOperator, Context

    from airflow_kie.client.api import KieAsync
    from airflow_kie.client.rate_limiter.turns import CreateTurn

log = logging.getLogger(__name__)

TURN_SECONDS = 30.0
"""Seconds after which the create turn of a worker that has died is free."""
TURN_PAUSE = 0.5
"""Seconds between two questions whether the turn is free, where a worker waits for it."""
TURN_HERE = 10.0
"""Seconds for which a worker waits for it: most batches send for a moment, and a leg more costs more than that."""

PERMIT_SECONDS = 600.0
"""Seconds that one request of a batch waits for the account's permit: a batch is sent at the account's rate."""
AGAIN_SECONDS = 120.0
"""Seconds for which what KIE refuses for now is sent again."""
SENT_AGAIN = (Remedy.RETRY, Remedy.NEW_TASK)
"""Of such refusals: KIE was too busy, or could not make it this time. What has failed three times is for a person."""
AGAIN_PAUSE = 10.0
"""Seconds between such requests: KIE counts new tasks in windows of this length."""


class SongOperator(Protocol):
    """An operator that makes one task of each song, as ``KieGenerateCoverOperator`` does."""

    row: TaskOperation
    kie_conn_id: str
    force_new: str | None
    deferrable: bool
    poll_interval: float | None
    task_id: str
    music: Any

    def begin(
        self, context: Context, known: Sequence[Mapping[str, Any]], *, resumed: bool, operation: str
    ) -> SongBatch: ...

    def set_lineage(self, lineage: TaskLineage) -> None: ...


def make_for_songs(
    operator: SongOperator,
    context: Context,
    records: Mapping[str, Any] | None = None,
    event: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Create a task for each song of an operator's batch, or adopt an existing one, and wait for all of them.

    :param operator: whose batch it is.
    :param context: the task's context.
    :param records: the tasks that the trigger has waited for, by song.
    :param event: how they ended.
    :return: a map for each song that continues, with its `cover_task_id`.
    :raises KieError: an outage that every song has met.
    """
    name = operator.task_id.rpartition(".")[2]
    songs = operator.begin(context, operator.music, resumed=event is not None, operation=name)
    hook = KieHook(operator.kie_conn_id)
    hook.account  # noqa: B018 - read here, where code may block
    turn = None
    if event is None or event.get("outcome") == Outcome.YOUR_TURN:
        turn = _take_turn(operator, context["ti"], hook, songs)
    open_ledger = functools.cache(lambda: ledger_of(context, hook))
    if turn:
        open_ledger()  # once, before several threads need it
    making = _Making(operator, context, hook, songs, open_ledger, turn)
    if event is None:
        making.forget_given_up()
    known, _ = read_records(records or {})  # of one that is damaged the ledger has the id
    ended = making.take(event or {})
    waiting = asyncio.run(making.go(known, ended))
    if making.made_twice:
        context["ti"].xcom_push(key=MADE_TWICE_KEY, value=[{"music_task_id": song} for song in making.made_twice])
    if waiting:
        seconds = songs.seconds_left(batch_seconds(operator.row))
        songs.keep()
        defer_list(cast("BaseOperator", operator), operator.kie_conn_id, waiting, seconds, operator.poll_interval)
    rows = songs.end()
    operator.set_lineage(of_songs(operator.row.name, operator.kie_conn_id, rows, COVER_KEY))
    return rows


def _take_turn(operator: SongOperator, ti: Any, hook: KieHook, songs: SongBatch) -> CreateTurn:
    """Return the account's create turn once it is ours; where others keep it, the Airflow task waits in the triggerer.

    So the batches of an account are sent one after the other, and those that wait take no worker.
    """
    holder = f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}"
    turn, ends_at = hook.limiter(bulk=True).turn(holder), time.monotonic() + TURN_HERE
    while wait := turn.take(TURN_SECONDS):
        if operator.deferrable and time.monotonic() >= ends_at:
            from airflow_kie.triggers.turn import KieCreateTurnTrigger

            log.info("Another batch of this account is sending its requests; this one waits for its turn.")
            songs.keep()
            trigger = KieCreateTurnTrigger(operator.kie_conn_id, holder)
            cast("BaseOperator", operator).defer(trigger=trigger, method_name="execute_complete")
        time.sleep(min(wait, TURN_PAUSE))
    return turn


@dataclass
class _Making:
    """The requests of one leg."""

    operator: SongOperator
    context: Context
    hook: KieHook
    songs: SongBatch
    open_ledger: Callable[[], Ledger]
    turn: CreateTurn | None
    made_twice: list[str] = field(default_factory=list)
    waiting: dict[str, TaskRecord] = field(default_factory=dict)
    unanswered: dict[str, TaskRecord] = field(default_factory=dict)
    """Requests that may be on their way, from a worker that has died or another run."""
    seconds: float = field(init=False)
    """Seconds from now after which a song is late."""

    def __post_init__(self) -> None:
        self.seconds = PERMIT_SECONDS + batch_seconds(self.operator.row)

    def forget_given_up(self) -> None:
        """Ask again for what an earlier try has made and a person has given up since."""
        songs = {self._digest(song): song for song in self.songs.rows}
        made = {digest: str(self.songs.rows[song][COVER_KEY]) for digest, song in songs.items()}
        for digest in given_up(self._sender(""), made) if made else ():
            del self.songs.rows[songs[digest]]

    def take(self, event: Mapping[str, Any]) -> dict[str, Ended]:
        """Take in how tasks ended; return the failures after which a new task may be made."""
        ended: dict[str, Ended] = {}
        late: dict[str, KieError] = {}
        for song, known in ended_tasks(event).items():
            if song not in self.songs.given:
                continue
            if known["outcome"] == Outcome.DONE:
                self._done(song, known["task_id"])
            elif known["outcome"] == Outcome.FAILED:
                if known["task_id"]:  # else the event is about no task, and the ledger is asked
                    ended[song] = Ended(known["task_id"], error_from_event(dict(known)))
            else:
                late[song] = error_from_event(dict(known))
        self.songs.leave(late, waiting=bool(ended))
        return ended

    async def go(self, known: Mapping[str, TaskRecord], ended: Mapping[str, Ended]) -> dict[str, TaskRecord]:
        """Make what is not made; return what has to be waited for. What is refused for now is sent again.

        A request that may be on its way holds no other song back: it is requested again when those that are waited for
        have ended, and waited for here where there are none. Where others go on, it is late soon.
        """
        kie = await self.hook.aget_conn()
        ends_at = time.monotonic() + AGAIN_SECONDS
        keeping = asyncio.create_task(self._keep_turn())
        try:
            records = {song: known.get(song) or self._record(song) for song in self.songs.left}
            errors = await self._round(kie, records, ended)
            while again := [song for song, error in errors.items() if error.remedy in SENT_AGAIN]:
                if not (self.waiting or self.songs.rows) or time.monotonic() > ends_at:
                    break
                log.info("KIE could not take %d requests now; they are sent again in %.0f s.", len(again), AGAIN_PAUSE)
                await asyncio.sleep(AGAIN_PAUSE)
                retried = await self._round(kie, {song: self._record(song) for song in again}, {})
                errors = {song: error for song, error in errors.items() if song not in again} | retried
            if self.unanswered and not self.waiting:
                await self._give_turn_back()  # nothing is sent meanwhile
                self.seconds = self.songs.seconds_left(self.seconds)
                errors |= await self._round(kie, self.unanswered, {}, waits=True)
        finally:
            keeping.cancel()
            await kie.close()
            await self._give_turn_back()
        if self.waiting:  # an outage may be over by then: those that have met it are asked for again with the next leg
            errors = {song: error for song, error in errors.items() if error.scope is Scope.TASK}
        self.songs.leave(errors, waiting=bool(self.waiting))
        return self.waiting

    async def _keep_turn(self) -> None:
        while turn := self.turn:
            await asyncio.to_thread(turn.take, TURN_SECONDS)
            await asyncio.sleep(TURN_SECONDS / 3)

    async def _give_turn_back(self) -> None:
        turn, self.turn = self.turn, None
        if turn:
            await asyncio.to_thread(turn.give_back)

    async def _round(
        self,
        kie: KieAsync,
        records: Mapping[str, TaskRecord],
        ended: Mapping[str, Ended],
        *,
        waits: bool = False,
    ) -> dict[str, KieError]:
        """Send or follow each once; return why some have no task."""
        errors: dict[str, KieError] = {}
        wait_here = not self.operator.deferrable
        upto = {"to_the_end": wait_here, "waits": wait_here or waits}
        async for one in follow_many(records, self._driver, kie, ended=ended, **upto):
            if one.result is None:
                errors[one.key] = one.error or KieError()
                continue
            record = one.result.record
            if record.repeated and not record.adopted:
                self.made_twice.append(one.key)
            if wait_here:
                self._done(one.key, record.task_id)
            elif not record.task_id:
                self.unanswered[one.key] = record
            else:
                self.waiting[one.key] = record
        return errors

    def _done(self, song: str, task_id: str | None) -> None:
        self.songs.rows[song] = {"music_task_id": song, COVER_KEY: task_id}
        kind, connection = self.operator.row.noun, self.operator.kie_conn_id
        metrics.DONE.add(kind=kind, connection=connection, completion_source="batch")

    def _record(self, song: str) -> TaskRecord:
        row, form = self.operator.row, form_of(self.songs.given[song])
        return TaskRecord(row.name, {"taskId": song}, self.hook.kie_conn_id, form, digest=self._digest(song))

    def _digest(self, song: str) -> str:
        return request_digest(self.operator.row, {"taskId": song}, {}, force_new=optional(self.operator.force_new))

    def _sender(self, song: str) -> Sender:
        row, ti = self.operator.row, self.context["ti"]
        return Sender(self.hook, row, {"taskId": song}, ti, self.open_ledger, PERMIT_SECONDS, wakes=False)

    def _driver(self, song: str) -> TaskDriver:
        return self._sender(song).driver(
            self._digest(song),
            deadline=time.time() + self.seconds,
            rules=settings.rules(self.operator.poll_interval, self.hook.account.api),
        )
