"""The Airflow pool of the tasks that create at KIE: opt-in, and checked before it can hang a run without a word.

Tasks in a pool that does not exist stay scheduled for ever, and nothing in the UI says why. A task process cannot look
pools up: it has no database, and neither the Task SDK nor the execution API knows them. So the scheduler looks,
in `listener`, each time that a DAG run starts, and notes what it finds in an Airflow Variable, in the same
transaction. The run's first task reads that.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Variable

from airflow_kie import settings
from airflow_kie.client.errors import KieError, Remedy, Scope
from airflow_kie.durable.defaults import RETRIES
from airflow_kie.durable.outage_backoff import patiently
from airflow_kie.durable.retry_policy import KieRetryPolicy

if TYPE_CHECKING:
    from airflow.sdk import Context

OPTION = "create_pool"
NOTE = "kie_create_pool"
"""The Variable: ``{"pool": <name>, "problem": <sentence, empty if there is none>}``."""
_MISSING = "there is no such pool in Airflow, and a task in it would wait for ever without a word"
_RUNNING_ONLY = "it does not count deferred tasks, so it would not hold back what waits at KIE"
_NOT_LOOKED = (
    "the scheduler has not looked at it; it looks when a run starts, if [kie] create_pool is set for the scheduler too"
)


class CreatePoolInvalid(KieError):
    """The pool that `[kie] create_pool` names cannot be used."""

    reason = "create_pool_invalid"
    scope = Scope.SERVICE
    remedy = Remedy.PERSON
    what = "The pool for creating tasks cannot be used"
    paid = "Nothing was sent, so nothing was paid for by this."
    todo = (
        "Make the pool (Admin, Pools) with Include Deferred, or correct create_pool in the [kie] configuration of "
        "every Airflow process and restart them; then clear the task."
    )


def pool_arguments() -> dict[str, Any]:
    """Return the operator arguments that put a creating task into the configured pool; none if there is none."""
    name = settings.text(OPTION)
    return {"pool": name} if name else {}


def check_create_pool() -> None:
    """Check the configured pool, as the scheduler saw it when the last DAG run started.

    :raises CreatePoolInvalid: when it does not exist, does not count deferred tasks, or was not looked at.
    """
    name = settings.text(OPTION)
    if not name:
        return
    text = Variable.get(NOTE, default=None)
    try:
        noted = json.loads(text) if text else {}
    except ValueError:
        noted = {}
    problem = noted.get("problem", _NOT_LOOKED) if noted.get("pool") == name else _NOT_LOOKED
    if problem:
        raise CreatePoolInvalid(f"{name}: {problem}")


def problem_of(include_deferred: bool | None) -> str:
    """Return what is wrong with a pool; empty if nothing is.

    :param include_deferred: whether it counts deferred tasks; None: it does not exist.
    """
    if include_deferred is None:
        return _MISSING
    return "" if include_deferred else _RUNNING_ONLY


class KieCreatePoolOperator(BaseOperator):
    """Fails if the pool that `[kie] create_pool` names would hang the tasks in it; put it before them."""

    ui_color = "#eeeeee"

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("retries", RETRIES)
        kwargs.setdefault("retry_policy", KieRetryPolicy())
        super().__init__(**kwargs)

    def execute(self, context: Context) -> None:
        """Check the pool.

        :raises CreatePoolInvalid: when it cannot be used.
        """
        patiently(context, check_create_pool)
