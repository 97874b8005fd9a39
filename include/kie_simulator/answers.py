"""KIE's envelope and the answers that are not one: every outcome is in the body, the status is 200."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, Response

OUT_OF_CREDITS = (
    "Credits insufficient : Your current balance isn\u2019t enough to run this request. Please top up to continue."
)
UNAUTHORIZED = (
    "Unauthorized \u2013 Authentication failed. Please check that your Authorization and "
    "Content-Type headers are correctly set."
)
TOO_FREQUENT = "Your call frequency is too high. Please try again later."


@dataclass(frozen=True)
class Answer:
    """One answer of the API before it becomes bytes.

    :param http: the HTTP status; None for KIE's habit, which is 200 whatever the code.
    :param extra: further members of the envelope.
    :param media_type: empty: the answer comes without a Content-Type, as was recorded of a chat model's.
    """

    code: int = 200
    msg: str = "success"
    data: Any = None
    http: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    media_type: str = "application/json;charset=UTF-8"

    def body(self) -> dict[str, Any]:
        """Return the envelope."""
        return {**self.extra, "code": self.code, "msg": self.msg, "data": self.data}

    def response(self, *, http_errors: bool) -> Response:
        """Return the answer as an HTTP response.

        :param http_errors: whether an error code also becomes the HTTP status, as KIE's prose promises.
        """
        status = self.http or (self.code if http_errors and 400 <= self.code <= 599 else 200)
        return self._typed(JSONResponse(self.body(), status, dict(self.headers), media_type=self.media_type))

    def _typed(self, response: Response) -> Response:
        if not self.media_type:
            del response.headers["content-type"]
        return response


@dataclass(frozen=True)
class Spoken(Answer):
    """An answer that is no envelope: a chat model's, in the words of its dialect.

    :param text: JSON, or server-sent events.
    """

    text: str = ""

    def body(self) -> dict[str, Any]:
        """Return the JSON object."""
        return dict(json.loads(self.text))

    def response(self, *, http_errors: bool) -> Response:
        """Return the answer as an HTTP response."""
        return self._typed(Response(self.text, 200, dict(self.headers), media_type=self.media_type))


def refusal(code: int, msg: str, data: Any = None) -> Answer:
    """Return an answer that refuses a request."""
    return Answer(code=code, msg=msg, data=data)
