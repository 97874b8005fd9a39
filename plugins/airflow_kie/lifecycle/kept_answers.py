"""KIE's answers that are results themselves: paid for, and available nowhere else.

They are stored beside the ledger of paid requests, whose own objects hold nothing of what was requested or made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_kie.client.answers.inline import kept_body, kept_id
from airflow_kie.client.errors import KieError
from airflow_kie.lifecycle.claims import RequestId
from airflow_kie.lifecycle.crash_points import reached

ANSWERS = "_answers/"
"""Where they are, beside the accounts' requests."""


class AnswerStore(Protocol):
    """Where answers can be: what keeps the ledger too."""

    def create(self, key: str, body: bytes) -> bool:
        """Create an object; False if there is one already."""

    def read(self, key: str) -> bytes | None:
        """Return an object's content, None if there is none."""


@dataclass(frozen=True)
class KeptAnswers:
    """The kept answers of all accounts.

    :param stores: where one can be, the first that takes it in front.
    """

    stores: Sequence[AnswerStore]

    def keep(self, request: RequestId, number: int, answer: Any, *, form: str, at: float) -> str:
        """Keep an answer, and return its id from now on.

        :param request: what it answers.
        :param number: which attempt at it.
        :param answer: the `data` of KIE's answer.
        :param form: the API variant in which KIE was asked.
        :param at: epoch seconds at which it came.
        :raises KieError: when no store takes it.
        """
        reached("before answer")
        key, body = _key(request, number), kept_body(answer, form, at)
        *others, last = self.stores
        for store in others:
            with contextlib.suppress(KieError):
                store.create(key, body)
                break
        else:
            last.create(key, body)
        reached("after answer")
        return kept_id(request.digest, number)

    def read(self, request: RequestId, number: int) -> bytes | None:
        """Return what is kept of an attempt's answer, None if there is nothing."""
        return next((body for store in self.stores if (body := store.read(_key(request, number)))), None)


def _key(request: RequestId, number: int) -> str:
    return f"{ANSWERS}{request.folder}{number}"
