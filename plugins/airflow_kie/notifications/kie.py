"""The messages: of archived and failed songs of a run, of late runs, and of incidents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import conf

from airflow_kie import settings
from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.client.one_line import one_line
from airflow_kie.links.kie import song_page
from airflow_kie.monitoring.incidents import Change, is_information
from airflow_kie.notifications.message import KieNotifier, Message, is_on

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = [
    "KieArchivedNotifier",
    "KieDeadlineNotifier",
    "KieFailedNotifier",
    "KieNotifier",
    "Message",
    "deadline",
    "incident_messages",
    "is_on",
    "run_callbacks",
]

MOST_SONGS = 10
"""Songs that one message names."""


class KieArchivedNotifier(KieNotifier):
    """Says which songs of a run are archived, with the address of each one's page: for `on_success_callback`."""

    def message(self, context: Context) -> Message | None:
        """Return one message for the run; none for a run without songs."""
        rows = _rows(context)
        if not rows:
            return None
        ti: Any = context["ti"]
        lines = [f"{one_line(row['title'] or 'Without title')}: {_page(context, row)}" for row in rows[:MOST_SONGS]]
        lines += _and_more(len(rows), _run_page(ti))
        return Message(f"Archived: {counted(len(rows))}", "\n".join(lines), f"archived/{ti.dag_id}/{ti.run_id}", "info")


class KieFailedNotifier(KieNotifier):
    """Says why songs of a run failed, in one message with the causes in its title: for `on_failure_callback`."""

    def message(self, context: Context) -> Message | None:
        """Return one message for the run."""
        ti: Any = context["ti"]
        by_cause: dict[str, list[Mapping[str, Any]]] = {}
        for row in _rows(context):
            if row["reason"]:
                by_cause.setdefault(row.get("cause") or "not_archived", []).append(row)
        if not by_cause:
            words = str(context.get("exception") or "See its log.")
            return Message(f"A run of {ti.dag_id} failed", f"{words}\n{_run_page(ti)}", f"failed/{ti.task_id}")
        count = sum(len(rows) for rows in by_cause.values())
        causes = ", ".join(by_cause)
        text = "\n".join(line for rows in by_cause.values() for line in self._lines(context, rows))
        return Message(f"Failed: {counted(count)} ({causes})", text, f"failed/{causes}")

    def _lines(self, context: Context, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return why songs failed, and which."""
        named = [
            f"{one_line(row['title'] or row['music_task_id'])}: {_page(context, row)}" for row in rows[:MOST_SONGS]
        ]
        return [one_line(rows[0]["reason"]), *named, *_and_more(len(rows), _run_page(context["ti"]))]


class KieDeadlineNotifier(KieNotifier):
    """Says that a run is not finished in time: the callback of a deadline, in the triggerer."""

    def message(self, context: Context) -> Message | None:
        """Return the message."""
        run: Any = context.get("dag_run") or {}
        named = {name: run.get(name) if isinstance(run, Mapping) else getattr(run, name, None) for name in _RUN}
        where = _base(f"dags/{named['dag_id']}/runs/{named['run_id'] or named['dag_run_id']}")
        minutes = settings.number("deadline_minutes", 0)
        text = f"It was queued more than {minutes:g} minutes ago. Songs that wait for an outage: see kie_ops.\n{where}"
        return Message(f"A run of {named['dag_id']} is late", text, f"late/{named['dag_id']}", "warning")


_RUN = ("dag_id", "run_id", "dag_run_id")


def incident_messages(context: Context, changes: Sequence[Mapping[str, str]] | None) -> list[Message]:
    """Return one message for each change of an incident.

    :param context: the context of the task that sends them.
    :param changes: what the health check has pushed; None: it came to no end.
    """
    if changes is None:
        text = f"The health check did not finish: its log says why.\n{_run_page(context['ti'])}"
        return [Message("kie_ops could not check", text, "ops")]
    return [
        Message(
            f"{one['key'].partition(':')[0]} {one['change']}",
            one["text"],
            one["key"],
            "info" if is_information(one["change"], one["key"]) else "error",
            one["change"] == Change.OVER,
        )
        for one in changes
    ]


def run_callbacks() -> dict[str, Any]:
    """Return the callbacks of a run's report; none where no message is wanted."""
    archived = {"on_success_callback": KieArchivedNotifier()} if is_on("archived") else {}
    failed = {"on_failure_callback": KieFailedNotifier()} if is_on("failed") else {}
    return {**archived, **failed}


def deadline() -> Any:
    """Return a `DeadlineAlert` for `music_cover`; None unless `[kie] deadline_minutes` and a notifier are set."""
    minutes = settings.number("deadline_minutes", 0)
    if minutes <= 0 or not is_on("late"):
        return None
    import airflow.sdk

    sdk = cast("Any", airflow.sdk)  # all three stand in its __all__, not in its stub
    return sdk.DeadlineAlert(
        reference=sdk.DeadlineReference.DAGRUN_QUEUED_AT,  # runs of forms and events have no logical date
        interval=timedelta(minutes=minutes),
        callback=sdk.AsyncCallback(KieDeadlineNotifier),
    )


def _rows(context: Context) -> list[Mapping[str, Any]]:
    """Return the table of the run's report."""
    ti: Any = context["ti"]
    pulled = ti.xcom_pull(task_ids=ti.task_id, key="table")
    return [row for row in pulled or () if isinstance(row, Mapping)]


def _page(context: Context, row: Mapping[str, Any]) -> str:
    task: Any = context["task"]
    ti: Any = context["ti"]
    songs = task.songs if isinstance(task.songs, list) else []
    place = next(((s["bucket"], s["prefix"]) for s in songs if s["music_task_id"] == row["music_task_id"]), None)
    return _base(song_page(ti.dag_id, ti.run_id, row["music_task_id"], place))


def _run_page(ti: Any) -> str:
    return _base(f"dags/{ti.dag_id}/runs/{ti.run_id}")


def _base(path: str) -> str:
    return f"{str(conf.get('api', 'base_url', fallback='')).rstrip('/')}/{path}"


def _and_more(songs: int, where: str) -> list[str]:
    return [f"and {songs - MOST_SONGS} more: {where}"] if songs > MOST_SONGS else []
