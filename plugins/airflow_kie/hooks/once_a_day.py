"""What is asked of S3 once a day: the limiter's database remembers the answer for every process that shares it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_kie.client.errors import KieError

if TYPE_CHECKING:
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.hooks.connected import Connected

HONOURED, IGNORED = "honoured", "ignored"
"""What a service does with a create that is conditional on the object not being there."""
_answers: dict[str, str] = {}
"""What this process knows: question and day → answer."""


def once_a_day(hook: Connected, about: str, ask: Callable[[], str]) -> str:
    """Return today's answer to a question, which is asked now if it is not known that anyone has asked it today.

    :param hook: the account, whose limiter's database remembers it.
    :param about: names the question and what it is about.
    :param ask: returns the answer, a word.
    """
    if answer := known_today(hook, about):
        return answer
    answer = _answers[_today() + about] = ask()
    with contextlib.suppress(KieError):
        hook.ledger_database()[0].create(f"{_today()}{about}/{answer}", b"")
    return answer


def known_today(hook: Connected, about: str) -> str:
    """Return today's answer to a question, empty if nobody has asked it today, or the database cannot be used.

    :param hook: the account.
    :param about: the question.
    """
    if _today() + about not in _answers:
        with contextlib.suppress(KieError):
            for key in hook.ledger_database()[0].list(_today()):
                question, _, answer = key.rpartition("/")
                _answers[question] = answer
    return _answers.get(_today() + about, "")


def conditional_writes(bucket: Bucket) -> str:
    """Return the question whether the service of a bucket honours conditional creates."""
    return f"conditional_writes/{digest_of(f'{bucket.client.meta.endpoint_url} {bucket.name}')}"


def as_known(hook: Connected, bucket: Bucket) -> Bucket:
    """Return a bucket that says whether its service is known of today to honour conditional creates; nothing is asked.

    :param hook: the account: its ledger asks the service before the first paid task of a day.
    :param bucket: the archive's.
    """
    return replace(bucket, creates_once=known_today(hook, conditional_writes(bucket)) == HONOURED)


def digest_of(text: str) -> str:
    """Return a short name of something that has a long one."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _today() -> str:
    return f"_once_a_day/{datetime.now(UTC):%Y-%m-%d}/"
