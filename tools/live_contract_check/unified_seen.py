"""What is seen of the unified API variant, and the steps that show it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tools.live_contract_check.http_log import Exchange
from tools.live_contract_check.observations import SeenFile


class UnifiedStep(StrEnum):
    """Why something was sent. What is paid for is added as ``pay <name>`` and ``details of <name>``."""

    BALANCE_BEFORE = "balance before"
    PRICE = "price of a cover"
    UNKNOWN_ID = "details of an unknown id"
    UNKNOWN_MODEL = "create with an unknown model"
    UNKNOWN_SONG = "cover of an unknown song"
    SONG_DEDICATED = "song, dedicated details"
    SONG_UNIFIED = "song, unified details"
    COVER = "create"
    DETAILS = "details"
    BALANCE_CREATED = "balance after the create"
    REPEAT = "repeated create"
    BALANCE_AFTER = "balance after"


def data_of(exchange: Exchange | None) -> dict[str, Any]:
    """Return the ``data`` of an answer; empty if it is no object.

    Where the body is no JSON because of the echo of the request (recorded once), what stands outside of the echo.
    """
    if exchange is None:
        return {}
    data = exchange.answer.get("data") if exchange.answer else exchange.salvaged
    return data if isinstance(data, dict) else {}


def state_of(exchange: Exchange) -> str:
    """Return the state that ``recordInfo`` names."""
    return str(data_of(exchange).get("state") or "")


def result_of(exchange: Exchange | None) -> Any:
    """Return what ``resultJson`` holds, decoded; None if it holds nothing."""
    try:
        return json.loads(data_of(exchange).get("resultJson") or "null")
    except (TypeError, ValueError):
        return None


@dataclass(frozen=True)
class UnifiedSeen:
    """Everything that was seen.

    :param exchanges: the requests and answers, in order.
    :param files: the cover's images.
    """

    exchanges: Sequence[Exchange]
    files: Sequence[SeenFile] = ()

    def all(self, step: str) -> list[Exchange]:
        """Return the exchanges of a step."""
        return [exchange for exchange in self.exchanges if exchange.purpose == step]

    def one(self, step: str) -> Exchange | None:
        """Return the last exchange of a step."""
        return next(reversed(self.all(step)), None)

    def done(self, step: str = UnifiedStep.DETAILS) -> Exchange | None:
        """Return the reading that showed a success."""
        last = self.one(step)
        return last if last and state_of(last) == "success" else None

    def balance(self, step: str) -> float | None:
        """Return what a balance was."""
        exchange = self.one(step)
        data = exchange.answer.get("data") if exchange else None
        return float(data) if isinstance(data, int | float) else None
