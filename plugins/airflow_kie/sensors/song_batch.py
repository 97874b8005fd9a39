"""A sensor for one song's task, or for the tasks of a batch of songs, each on its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_kie import settings
from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.errors import KieError, error_from_event
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.durable.song_batch import SongBatch, TakesSongs, batch_seconds
from airflow_kie.durable.task_state import RecordStore
from airflow_kie.durable.waiting import defer_list
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.many import follow_many
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lineage.songs import of_songs
from airflow_kie.sensors.task import KieTaskSensor
from airflow_kie.triggers.event import Given, Outcome, ended_tasks

if TYPE_CHECKING:
    from airflow.sdk import Context


class SongSensor(TakesSongs, KieTaskSensor):
    """Waits for one song's task, or for the tasks of a batch of songs.

    Each task is read once; one trigger then waits for those that still run. A song that fails, or takes 75 seconds
    longer than usual, leaves the batch.
    """

    def tasks_of_songs(self) -> list[dict[str, Any]]:
        """Return the songs of the batch, each with its `music_task_id` and what is known of it."""
        raise NotImplementedError

    def song_row(self, song: str | None, task_id: str, details: TaskDetails) -> dict[str, Any]:
        """Return what goes into XCom of one song.

        :param song: its music task id.
        :param task_id: the task that was waited for.
        """
        raise NotImplementedError

    def leg(self, context: Context, event: Given = None, /) -> Any:
        """Read the task, or all of them, and wait as long as they run."""
        return self._many(context, event) if self.has_many else super().leg(context, event)

    def _many(self, context: Context, event: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        deadline, tries = RecordStore(context["task_state_store"], "songs"), context["ti"].max_tries

        def postpone(seconds: float) -> None:
            deadline.extend_deadline(tries, time.time() + seconds + batch_seconds(self.row))

        def attempt() -> list[dict[str, Any]]:
            songs = self.begin(
                context, self.tasks_of_songs(), resumed=event is not None, operation=self.task_id.rpartition(".")[2]
            )
            hook = KieHook(self.kie_conn_id)
            hook.account  # noqa: B018 - read here, where code may block
            ends_at = deadline.deadline(tries, time.time(), batch_seconds(self.row))
            self._take(songs, event or {})
            waiting = asyncio.run(self._read(hook, songs, ends_at))
            if waiting:
                songs.keep()
                defer_list(self, self.kie_conn_id, waiting, max(0.0, ends_at - time.time()), self.poll_interval)
            with self.soft_failing():
                rows = songs.end()
            self.set_lineage(of_songs(self.operation, self.kie_conn_id, rows, self.id_field))
            return rows

        return run_with_outage_backoff(context, attempt, postpone=postpone)

    def _take(self, songs: SongBatch, event: Mapping[str, Any]) -> None:
        """Take in which songs the trigger has seen fail, or run too long."""
        failed = {
            song: error_from_event(dict(known))
            for song, known in ended_tasks(event).items()
            if known["outcome"] != Outcome.DONE and song in songs.given
        }
        songs.leave(failed, waiting=len(failed) < len(songs.left))

    async def _read(self, hook: KieHook, songs: SongBatch, ends_at: float) -> dict[str, TaskRecord]:
        """Read the tasks without a result so far; return those that are still running."""
        records = {song: self._record_of(songs.given[song]) for song in songs.left}
        driver = TaskDriver(deadline=ends_at, rules=settings.rules(self.poll_interval))
        errors: dict[str, KieError] = {}
        waiting: dict[str, TaskRecord] = {}
        kie = await hook.aget_conn()
        try:
            async for one in follow_many(records, lambda _: driver, kie, waits=not self.deferrable):
                if one.error is not None:
                    errors[one.key] = one.error
                elif one.result is not None and one.result.details is not None:
                    record = one.result.record
                    songs.rows[one.key] = self.song_row(one.key, record.task_id or "", one.result.details)
                elif one.result is not None:
                    waiting[one.key] = one.result.record
        finally:
            await kie.close()
        songs.leave(errors, waiting=bool(waiting))
        return waiting

    def _record_of(self, song: Mapping[str, Any]) -> TaskRecord:
        source = {"taskId": song["music_task_id"]} if self.row.parent else {}
        return TaskRecord.of_known_task(
            self.operation, str(song[self.id_field]), source=source, connection=self.kie_conn_id
        )
