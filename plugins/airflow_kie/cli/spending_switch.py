"""`airflow kie spending stop|resume|status`: one switch for all new paid tasks of an account."""

from __future__ import annotations

import getpass
import socket
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_kie import settings
from airflow_kie._airflow_private import process, variables
from airflow_kie.cli.checks.findings import failed
from airflow_kie.cli.terminal import complain, ours_alone, say
from airflow_kie.client.account import spending_name
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.spending_switch import Stop, key_of, one_line, stops

DESCRIPTION = "New paid tasks of this KIE account are stopped; `airflow kie spending resume` deletes this."


def command(args: Namespace) -> None:
    """Run the command.

    :param args: `action`, `account`, `reason`.
    :raises SystemExit: 0 if the switch stands as it was asked for, otherwise 1.
    """
    process.begin_command()
    with ours_alone():
        try:
            code = ACTIONS[args.action](args)
        except Exception as error:  # noqa: BLE001 - a person reads a sentence, not a traceback
            complain(f"{failed('spending', error).seen} If money runs away, pause the DAGs in Airflow meanwhile.")
            code = 1
        sys.exit(code)


def kie_spending_stop(args: Namespace) -> int:
    known = accounts()
    before = stops()
    for account in _chosen(args.account, known):
        standing = before.get(account)
        if standing is None or standing.at is None:
            stop = Stop(account, _person(), datetime.now(UTC), one_line(args.reason or ""))
            variables.write_variable(key_of(account), stop.to_text(), DESCRIPTION)
        say(stops()[account].sentence())  # as tasks read it; without it this fails
    say("Within ten seconds no worker sends a create any more. Nothing fails; what is paid is finished and archived.")
    return 0


def kie_spending_resume(args: Namespace) -> int:
    before = stops()
    chosen = _chosen(args.account, accounts()) if args.account else sorted(before)
    for account in chosen:
        variables.delete_variable(key_of(account))
        stopped = f" Until now: {before[account].sentence()}" if account in before else " It was not stopped."
        say(f"Account {account}: new paid tasks may be made again.{stopped}")
    if not chosen:
        say("No account is stopped.")
    still = sorted(set(chosen) & stops().keys())
    if still:
        complain(f"Still stopped: {', '.join(still)}. Somebody stops it again, or the Variable cannot be deleted.")
    elif chosen:
        say("Waiting tasks go on by themselves, within five minutes.")
    return 1 if still else 0


def _status(args: Namespace) -> int:
    known, standing = accounts(), stops()
    chosen = _chosen(args.account, known) if args.account else sorted({*known.values(), *standing})
    for account in chosen:
        stop = standing.get(account)
        say(stop.sentence() if stop else f"Account {account}: new paid tasks may be made.")
    return 0


ACTIONS: Mapping[str, Callable[[Namespace], int]] = {
    "stop": process.audited(kie_spending_stop),
    "resume": process.audited(kie_spending_resume),
    "status": _status,
}


def accounts() -> dict[str, str]:
    """Return the account of each connection of `[kie] kie_conn_ids`; one that does not exist counts by its id.

    A key that is missing or wrong does not matter here.
    """
    found = {}
    for conn_id in settings.allowed_connections():
        try:
            extra = KieHook.get_connection(conn_id).extra_dejson or {}
        except AirflowNotFoundException:
            complain(f"There is no connection {conn_id}; its account is taken to be {conn_id}.")
            extra = {}
        found[conn_id] = spending_name(str(extra.get("account") or ""), conn_id)
    return found


def _chosen(named: str | None, known: Mapping[str, str]) -> list[str]:
    """Return the accounts that a person means: by name, by the id of a connection, or all."""
    if not named:
        return sorted(set(known.values()))
    name = named.strip()
    if name in known.values():
        return [name]
    if name in known:
        return [known[name]]
    theirs = ", ".join(sorted(set(known.values())))
    complain(
        f"No connection of [kie] kie_conn_ids has the account {name} (theirs: {theirs}): "
        "only tasks of other connections with it are meant."
    )
    return [name]


def _person() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
