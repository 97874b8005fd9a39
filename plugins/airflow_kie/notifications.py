"""Who is told of runs and causes: messages of ours, sent by whichever notifier `[kie] notifier` names.

Off unless it names one. Slack, e-mail, PagerDuty and the like are sent by the notifiers of Airflow's own providers:
their arguments stand in `[kie] notifier_args`, and hold our words where they say ``{title}`` or ``{text}``.
"""

from __future__ import annotations

import asyncio
import html
import importlib
import json
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseNotifier, conf

from airflow_kie import settings
from airflow_kie.conditions import What
from airflow_kie.links import song_page
from airflow_kie.songs import in_words
from airflow_kie.told import failures_told, forget_failure, keep_unsent, remember_failures, take_unsent

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

MOST_SONGS = 10
"""Songs that one message names."""
QUIET = 3600.0
"""Seconds in which further runs that fail for a cause that was told of are only counted."""


@dataclass(frozen=True)
class Message:
    """What somebody is told.

    :param title: one line.
    :param text: the rest, with line breaks.
    :param cause: the same for everything that is about one cause: PagerDuty's `dedup_key`.
    :param severity: ``info``, ``warning`` or ``error``.
    :param over: it tells that the cause is over: PagerDuty's `action` is ``resolve`` then.
    """

    title: str
    text: str
    cause: str
    severity: str = "error"
    over: bool = False

    def into(self, argument: Any) -> Any:
        """Return a notifier's argument with the message in it, however deep it stands."""
        if isinstance(argument, Mapping):
            return {name: self.into(value) for name, value in argument.items()}
        if isinstance(argument, list):
            return [self.into(value) for value in argument]
        if not isinstance(argument, str):
            return argument
        escaped = html.escape(self.text, quote=False)
        words = {
            "title": self.title,
            "text": self.text,
            "escaped": escaped,
            "html": escaped.replace("\n", "<br>"),
            "cause": self.cause,
            "severity": self.severity,
            "action": "resolve" if self.over else "trigger",
        }
        # In one pass: what a song is called is not looked through for further names.
        return _PLACE.sub(lambda place: words[place[1]], argument)


_PLACE = re.compile(r"\{(title|text|escaped|html|cause|severity|action)\}")


class KieNotifier(BaseNotifier):
    """Sends messages through the notifier that `[kie] notifier` names; sends nothing while it names none."""

    def messages(self, context: Context) -> Sequence[Message]:
        """Return what is to be told."""
        raise NotImplementedError

    def notify(self, context: Context) -> None:
        """Send the messages, one after the other; one that cannot be sent keeps back none of the others.

        :raises Exception: what the notifier has raised first.
        """
        failures = []
        for message in self._messages(context):
            try:
                sender_of(message).notify(context)
            except Exception as error:  # noqa: BLE001 - of whichever notifier somebody has named
                failures.append(error)
                self.not_sent(message)
        if failures:
            raise failures[0]

    async def async_notify(self, context: Context) -> None:
        """Send the messages from an event loop; a notifier that cannot do that is called on a thread.

        :raises Exception: what the notifier has raised first.
        """
        failures = []
        for message in await asyncio.to_thread(self._messages, context):
            try:
                await _send(sender_of(message), context)
            except Exception as error:  # noqa: BLE001 - of whichever notifier somebody has named
                failures.append(error)
                await asyncio.to_thread(self.not_sent, message)
        if failures:
            raise failures[0]

    def not_sent(self, message: Message) -> None:
        """Take back that a message was told."""

    def _messages(self, context: Context) -> Sequence[Message]:
        return self.messages(context) if is_on() else ()


async def _send(sender: BaseNotifier, context: Context) -> None:
    try:
        await sender.async_notify(context)
    except NotImplementedError:
        await asyncio.to_thread(sender.notify, context)


def _message(kept: Mapping[str, str]) -> Message:
    names = ("title", "text", "cause", "severity")
    return Message(**{name: kept.get(name, "") for name in names}, over=bool(kept.get("over")))


class KieArchivedNotifier(KieNotifier):
    """Tells of a run whose songs are archived, with the address of each song's page: for `on_success_callback`."""

    def messages(self, context: Context) -> Sequence[Message]:
        """Return one message for the run; none for a run without songs."""
        rows = _rows(context)
        if not rows:
            return ()
        ti: Any = context["ti"]
        lines = [f"{row['title'] or 'Without title'}: {_page(context, row)}" for row in rows[:MOST_SONGS]]
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

    def not_sent(self, message: Message) -> None:
        """Let the next run that fails for this cause tell of it."""
        forget_failure(message.cause)

    def _of_songs(self, context: Context, cause: str, rows: Sequence[Mapping[str, Any]]) -> Message:
        named = [f"{row['title'] or row['music_task_id']}: {_page(context, row)}" for row in rows[:MOST_SONGS]]
        lines = [str(rows[0]["reason"]), *named, *_and_more(len(rows), _run_page(context["ti"]))]
        title = f"{in_words(len(rows)).capitalize()} failed: {cause}"
        return Message(title, "\n".join(lines), f"failed/{cause}")


class KieConditionNotifier(KieNotifier):
    """Tells what `kie_ops` has found, begin and end of each cause: for both callbacks of its task.

    What could not be sent is sent at the next look, which by itself tells nothing twice.
    """

    def messages(self, context: Context) -> Sequence[Message]:
        """Return what could not be sent before, and one message for each cause of which there is something new."""
        return [*map(_message, take_unsent()), *self._news(context)]

    def not_sent(self, message: Message) -> None:
        """Keep the message for the next look."""
        keep_unsent({**asdict(message), "over": "yes" if message.over else ""})

    def _news(self, context: Context) -> Sequence[Message]:
        from airflow_kie.operators.ops import NEWS_KEY

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

    def not_sent(self, message: Message) -> None:
        """Let the next late run of the DAG tell of it."""
        forget_failure(message.cause)


_RUN = ("dag_id", "run_id", "dag_run_id")


def is_on(what: str = "") -> bool:
    """Return whether somebody is to be told.

    :param what: of what: ``archived``, ``failed``, ``conditions`` or ``late``; empty: of anything.
    """
    told = settings.names("notify_of", "archived, failed, conditions, late")
    return bool(settings.text("notifier")) and (not what or what in told)


def sender_of(message: Message) -> BaseNotifier:
    """Return the configured notifier with a message in its arguments.

    It is sent as it is: Airflow would render it as a template, and a song's title is nobody's template.

    :param message: what to tell.
    :raises ValueError: when `[kie] notifier` or `notifier_args` cannot be used.
    """
    path, arguments = settings.text("notifier"), settings.text("notifier_args") or '{"text": "{title}\\n{text}"}'
    module, _, name = path.rpartition(".")
    try:
        notifier = getattr(importlib.import_module(module), name)
        given = json.loads(arguments)
        return cast("BaseNotifier", notifier(**message.into(given)))
    except Exception as error:  # whatever somebody's module or class raises
        raise ValueError(f"[kie] notifier {path!r} cannot be used with its notifier_args: {error}") from error


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
