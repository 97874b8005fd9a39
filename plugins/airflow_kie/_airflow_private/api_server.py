"""Internals of the api-server: its login, who may do what, its audit log."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_kie._airflow_private.fallback import switched_off, with_session

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def read_access(dag_id: str | None = None) -> Callable[..., None]:
    """Return a FastAPI dependency: 401 without a login, 403 without the right to read a DAG.

    Airflow 3.3.2: `api_fastapi.core_api.security.requires_access_dag`. Without it the pages are not served.

    :param dag_id: the DAG; None: the one that the path names as ``dag_id``.
    """
    from airflow.api_fastapi.core_api.security import requires_access_dag

    return requires_access_dag(method="GET", param_dag_id=dag_id)


def trigger_access(dag_id: str | None = None) -> Callable[..., None]:
    """Return a FastAPI dependency: 401 without a login, 403 without the right to trigger a DAG.

    Airflow 3.3.2: `api_fastapi.core_api.security.requires_access_dag`. Without it the pages are not served.

    :param dag_id: the DAG; None: the one that the path names as ``dag_id``.
    """
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag

    return requires_access_dag(method="POST", access_entity=DagAccessEntity.RUN, param_dag_id=dag_id)


def who() -> Callable[..., Any]:
    """Return a FastAPI dependency: the user of a request.

    Airflow 3.3.2: `api_fastapi.core_api.security.get_user`. Without it the pages are not served.
    """
    from airflow.api_fastapi.core_api.security import get_user

    return get_user


@switched_off(bool, "The pages are read-only.")
def may_trigger(user: Any, dag_id: str) -> bool:
    """Return whether a user may trigger a DAG (Airflow 3.3.2: the auth manager's `is_authorized_dag`).

    :param user: as the dependency of :func:`who` gives it.
    """
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
    from airflow.models.dag import DagModel

    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    manager = get_auth_manager()
    return manager.is_authorized_dag(method="POST", access_entity=DagAccessEntity.RUN, details=details, user=user)


@with_session
def write_audit_log(session: Session, event: str, user: Any, dag_id: str, facts: Mapping[str, Any]) -> None:
    """Write a line into Airflow's audit log.

    Airflow 3.3.2: `models.log.Log`. Without it a change fails: one that nobody can find later is worse.

    :param event: what was done.
    :param user: who did it, as the dependency of :func:`who` gives it.
    :param dag_id: the DAG whose right it needed.
    :param facts: to what.
    """
    from airflow.models.log import Log

    line = Log(event=event, owner=user.get_name(), owner_display_name=user.get_name(), extra=json.dumps(facts))
    line.dag_id = dag_id
    session.add(line)


@switched_off(lambda: "/", "The login link leads to Airflow's first page, which asks for the login too.")
def login_address(next_url: str) -> str:
    """Return where a person logs in and comes back from (Airflow 3.3.2: the auth manager's `get_url_login`)."""
    from airflow.api_fastapi.app import get_auth_manager

    return str(get_auth_manager().get_url_login(next_url=next_url))
