"""`/kie/status`: it needs the right to read DAG `music_cover`, and what is changed there the right to trigger it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

from fastapi import FastAPI, Request, Response

from airflow_kie import settings
from airflow_kie.archive.pending import pending_songs
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.client.task_ids import is_task_id
from airflow_kie.durable.ledgers import LedgerInUse, ledgers_of
from airflow_kie.hooks.archive import configured_archive
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.ledger import OpenedLedger, RequestNameInvalid, request_named
from airflow_kie.hooks.spending_switch import resume_spending, stop_spending, stops
from airflow_kie.lifecycle.claims import AlreadyMade, InDoubt, RequestId
from airflow_kie.links.kie import SONG_PAGES_DAG_ID
from airflow_kie.monitoring.callback_test import can_be_tested, send_test
from airflow_kie.monitoring.checks.findings import Level
from airflow_kie.monitoring.restart import no_run_would_follow, reason_of
from airflow_kie.web.own_threads import PageRouter
from airflow_kie.web.pages.changes import (
    ChangeRefused,
    audit,
    body_of,
    change_dependencies,
    may_change,
    message_answer,
    page_dependencies,
    user_name,
)
from airflow_kie.web.pages.responses import page_answer
from airflow_kie.web.pages.retrying import MOST_RETRIED, retried
from airflow_kie.web.status import summary
from airflow_kie.web.status.report import BOARD, worst

_REFRESH, _FIRST = 15, 2


def add_status(app: FastAPI) -> None:
    """Add the page to the app that is mounted in the api-server."""
    pages = PageRouter(dependencies=page_dependencies(SONG_PAGES_DAG_ID))
    pages.add_api_route("/status", status)
    changes = PageRouter(dependencies=change_dependencies(SONG_PAGES_DAG_ID))
    for name, change in (
        ("spending", spending),
        ("adopt", adopt),
        ("release", release),
        ("retry", retry),
        ("test-callback", test_callback),
    ):
        changes.add_api_route(f"/status/{name}", change, methods=["POST"])
    for router in (pages, changes):
        app.include_router(router, include_in_schema=False)


def status(request: Request) -> Response:
    """Show the status."""
    report = BOARD.report()
    return page_answer(
        request,
        "status.html",
        refresh=_REFRESH if report else _FIRST,
        scripts=("changes.js", "refresh.js"),
        report=report,
        sentences=[(name, say(report)) for name, say in _SENTENCES.items()] if report else [],
        worst=worst(report.findings) if report else [],
        fine=[one for one in report.findings if one.level is Level.OK] if report else [],
        may_change=may_change(request),
    )


_SENTENCES = {"Money": summary.money, "Files": summary.files, "To do": summary.todo}


def spending(request: Request) -> Response:
    """Stop an account's new paid tasks, or let them be made again."""
    body = body_of(request)
    account, stop = _text(body, "account"), body.get("stop") is True
    if account not in {*map(_account, settings.allowed_connections()), *stops()}:
        raise ChangeRefused("This account does not exist.")
    audit(request, "kie_spending_stop" if stop else "kie_spending_resume", account=account)
    if stop:
        stop_spending(account, user_name(request), _text(body, "reason"))
        sentence = f"New paid tasks of {account} are stopped everywhere within ten seconds. Paid tasks are archived."
    else:
        resume_spending(account)
        sentence = f"New paid tasks of {account} are allowed again. Waiting tasks continue within five minutes."
    return _changed(sentence)


def adopt(request: Request) -> Response:
    """Record that KIE has made a task for a request in doubt."""
    task_id = _text(body_of(request), "task_id")
    if not is_task_id(task_id):
        raise ChangeRefused("This is not a KIE task id; use the one from kie.ai/logs.")
    named, knowing = _in_doubt(request)
    audit(request, "kie_adopt", asked=str(named), task_id=task_id)
    with _refused_while_in_use():
        for opened in knowing:
            opened.ledger.adopt(named, task_id, by=user_name(request))
    return _changed(f"The request has KIE task {task_id}. Clear the Airflow task: it continues without paying again.")


def release(request: Request) -> Response:
    """Record that a request in doubt may be sent, and paid for, again."""
    named, knowing = _in_doubt(request)
    found = [(opened, opened.ledger.find(named)) for opened in knowing]
    doubtful = [(opened, known) for opened, known in found if isinstance(known, InDoubt)]
    if not doubtful:  # a callback may have named its task since the page was shown
        made = "".join(f" KIE has made task {one.task_id}." for _, one in found if isinstance(one, AlreadyMade))
        raise ChangeRefused(f"There is nothing to release: the request is no longer in doubt.{made}")
    audit(request, "kie_release", asked=str(named))
    with _refused_while_in_use():
        for opened, known in doubtful:
            opened.ledger.record(named, known.number, "released", by=user_name(request))
    return _changed("Released. Clear the Airflow task: it sends the request again and pays for it.")


def retry(request: Request) -> Response:
    """Start the songs again that are pending for one reason."""
    reason = _text(body_of(request), "reason")
    if problem := no_run_would_follow():
        raise ChangeRefused(problem)
    audit(request, "kie_redrive", reason=reason)
    bucket, keys = configured_archive()
    failed = (one for one in pending_songs(bucket, keys) if reason_of(one) == reason and not one.waiting_for)
    chosen = [SongArchive(bucket, keys.song(one.music_task_id)) for one in islice(failed, MOST_RETRIED)]
    return _changed(retried(chosen))


def test_callback(request: Request) -> Response:
    """Send a signed test callback to an account's callback URL, as KIE would."""
    account = KieHook(_connection(body_of(request))).account
    if not can_be_tested(account):
        raise ChangeRefused("The connection has no callback URL, or no webhook secret to sign a test with.")
    audit(request, "kie_test_callback", account=account.name)
    arrived, sentence = send_test(account)
    shown = " It appears in the list of the last callbacks within seconds." if arrived else ""
    return message_answer(f"{sentence}{shown}", 200 if arrived else 400)


@contextmanager
def _refused_while_in_use() -> Iterator[None]:
    try:
        yield
    except LedgerInUse as running:
        raise ChangeRefused(f"Not recorded: {running}.") from running


def _in_doubt(request: Request) -> tuple[RequestId, list[OpenedLedger]]:
    body = body_of(request)
    hook = KieHook(_connection(body))
    try:
        named = request_named(_text(body, "request"), hook)
    except RequestNameInvalid as error:
        raise ChangeRefused(str(error)) from error
    if not (knowing := ledgers_of(hook).knowing(named)):
        raise ChangeRefused("Nothing is recorded: no task's state has this request any more.")
    return named, knowing


def _account(connection: str) -> str:
    try:
        return KieHook(connection).account.spending_name
    except Exception:  # noqa: BLE001 - whatever it is: the page calls it so too
        return connection


def _connection(body: Mapping[str, Any]) -> str:
    connection = _text(body, "connection")
    if connection not in settings.allowed_connections():
        raise ChangeRefused("This connection is not one of [kie] kie_conn_ids.")
    return connection


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise ChangeRefused("The request is invalid.")
    return value.strip()


def _changed(sentence: str) -> Response:
    BOARD.changed()
    return message_answer(sentence)
