"""Notifications about archived and failed songs of a run, late runs, and incidents.

They are sent through the notifier in `[kie] notifier`; none are sent if it is not set. Airflow's providers have
notifiers for Slack, e-mail, PagerDuty and others. Their arguments are in `[kie] notifier_args`, where ``{title}`` and
``{text}`` are replaced by the message.
"""

from __future__ import annotations

import html
import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseNotifier, conf

from airflow_kie import settings
from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.client.redact import one_line
from airflow_kie.durable.xcom import ARCHIVED_ALREADY
from airflow_kie.links.kie import song_page
from airflow_kie.monitoring.incidents import Change, is_information
from airflow_kie.threads import in_thread

if TYPE_CHECKING:
    from airflow.sdk import Context

MOST_SONGS = 10
"""Songs that one message names."""
_SLACK = "airflow.providers.slack."
"""Slack's notifiers read ``<!channel>`` and ``<https://…|words>``; three characters are all that its mrkdwn escapes."""
_PLACEHOLDER = re.compile(r"\{(title|text|escaped|html|cause|severity|action)\}")


@dataclass(frozen=True)
class Message:
    """What is sent to people.

    :param title: one line.
    :param text: the rest, with line breaks.
    :param cause: the same for everything that is about one cause: PagerDuty's `dedup_key`.
    :param severity: ``info``, ``warning`` or ``error``.
    :param over: the incident is over: PagerDuty's `action` is ``resolve`` then.
    """

    title: str
    text: str
    cause: str
    severity: str = "error"
    over: bool = False

    def into(self, argument: Any) -> Any:
        """Return a notifier's argument with the message in it, at any depth."""
        if isinstance(argument, Mapping):
            return {name: self.into(value) for name, value in argument.items()}
        if isinstance(argument, list):
            return [self.into(value) for value in argument]
        if not isinstance(argument, str):
            return argument
        title, text = one_line(self.title), "\n".join(map(one_line, self.text.splitlines()))
        escaped = html.escape(text, quote=False)
        slack = settings.text("notifier").startswith(_SLACK)
        words = {
            "title": html.escape(title, quote=False) if slack else title,
            "text": escaped if slack else text,
            "escaped": escaped,
            "html": escaped.replace("\n", "<br>"),
            "cause": self.cause,
            "severity": self.severity,
            "action": "resolve" if self.over else "trigger",
        }
        # In one pass: a placeholder in a song's title is not replaced.
        return _PLACEHOLDER.sub(lambda found: words[found[1]], argument)


class KieNotifier(BaseNotifier):
    """Sends a message through the notifier in `[kie] notifier`; sends nothing if none is set."""

    def message(self, context: Context) -> Message | None:
        """Return the message; None: there is nothing to report."""
        raise NotImplementedError

    def notify(self, context: Context) -> None:
        """Send the message."""
        if message := self._message(context):
            send(message, context)

    async def async_notify(self, context: Context) -> None:
        """Send the message from an event loop; a notifier that cannot do that is called on a thread."""
        if message := await in_thread(self._message, context):
            sender = sender_of(message)
            try:
                await sender.async_notify(context)
            except NotImplementedError:
                await in_thread(sender.notify, context)

    def _message(self, context: Context) -> Message | None:
        return self.message(context) if is_on() else None


def send(message: Message, context: Context) -> None:
    """Send a message through the configured notifier.

    :raises ValueError: when `[kie] notifier` or `notifier_args` cannot be used.
    :raises Exception: what the notifier raises.
    """
    sender_of(message).notify(context)


def is_on(what: str = "") -> bool:
    """Return whether messages are sent.

    :param what: about what: ``archived``, ``failed``, ``incidents`` or ``late``; empty: about anything.
    """
    chosen = settings.names("notify_of", "archived, failed, incidents, late")
    return bool(settings.text("notifier")) and (not what or what in chosen)


def sender_of(message: Message) -> BaseNotifier:
    """Return the configured notifier with a message in its arguments.

    It is sent as it is: Airflow would render it as a template, and a song's title is nobody's template.

    :param message: what to send.
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


class KieArchivedNotifier(KieNotifier):
    """Lists the songs that a run has archived, with links to their pages: for `on_success_callback`."""

    def message(self, context: Context) -> Message | None:
        """Return one message for the run; none for a run that found all of its songs archived."""
        rows = [row for row in _rows(context) if not row["reason"] and row.get("result") != ARCHIVED_ALREADY]
        if not rows:
            return None
        ti: Any = context["ti"]
        lines = [f"{one_line(row['title'] or 'Without title')}: {_page(context, row)}" for row in rows[:MOST_SONGS]]
        lines += _and_more(len(rows), _run_page(ti))
        return Message(f"Archived: {counted(len(rows))}", "\n".join(lines), f"archived/{ti.dag_id}/{ti.run_id}", "info")


class KieFailedNotifier(KieNotifier):
    """Says why songs of a run failed, in one message whose title has the causes: for `on_failure_callback`."""

    def message(self, context: Context) -> Message | None:
        """Return one message for the run."""
        ti: Any = context["ti"]
        by_cause: dict[str, list[Mapping[str, Any]]] = {}
        for row in _rows(context):
            if row["reason"]:
                by_cause.setdefault(row.get("cause") or "not_archived", []).append(row)
        if not by_cause:
            why = str(context.get("exception") or "See its log.")
            return Message(f"A run of {ti.dag_id} failed", f"{why}\n{_run_page(ti)}", f"failed/{ti.task_id}")
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
    """Says that a run is late: the callback of a deadline, called in the triggerer."""

    def message(self, context: Context) -> Message | None:
        """Return the message."""
        run: Any = context.get("dag_run") or {}
        known = run if isinstance(run, Mapping) else {name: getattr(run, name, None) for name in _RUN}
        dag_id = known.get("dag_id")
        where = _base(f"dags/{dag_id}/runs/{known.get('run_id') or known.get('dag_run_id')}")
        minutes = settings.number("deadline_minutes", 0)
        text = f"It was queued more than {minutes:g} minutes ago. See kie_ops for songs that an outage holds.\n{where}"
        return Message(f"A run of {dag_id} is late", text, f"late/{dag_id}", "warning")


_RUN = ("dag_id", "run_id", "dag_run_id")


def incident_messages(context: Context, changes: Sequence[Mapping[str, str]] | None) -> list[Message]:
    """Return one message for each change of an incident.

    :param context: the context of the task that sends them.
    :param changes: what the health check has pushed; None: it did not finish.
    """
    status = _base("kie/status")
    if changes is None:
        text = f"The health check did not finish; its log says why.\n{_run_page(context['ti'])}\n{status}"
        return [Message("kie_ops could not run its check", text, "ops")]
    return [
        Message(
            f"{one['key'].partition(':')[0]} {one['change']}",
            f"{one['text']}\n{status}",
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

    sdk = cast("Any", airflow.sdk)  # all three are in its __all__, not in its stub
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
    place = (songs[0]["bucket"], songs[0]["prefix"]) if songs else None  # the same for all songs of a run
    return _base(song_page(ti.dag_id, ti.run_id, row["music_task_id"], place))


def _run_page(ti: Any) -> str:
    return _base(f"dags/{ti.dag_id}/runs/{ti.run_id}")


def _base(path: str) -> str:
    return f"{str(conf.get('api', 'base_url', fallback='')).rstrip('/')}/{path}"


def _and_more(songs: int, where: str) -> list[str]:
    return [f"and {songs - MOST_SONGS} more: {where}"] if songs > MOST_SONGS else []
