"""Who is told of what: of runs, of late runs, and of what holds songs up."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import conf

from airflow_kie import settings
from airflow_kie.archive.inbox.song_request import in_words
from airflow_kie.client.one_line import one_line
from airflow_kie.client.redact import without_urls
from airflow_kie.links.kie import song_page
from airflow_kie.monitoring.incidents import What
from airflow_kie.notifications.message import KieNotifier, Message, is_on, sender_of
from airflow_kie.notifications.told import (
    GivenUp,
    failures_told,
    forget_failure,
    forget_unsent,
    keep_unsent,
    remember_failures,
    unsent,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = [
    "KieArchivedNotifier",
    "KieConditionNotifier",
    "KieDeadlineNotifier",
    "KieFailedNotifier",
    "KieNotifier",
    "Message",
    "deadline",
    "is_on",
    "sender_of",
    "tell_of_conditions",
    "tell_of_run",
]

log = logging.getLogger(__name__)

MOST_SONGS = 10
"""Songs that one message names."""
MOST_SAID = 300
"""Characters of what a notifier has raised, in the line about a message that is given up."""
QUIET = 3600.0
"""Seconds in which further runs that fail for a cause that was told of are only counted."""


class KieArchivedNotifier(KieNotifier):
    """Tells of a run whose songs are archived, with the address of each song's page: for `on_success_callback`."""

    def messages(self, context: Context) -> Sequence[Message]:
        """Return one message for the run; none for a run without songs."""
        rows = _rows(context)
        if not rows:
            return ()
        ti: Any = context["ti"]
        lines = [f"{one_line(row['title'] or 'Without title')}: {_page(context, row)}" for row in rows[:MOST_SONGS]]
        lines += _and_more(len(rows), f"{_run_page(ti)}")
        number = in_words(len(rows))
        title = f"{number.capitalize()} {'is' if len(rows) == 1 else 'are'} archived"
        return (Message(title, "\n".join(lines), f"archived/{ti.dag_id}/{ti.run_id}", "info"),)


class KieFailedNotifier(KieNotifier):
    """Tells why songs of a run failed, one message for each cause: for `on_failure_callback`.

    A cause that was told of within the last hour is not told of again: the runs are counted, and the next message says
    how many there were.
    """

    def messages(self, context: Context) -> Sequence[Message]:
        """Return one message for each cause that was not told of lately."""
        ti: Any = context["ti"]
        by_cause: dict[str, list[Mapping[str, Any]]] = {}
        for row in _rows(context):
            if row["reason"]:
                by_cause.setdefault(row.get("cause") or "not_archived", []).append(row)
        failures = [self._of_songs(context, cause, rows) for cause, rows in by_cause.items()]
        if not failures:
            words = str(context.get("exception") or "See its log.")
            failures = [Message(f"A run of {ti.dag_id} failed", f"{words}\n{_run_page(ti)}", f"failed/{ti.task_id}")]
        return _not_told_lately(failures)

    def not_sent(self, message: Message, refusal: Exception) -> None:
        """Let the next run that fails for this cause tell of it."""
        forget_failure(message.cause)

    def _of_songs(self, context: Context, cause: str, rows: Sequence[Mapping[str, Any]]) -> Message:
        named = [
            f"{one_line(row['title'] or row['music_task_id'])}: {_page(context, row)}" for row in rows[:MOST_SONGS]
        ]
        lines = [one_line(rows[0]["reason"]), *named, *_and_more(len(rows), _run_page(context["ti"]))]
        title = f"{in_words(len(rows)).capitalize()} failed: {cause}"
        return Message(title, "\n".join(lines), f"failed/{cause}")


