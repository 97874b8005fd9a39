"""What S3 refuses for a moment is asked for again: trouble with one object does not end the work on many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import tenacity

from airflow_kie.archive.s3.errors import S3SlowDown

_ATTEMPTS = 3
_PAUSES = tenacity.wait_random_exponential(multiplier=1, max=10)
T = TypeVar("T")


def asked_again(step: Callable[..., T], *arguments: Any) -> T:
    """Return what a step returns, which is done again, twice at most, where S3 asks to be asked more slowly.

    :param step: makes requests to S3, each of which boto3 has tried three times when it fails.
    :param arguments: its arguments.
    :raises S3Error: when S3 still refuses it, or for another reason.
    """
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(S3SlowDown),
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=_PAUSES,
        reraise=True,
    )
    return attempts(step, *arguments)
