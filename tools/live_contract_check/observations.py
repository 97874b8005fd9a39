"""What is seen while one cover is made on the real KIE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airflow_kie.client.operations.json_path import value_at, values_at
from airflow_kie.client.operations.suno import COVER
from tools.live_contract_check.http_log import Exchange


class Step(StrEnum):
    """Why something was sent."""

    BALANCE_BEFORE = "balance before"
    SONG = "song"
    WITHOUT_CALLBACK = "create without callback URL"
    CREATE = "create"
    BALANCE_CREATED = "balance after the create"
    REPEAT = "repeated create"
    BALANCE_REPEATED = "balance after the repeated create"
    DETAILS = "details"
    LINK = "download link"
    BALANCE_AFTER = "balance after"


@dataclass(frozen=True)
class SeenFile:
    """One image of the cover, downloaded.

    :param host: where it was.
    :param content_type: what it is, by its content; None if it did not come whole.
    :param description: size and shape, or why it did not come.
    """

    host: str
    content_type: str | None
    description: str


@dataclass(frozen=True)
class Seen:
    """Everything that was seen while one cover was made.

    :param music_task_id: the song.
    :param exchanges: the requests and answers, in order, each with a :class:`Step` as its purpose.
    :param files: the images.
    :param price: credits that a cover costs, as the configuration says; 0: it does not.
    """

    music_task_id: str
    exchanges: Sequence[Exchange]
    files: Sequence[SeenFile] = ()
    price: float = 0.0

    def all(self, step: Step) -> list[Exchange]:
        """Return the exchanges of a step."""
        return [exchange for exchange in self.exchanges if exchange.purpose == step]

    def one(self, step: Step) -> Exchange | None:
        """Return the last exchange of a step."""
        return next(reversed(self.all(step)), None)

    @property
    def created(self) -> Exchange | None:
        """The create that KIE accepted."""
        creates = (*self.all(Step.WITHOUT_CALLBACK), *self.all(Step.CREATE))
        return next((one for one in creates if one.answer.get("code") == 200), None)

    @property
    def task_id(self) -> str | None:
        """The cover task, as the accepted create named it, or whichever create named one."""
        creates = (self.created, self.one(Step.WITHOUT_CALLBACK), self.one(Step.CREATE))
        found = (value_at(one.answer.get("data"), COVER.id_path) for one in creates if one)
        return next((str(task_id) for task_id in found if task_id), None)

    @property
    def details(self) -> list[dict[str, Any]]:
        """What the details showed, without the reads that showed nothing."""
        shown = (one.answer.get("data") for one in self.all(Step.DETAILS))
        return [data for data in shown if isinstance(data, dict)]

    @property
    def done(self) -> dict[str, Any] | None:
        """The details of the finished cover."""
        last = self.details[-1] if self.details else None
        return last if last and values_at(last, COVER.results[0].path) else None

    def balance(self, step: Step) -> float | None:
        """Return what a balance was."""
        exchange = self.one(step)
        data = exchange.answer.get("data") if exchange else None
        return float(data) if isinstance(data, (int, float)) else None
