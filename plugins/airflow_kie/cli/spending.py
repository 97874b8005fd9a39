"""`airflow kie spending stop|resume|status`: one switch for all new paid tasks of an account."""

from __future__ import annotations

import socket
from argparse import Namespace
from collections.abc import Callable, Mapping

from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_kie import settings
from airflow_kie._airflow_private import process
from airflow_kie.cli.terminal import command, complain, say, user_name
from airflow_kie.client.account import spending_name
from airflow_kie.client.errors import KieConnectionInvalid
from airflow_kie.hooks.connected import extra_of
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.spending_switch import resume_spending, stop_spending, stops


@command(advice="In an emergency, pause the DAGs in Airflow.")
def spending(args: Namespace) -> int:
    """Stop, resume or show; the exit code is 0 if the switch is now as it was requested.

    :param args: `action`, `account`, `reason`.
    """
    return _ACTIONS[args.action](args)


def kie_spending_stop(args: Namespace) -> int:
    """Stop accounts; the audit log's event has this name. Who stopped first stays recorded."""
    before = stops()
    for account in _chosen(args.account):
        if account not in before or before[account].at is None:
            stop_spending(account, _person(), args.reason or "")
        say(stops()[account].sentence())  # as tasks read it; without it this fails
    say("Within ten seconds, no worker sends creates. Nothing fails; paid tasks are finished and archived.")
    return 0


def kie_spending_resume(args: Namespace) -> int:
    """Let new paid tasks be made again; the audit log's event has this name."""
    before = stops()
    chosen = _chosen(args.account) if args.account else sorted(before)
    for account in chosen:
        resume_spending(account)
        stopped = f" Until now: {before[account].sentence()}" if account in before else " It was not stopped."
        say(f"Account {account}: new paid tasks are allowed again.{stopped}")
    if not chosen:
        say("No account is stopped.")
    still = sorted(set(chosen) & stops().keys())
    if still:
        complain(f"Still stopped: {', '.join(still)}. It was stopped again, or the Variable cannot be deleted.")
    elif chosen:
        say("Waiting tasks continue within five minutes.")
    return 1 if still else 0


def _status(args: Namespace) -> int:
    stopped = stops()
    for account in _chosen(args.account) if args.account else sorted({*_chosen(None), *stopped}):
        say(stopped[account].sentence() if account in stopped else f"Account {account}: new paid tasks are allowed.")
    return 0


_ACTIONS: Mapping[str, Callable[[Namespace], int]] = {
    "stop": process.audited(kie_spending_stop),
    "resume": process.audited(kie_spending_resume),
    "status": _status,
}


def _chosen(named: str | None) -> list[str]:
    """Return the accounts that a person means: by name, by the id of a connection, or all of `[kie] kie_conn_ids`.

    A key that is missing or wrong does not matter here. A connection that does not exist counts by its id.
    """
    known = {}
    for conn_id in settings.allowed_connections():
        try:
            extra = extra_of(KieHook.get_connection(conn_id))
        except AirflowNotFoundException:
            complain(f"Connection {conn_id} does not exist; assuming account {conn_id}.")
            extra = {}
        except KieConnectionInvalid as error:
            complain(f"{error.facts.message}; assuming account {conn_id}.")
            extra = {}
        known[conn_id] = spending_name(str(extra.get("account") or ""), conn_id)
    accounts, name = sorted(set(known.values())), (named or "").strip()
    if not name:
        return accounts
    if name not in accounts and name not in known:
        theirs = f"No connection of [kie] kie_conn_ids has the account {name} (theirs: {', '.join(accounts)})"
        complain(f"{theirs}: this affects only tasks of other connections.")
    return [name if name in accounts else known.get(name, name)]


def _person() -> str:
    return f"{user_name()}@{socket.gethostname()}"
