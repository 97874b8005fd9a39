"""What the song pages in the api-server need of Airflow's login and metadata database; nothing else calls this."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from airflow_kie._airflow_private.fallback import switched_off, with_session
from airflow_kie._airflow_private.metadata import of_task_instance

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def read_access(dag_id: str | None = None) -> Callable[..., None]:
    """Return a FastAPI dependency: 401 without a login, 403 without the right to read a DAG.

    Airflow 3.3.2: `api_fastapi.core_api.security.requires_access_dag`. Without it the pages are not served.

    :param dag_id: the DAG; None: the one that the path names as ``dag_id``.
    """
    from airflow.api_fastapi.core_api.security import requires_access_dag

    return requires_access_dag(method="GET", param_dag_id=dag_id)


@switched_off(lambda: "/", "The page that asks for a login leads to Airflow's first page, which asks for it too.")
def login_address(next_url: str) -> str:
    """Return where a person logs in and comes back from (Airflow 3.3.2: the auth manager's `get_url_login`)."""
    from airflow.api_fastapi.app import get_auth_manager

    return str(get_auth_manager().get_url_login(next_url=next_url))


@switched_off(list[Any], "The pages of runs show only songs whose tasks have begun.")
@with_session
def xcoms_of_run(
    session: Session, dag_id: str, run_id: str, operators: Collection[str], keys: Collection[str]
) -> list[Any]:
    """Return what the tasks of some operators have pushed in a run: operators from Z to A, then by map index.

    Airflow 3.3.2: `models.xcom.XComModel`, `TaskInstance.operator`.

    :param operators: class names.
    :param keys: XCom keys.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel

    rows = session.execute(
        select(XComModel.value)
        .join(TaskInstance, of_task_instance(XComModel))
        .where(
            XComModel.dag_id == dag_id,
            XComModel.run_id == run_id,
            XComModel.key.in_(keys),
            TaskInstance.operator.in_(operators),
        )
        .order_by(TaskInstance.operator.desc(), XComModel.task_id, XComModel.key.desc(), XComModel.map_index)
    )
    return [XComModel.deserialize_value(row) for row in rows]


@switched_off(list[dict[str, Any]], "A task's own page shows its run's songs.")
@with_session
def rendered_arguments(session: Session, /, dag_id: str, run_id: str, **of: Any) -> list[dict[str, Any]]:
    """Return the rendered arguments of task instances that have begun.

    Airflow 3.3.2: `models.renderedtifields`; it keeps those of a task's last 30 runs.

    :param of: ``task_id`` and ``map_index`` of one, or ``operators``: class names.
    """
    from airflow.models.renderedtifields import RenderedTaskInstanceFields as Rendered
    from airflow.models.taskinstance import TaskInstance

    found = select(Rendered.rendered_fields).join(TaskInstance, of_task_instance(Rendered))
    found = found.where(Rendered.dag_id == dag_id, Rendered.run_id == run_id)
    if "operators" in of:
        found = found.where(TaskInstance.operator.in_(of["operators"]))
    else:
        found = found.where(Rendered.task_id == of["task_id"], Rendered.map_index == of["map_index"])
    return [fields for fields in session.scalars(found.order_by(Rendered.map_index)) if isinstance(fields, dict)]


@switched_off(list[Any], "The songs' first page shows only pending songs, not what was archived lately.")
@with_session
def latest_extras(session: Session, uri: str, count: int) -> list[Any]:
    """Return the extra of the newest events of an asset, the newest first.

    Airflow 3.3.2: `models.asset.AssetEvent`; the public way is GET /api/v2/assets/events with a token.
    """
    from airflow.models.asset import AssetEvent, AssetModel

    asset = select(AssetModel.id).where(AssetModel.uri == uri).scalar_subquery()
    newest = select(AssetEvent.extra).where(AssetEvent.asset_id == asset).order_by(AssetEvent.timestamp.desc())
    return list(session.scalars(newest.limit(count)))
