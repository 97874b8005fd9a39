"""`airflow kie doubts`, `adopt` and `release`: requests whose answer was lost, and what a person knows of them."""

from __future__ import annotations

import getpass
from argparse import Namespace
from datetime import UTC, datetime

from airflow_kie import settings
from airflow_kie.archive.inbox.song_request import counted, id_errors
from airflow_kie.cli.terminal import InvalidArgument, agreed, command, complain, say
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.ledger import OpenedLedger, RequestNameInvalid, open_ledger, request_named
from airflow_kie.lifecycle.claims import AlreadyMade, InDoubt, RequestId


@command()
def doubts(args: Namespace) -> int:
    """List the requests of which it is not known whether KIE has made and charged a task.

    :param args: `kie_conn_id`.
    """
    count = 0
    for conn_id in [args.kie_conn_id] if args.kie_conn_id else settings.allowed_connections():
        hook, opened = _opened(conn_id)
        for request, doubt in opened.ledger.doubts(hook.account.spending_name):
            count += 1
            at = datetime.fromtimestamp(doubt.intent.at, tz=UTC)
            owner = ", ".join(f"{name} {value}" for name, value in sorted(doubt.intent.owner.items()))
            say(f"{request}, attempt {doubt.number}, sent {at.isoformat(timespec='seconds')} ({owner}){doubt.hint}")
    if not count:
        say("No request is in doubt.")
    return 0


@command()
def adopt(args: Namespace) -> int:
    """Record that KIE has made a task for a request: every run uses it, and none sends the request again.

    :param args: `request`, `id`, `kie_conn_id`.
    """
    if problems := id_errors([args.id]):
        raise InvalidArgument(problems[0])
    hook, opened = _opened(args.kie_conn_id)
    request = _request(args.request, hook)
    number = opened.ledger.adopt(request, args.id, by=getpass.getuser())
    say(f"Request {request} has KIE task {args.id} (attempt {number}, {opened.where}). Clear the Airflow task.")
    return 0


@command()
def release(args: Namespace) -> int:
    """Record that requests may be sent, and paid for, again: KIE has not made their tasks, or those are given up.

    :param args: `request` (several), `kie_conn_id`, `yes`.
    :return: 1 where one of them is neither in doubt nor made, or the person does not agree; nothing is released then.
    """
    hook, opened = _opened(args.kie_conn_id)
    found = {request: opened.ledger.find(request) for request in (_request(text, hook) for text in args.request)}
    known = {request: one for request, one in found.items() if isinstance(one, AlreadyMade | InDoubt)}
    for request in found.keys() - known.keys():
        complain(f"There is nothing to release: request {request} is neither in doubt nor made ({opened.where}).")
    if len(known) < len(found):
        return 1
    for request, one in known.items():
        has = f"has KIE task {one.task_id}" if isinstance(one, AlreadyMade) else "may have been paid for"
        say(f"Request {request} {has}.")
    if not agreed(f"Released, {counted(len(known), 'request')} will be sent and paid for again.", yes=args.yes):
        return 1
    for request, one in known.items():
        opened.ledger.record(request, one.number, "released", by=getpass.getuser())
        say(f"Released: the next try of the Airflow task sends request {request} again.")
    return 0


def _opened(conn_id: str | None) -> tuple[KieHook, OpenedLedger]:
    hook = KieHook(conn_id or settings.allowed_connections()[0])
    return hook, open_ledger(hook, hook.ledger_database()[0])


def _request(text: str, hook: KieHook) -> RequestId:
    try:
        return request_named(text, hook)
    except RequestNameInvalid as error:
        raise InvalidArgument(str(error)) from error