class KieConditionNotifier(KieNotifier):
    """Tells what `kie_ops` has found, begin and end of each cause: for both callbacks of its task.

    What could not be sent is sent at the next look, which by itself tells nothing twice. What is refused for a day is
    given up: one line of the log says so.
    """

    def messages(self, context: Context) -> Sequence[Message]:
        """Return what could not be sent before, and one message for each cause of which there is something new."""
        return list(dict.fromkeys([*unsent(), *self._news(context)]))

    def sent(self, message: Message) -> None:
        """Forget the message if it was kept: only now, since a worker can die while it is sent."""
        forget_unsent(message)

    def not_sent(self, message: Message, refusal: Exception) -> None:
        """Keep the message for the next look, or give it up."""
        for given_up in keep_unsent(message, time.time()):
            _tell_of(given_up, refusal)

    def _news(self, context: Context) -> Sequence[Message]:
        from airflow_kie.durable.xcom import NEWS_KEY

        ti: Any = context["ti"]
        news = ti.xcom_pull(task_ids=ti.task_id, key=NEWS_KEY)
        if news is None and context.get("exception"):
            return (Message("kie_ops could not look", f"{context['exception']}\n{_run_page(ti)}", "ops"),)
        return [
            Message(
                f"{one['key'].partition(':')[0]} {one['what']}",
                one["text"],
                one["key"],
                "info" if one["what"] == What.OVER else "error",
                one["what"] == What.OVER,
            )
            for one in news or ()
        ]


def _tell_of(given_up: GivenUp, refusal: Exception) -> None:
    """Write one line about a message that is not tried again."""
    first_line = f"{given_up.message.title}: {given_up.message.text.partition(chr(10))[0]}"
    said = " ".join(without_urls(str(refusal)).split())[:MOST_SAID].rstrip(".")
    log.error(
        "A message is given up: '%s' Notifier %s of [kie] notifier %s, and has raised last: %s: %s. It is not tried "
        "again; a cause that lasts is told of anew after a day. Mend [kie] notifier_args or what the notifier needs.",
        first_line,
        settings.text("notifier"),
        given_up.why,
        type(refusal).__name__,
        said,
    )


class KieDeadlineNotifier(KieNotifier):
    """Tells that a run is not finished in time: the callback of a deadline, in the triggerer.

    Late runs of one DAG are told of once an hour.
    """

    def messages(self, context: Context) -> Sequence[Message]:
        """Return the message, unless one of that DAG was sent lately."""
        run: Any = context.get("dag_run") or {}
        said = {name: run.get(name) if isinstance(run, Mapping) else getattr(run, name, None) for name in _RUN}
        where = _base(f"dags/{said['dag_id']}/runs/{said['run_id'] or said['dag_run_id']}")
        minutes = settings.number("deadline_minutes", 0)
        text = f"It was queued more than {minutes:g} minutes ago. Songs that wait for an outage: see kie_ops.\n{where}"
        late = Message(f"A run of {said['dag_id']} is late", text, f"late/{said['dag_id']}", "warning")
        return _not_told_lately([late])

    def not_sent(self, message: Message, refusal: Exception) -> None:
        """Let the next late run of the DAG tell of it."""
        forget_failure(message.cause)


_RUN = ("dag_id", "run_id", "dag_run_id")


def tell_of_run() -> dict[str, Any]:
    """Return the callbacks of a run's report; none where nobody is to be told."""
    archived = {"on_success_callback": KieArchivedNotifier()} if is_on("archived") else {}
    failed = {"on_failure_callback": KieFailedNotifier()} if is_on("failed") else {}
    return {**archived, **failed}


def tell_of_conditions() -> dict[str, Any]:
    """Return the callbacks of the task of `kie_ops`; none where nobody is to be told."""
    if not is_on("conditions"):
        return {}
    return {"on_success_callback": KieConditionNotifier(), "on_failure_callback": KieConditionNotifier()}


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


def _not_told_lately(messages: Sequence[Message], now: float | None = None) -> list[Message]:
    """Return the messages whose cause was not told of in the last hour, and remember that they are told of now."""
    at = time.time() if now is None else now
    kept = {cause: one for cause, one in failures_told().items() if abs(at - one["at"]) < 24 * QUIET}
    due = []
    for message in messages:
        before = kept.get(message.cause, {})
        if abs(at - before.get("at", 0)) < QUIET:  # told of in the future: by a clock that was wrong
            kept[message.cause] = {**before, "unsaid": before.get("unsaid", 0) + 1}
            continue
        unsaid = before.get("unsaid", 0)
        more = f"{message.text}\nSince the last such message there were about {unsaid} more runs." if unsaid else ""
        due.append(replace(message, text=more or message.text))
        kept[message.cause] = {"at": at, "unsaid": 0}
    if messages:
        remember_failures(kept)
    return due
