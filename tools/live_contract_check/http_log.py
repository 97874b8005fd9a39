"""The requests that were sent to KIE and its answers, kept while the check runs."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_kie.client.account import KieAccount
from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.http.transport import KieTransport
from airflow_kie.client.requests import Request
from airflow_kie.client.untrusted import decode_json

_MEMBERS = (
    *("taskId", "state", "successFlag", "resultJson", "response", "failCode", "failMsg"),
    *("creditsConsumed", "costTime", "completeTime", "createTime"),
)


@dataclass(frozen=True)
class Exchange:
    """One request and its answer.

    :param purpose: which step of the check sent it.
    :param started: when it was sent, by this machine's clock.
    :param ended: when the answer was there.
    :param request: what was sent.
    :param response: KIE's answer.
    """

    purpose: str
    started: datetime
    ended: datetime
    request: Request
    response: Response

    @property
    def answer(self) -> dict[str, Any]:
        """The decoded answer; empty if it is not a JSON object."""
        try:
            decoded = decode_json(self.response.content)
        except ValueError:
            return {}
        return decoded if isinstance(decoded, dict) else {}

    @property
    def salvaged(self) -> dict[str, Any]:
        """What can be read of a ``recordInfo`` whose body is no JSON because of the echo of the request."""
        text = self.response.content.decode("utf-8", "replace")
        found: dict[str, Any] = {}
        for name in _MEMBERS:
            for match in re.finditer(rf'"{name}"\s*:\s*', text):
                with contextlib.suppress(ValueError):
                    found[name] = json.JSONDecoder().raw_decode(text, match.end())[0]
        return found


class RecordingTransport(KieTransport):
    """Sends for one account and keeps every exchange.

    :param account: the account.
    """

    def __init__(self, account: KieAccount) -> None:
        super().__init__(account)
        self.exchanges: list[Exchange] = []
        self.purpose = ""

    def send(self, request: Request) -> Response:
        """Send a request, keep it with its answer, and return the answer; errors as in the transport."""
        started = datetime.now(UTC)
        response = super().send(request)
        self.exchanges.append(Exchange(self.purpose, started, datetime.now(UTC), request, response))
        return response
