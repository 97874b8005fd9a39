"""`/kie/status/deliveries`: the last callbacks of each connection, and what came of each, for who may read the DAG."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI, Request, Response

from airflow_kie import settings
from airflow_kie.hooks.kie import KieHook
from airflow_kie.links.kie import SONG_PAGES_DAG_ID
from airflow_kie.monitoring.callback_health import callbacks_of
from airflow_kie.monitoring.callback_test import can_be_tested
from airflow_kie.monitoring.checks.findings import error_text
from airflow_kie.monitoring.deliveries import Judged, Verdict, judged
from airflow_kie.web.own_threads import PageRouter
from airflow_kie.web.pages.changes import may_change, page_dependencies
from airflow_kie.web.pages.responses import page_answer

_REFRESH = 5
_BADGES = {
    Verdict.ACCEPTED: "archived",
    Verdict.TEST: "in_progress",
    Verdict.FORGED: "failed",
    Verdict.FAILED: "failed",
    Verdict.DUPLICATE: "",
    Verdict.UNKNOWN: "",
}


@dataclass(frozen=True)
class Connection:
    """A connection as the page shows it.

    :param calls_back: it has a callback URL and a secret that signs a test.
    :param problem: why it cannot be read.
    :param rows: its last callbacks, the newest first.
    """

    name: str
    calls_back: bool
    problem: str
    rows: tuple[Judged, ...]


def add_deliveries(app: FastAPI) -> None:
    """Add the page to the app that is mounted in the api-server."""
    router = PageRouter(dependencies=page_dependencies(SONG_PAGES_DAG_ID))
    router.add_api_route("/status/deliveries", deliveries)
    app.include_router(router, include_in_schema=False)


def deliveries(request: Request) -> Response:
    """Show them."""
    return page_answer(
        request,
        "deliveries.html",
        refresh=_REFRESH,
        scripts=("changes.js", "refresh.js"),
        connections=[_connection(name) for name in settings.allowed_connections()],
        badges=_BADGES,
        may_change=may_change(request),
    )


def _connection(name: str) -> Connection:
    rows = tuple(judged(callbacks_of(name).deliveries))
    try:
        return Connection(name, can_be_tested(KieHook(name).account), "", rows)
    except Exception as error:  # noqa: BLE001 - the page shows the rest
        return Connection(name, False, error_text(error), rows)
