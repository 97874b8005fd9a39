"""The bases of our operators: Airflow retries them, mapped or not."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

from airflow_kie.durable.defaults import RETRIES
from airflow_kie.durable.rendered_fields import HidesCredentials
from airflow_kie.durable.retry_policy import KieRetryPolicy
from airflow_kie.lineage.mixin import LineageMethods


class Retried:
    """A base, before Airflow's own: retries as many as there may be, which the policy ends by their reasons.

    Of a mapped task Airflow's scheduler knows what its ``partial()`` was given and nothing of the operator's own
    defaults: without this a worker that dies would fail it for good.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**with_retries(kwargs))

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Begin a mapped task; parameters as those of the operator."""
        return super().partial(**with_retries(kwargs))  # type: ignore[misc]


def with_retries(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return an operator's arguments with the retries that it has where none are given."""
    return {"retries": RETRIES, "retry_policy": KieRetryPolicy(), **kwargs}


class KieOperator(HidesCredentials, LineageMethods, Retried, BaseOperator):
    """A base of operators: hides the credentials in its fields, reports lineage, and is retried as our policy says."""
