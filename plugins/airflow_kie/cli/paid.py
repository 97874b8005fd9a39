"""`airflow kie doubts`, `adopt` and `release`: requests whose answer was lost, and what a person decides about them."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime

from airflow_kie import settings
from airflow_kie.archive.inbox.song_request import counted, id_errors
from airflow_kie.cli.arguments import with_each_account
from airflow_kie.cli.terminal import InvalidArgument, agreed, command, complain, say, user_name
from airflow_kie.durable.ledgers import LedgerInUse, Ledgers, ledgers_of
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.ledger import OpenedLedger, RequestNameInvalid, request_named
from airflow_kie.lifecycle.claims import AlreadyMade, FailedTooOften, InDoubt, RequestId


@command()
def doubts(args: Namespace) -> int:
    """List the requests for which it is not known whether KIE created and charged a task.

    :param args: `kie_conn_id`.
    :return: 0; 1 where one of several connections could not be used, or not all of its requests be listed.
    """
    count = unread = 0

    def show(hook: KieHook) -> None:
        nonlocal count, unread
        ledgers = ledgers_of(hook)
        for opened in ledgers.opened:
            for request, doubt in opened.ledger.doubts(hook.account.spending_name):
                count += 1
                at = datetime.fromtimestamp(doubt.intent.at, tz=UTC)
                owner = ", ".join(f"{name} {value}" for name, value in sorted(doubt.intent.owner.items()))
                say(f"{request}, attempt {doubt.number}, sent {at.isoformat(timespec='seconds')} ({owner}){doubt.hint}")
        if ledgers.in_states:
            complain(f"Connection {hook.kie_conn_id}: what code has sent with KieHook on other machines is not listed.")
        if ledgers.unread:
            unread += 1
            complain(f"Connection {hook.kie_conn_id}: {ledgers.unread}.")

    ended = max(with_each_account(args.kie_conn_id, show), min(unread, 1))
    if not count and not ended:
        say("No request is in doubt.")
    return ended


@command()
def adopt(args: Namespace) -> int:
    """Record that KIE has made a task for a request: every run uses it, and none sends the request again.

    :param args: `request`, `id`, `kie_conn_id`.
    """
    if problems := id_errors([args.id]):
        raise InvalidArgument(problems[0])
    hook, ledgers = _opened(args.kie_conn_id)
    request = _request(args.request, hook)
    knowing = ledgers.knowing(request)
    if not knowing:
        raise InvalidArgument(f"No task's state has request {request}, and nothing is recorded.{_otherwise(ledgers)}")
    for opened in knowing:
        try:
            number = opened.ledger.adopt(request, args.id, by=user_name())
        except LedgerInUse as running:
            raise InvalidArgument(f"Not recorded: {running}.") from running
        say(f"Request {request} has KIE task {args.id} (attempt {number}, {opened.where}). Clear the Airflow task.")
    return 0


@command()
def release(args: Namespace) -> int:
    """Record that requests may be sent, and paid for, again: KIE has not made their tasks, or those are given up.

    :param args: `request` (several), `kie_conn_id`, `yes`.
    :return: 1 where one of them is not in doubt, made or failed too often, or the person does not agree: nothing is
        released then; also where a callback has named the task of one meanwhile, which is not released.
    """
    hook, ledgers = _opened(args.kie_conn_id)
    asked = list(dict.fromkeys(_request(text, hook) for text in args.request))
    found = [(request, opened, opened.ledger.find(request)) for request in asked for opened in ledgers.knowing(request)]
    known = [
        (request, opened, one)
        for request, opened, one in found
        if isinstance(one, AlreadyMade | InDoubt | FailedTooOften)
    ]
    rest = [request for request in asked if request not in [request for request, *_ in known]]
    for request in rest:
        complain(
            f"Request {request} is not in doubt, made or failed too often: nothing is released ({ledgers.where})."
            f"{_otherwise(ledgers)}"
        )
    if rest:
        return 1
    for request, _, one in known:
        say(f"Request {request} {_known_of(one)}.")
    if not agreed(f"Released, {counted(len(asked), 'request')} will be sent and paid for again.", yes=args.yes):
        return 1
    return max(_released(*one) for one in known)


def _released(request: RequestId, opened: OpenedLedger, one: AlreadyMade | InDoubt | FailedTooOften) -> int:
    """Release a request; return 1 where a callback has named its task meanwhile, or its task runs."""
    now = opened.ledger.find(request)
    if isinstance(now, AlreadyMade) and isinstance(one, InDoubt):
        complain(f"Not released: request {request} has KIE task {now.task_id} by now.")
        return 1
    try:
        opened.ledger.record(request, one.number, "released", by=user_name())
    except LedgerInUse as running:
        complain(f"Not released: {running}.")
        return 1
    say(f"Released. Clear the Airflow task: it sends request {request} again.")
    return 0


def _known_of(one: AlreadyMade | InDoubt | FailedTooOften) -> str:
    match one:
        case AlreadyMade():
            return f"has KIE task {one.task_id}"
        case FailedTooOften():
            return f"has failed {len(one.task_ids)} times at KIE, which usually gives the credits back"
    return "may have been paid for"


def _opened(conn_id: str | None) -> tuple[KieHook, Ledgers]:
    hook = KieHook(conn_id or settings.allowed_connections()[0])
    return hook, ledgers_of(hook)


def _otherwise(ledgers: Ledgers) -> str:
    """Return why a request may be unknown here."""
    return f" {ledgers.unread}." if ledgers.unread else ""


def _request(text: str, hook: KieHook) -> RequestId:
    try:
        return request_named(text, hook)
    except RequestNameInvalid as error:
        raise InvalidArgument(str(error)) from error
