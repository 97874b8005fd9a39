"""A message to people, and how it is sent: by whichever notifier `[kie] notifier` names.

Off unless it names one. Slack, e-mail, PagerDuty and the like are sent by the notifiers of Airflow's own providers:
their arguments stand in `[kie] notifier_args`, and hold our words where they say ``{title}`` or ``{text}``.
"""

from __future__ import annotations

import asyncio
import html
import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseNotifier

from airflow_kie import settings
from airflow_kie.client.one_line import one_line

if TYPE_CHECKING:
    from airflow.sdk import Context


@dataclass(frozen=True)
class Message:
    """What is sent to people.

    :param title: one line.
    :param text: the rest, with line breaks.
    :param cause: the same for everything that is about one cause: PagerDuty's `dedup_key`.
    :param severity: ``info``, ``warning`` or ``error``.
    :param over: it says that the incident is over: PagerDuty's `action` is ``resolve`` then.
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
        # In one pass: what a song is called is not looked through for further names.
        return _PLACE.sub(lambda place: words[place[1]], argument)


_SLACK = "airflow.providers.slack."
"""Slack's notifiers read ``<!channel>`` and ``<https://…|words>``; three characters are all that its mrkdwn escapes."""
_PLACE = re.compile(r"\{(title|text|escaped|html|cause|severity|action)\}")


class KieNotifier(BaseNotifier):
    """Sends a message through the notifier that `[kie] notifier` names; sends nothing while it names none."""

    def message(self, context: Context) -> Message | None:
        """Return the message; None: there is nothing to say."""
        raise NotImplementedError

    def notify(self, context: Context) -> None:
        """Send the message."""
        if message := self._message(context):
            send(message, context)

    async def async_notify(self, context: Context) -> None:
        """Send the message from an event loop; a notifier that cannot do that is called on a thread."""
        if message := await asyncio.to_thread(self._message, context):
            await _send(sender_of(message), context)

    def _message(self, context: Context) -> Message | None:
        return self.message(context) if is_on() else None


def send(message: Message, context: Context) -> None:
    """Send a message through the configured notifier.

    :raises ValueError: when `[kie] notifier` or `notifier_args` cannot be used.
    :raises Exception: what the notifier raises.
    """
    sender_of(message).notify(context)


async def _send(sender: BaseNotifier, context: Context) -> None:
    try:
        await sender.async_notify(context)
    except NotImplementedError:
        await asyncio.to_thread(sender.notify, context)


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
