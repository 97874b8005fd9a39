"""Notifiers as Airflow's providers have them: what they were given is in their class."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.sdk import BaseNotifier


class Posted(BaseNotifier):
    """A notifier as Airflow's providers have them; what it was given is in its class."""

    template_fields = ("text",)
    sent: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, text: str = "", **more: Any) -> None:
        super().__init__()
        self.text = text
        self.more = more

    def notify(self, context: Any) -> None:
        self.sent.append({"text": self.text, **self.more})


class PostedInTheLoop(Posted):
    """One that can be awaited too."""

    async def async_notify(self, context: Any) -> None:
        self.sent.append({"text": self.text, "awaited": True})


class Printed(Posted):
    """One that prints, for what runs in another process."""

    def notify(self, context: Any) -> None:
        print(f"Posted: {self.text}", flush=True)


class PostedUnless(Posted):
    """One whose service refuses messages with a word in them."""

    refused: ClassVar[str] = ""
    words: ClassVar[str] = "the service is away"
    raises: ClassVar[type[BaseException]] = ConnectionError

    def notify(self, context: Any) -> None:
        if self.refused in self.text:
            raise self.raises(self.words)
        super().notify(context)
