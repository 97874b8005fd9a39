"""``python -m airflow_kie.web.receiver``: the callback receiver as its own process, and URLs for other programs."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn
from airflow.sdk.exceptions import AirflowNotFoundException
from starlette.applications import Starlette
from starlette.routing import Mount

from airflow_kie import settings
from airflow_kie._airflow_private import process
from airflow_kie.assets import PENDING
from airflow_kie.client.account import with_token
from airflow_kie.client.callbacks.auth import TokenSecretTooShort, connection_token, keys_in
from airflow_kie.client.callbacks.url import receiver_url
from airflow_kie.client.errors import KieConnectionInvalid
from airflow_kie.hooks.archive import give_up_soon
from airflow_kie.hooks.connected import extra_of
from airflow_kie.hooks.kie import KieHook
from airflow_kie.web.receiver.receiver import create_app
from airflow_kie.web.receiver.rest import AirflowApi, AirflowRefused, RestGateway
from airflow_kie.web.receiver.server import BoundedProtocol

log = logging.getLogger("airflow_kie.web.receiver")

URL, TOKEN, TOKEN_FILE = "KIE_RECEIVER_AIRFLOW_URL", "KIE_RECEIVER_TOKEN", "KIE_RECEIVER_TOKEN_FILE"
USERNAME, PASSWORD = "KIE_RECEIVER_USERNAME", "KIE_RECEIVER_PASSWORD"
PASSWORD_FILE = "KIE_RECEIVER_PASSWORD_FILE"  # noqa: S105
KEEP_ALIVE_SECONDS = 150
"""Longer than a proxy keeps a connection (Caddy two minutes, clouds one): closing one while a callback begins on it
turns that callback into a 502."""

EPILOG = f"""\
Who the receiver is to Airflow comes from the environment alone: {TOKEN}, or {TOKEN_FILE} (read again when
Airflow refuses it), or {USERNAME} with {PASSWORD} or {PASSWORD_FILE}.
Settings too: AIRFLOW__KIE__BUCKET, AIRFLOW__KIE__PREFIX and so on. KIE connections, for their webhook secrets, and the
S3 connection come from the environment (AIRFLOW_CONN_...) or from the secrets backend that [secrets] backend names.
docs/expose-callbacks.md has the rest.
"""


class NotStarted(Exception):
    """What is missing before the receiver can listen."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve callbacks until the process is ended; or print a callback URL."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every URL
    try:
        if options.command == "url":
            sys.stdout.write(callback_url(options.kie_conn_id) + "\n")
        else:
            serve(options.airflow_url or os.environ.get(URL, ""), options.host, options.port)
    except NotStarted as missing:
        sys.stderr.write(f"{missing}\n")
        return 2
    return 0


def serve(airflow_url: str, host: str, port: int) -> None:
    """Listen for callbacks and pass them to Airflow's public API.

    :raises NotStarted: when Airflow's address, the credentials or the bucket are missing.
    """
    api = _api(airflow_url)
    if not settings.text("bucket"):
        raise NotStarted("No bucket is set, so no song could be recorded: set AIRFLOW__KIE__BUCKET.")
    give_up_soon()
    airflow = RestGateway(api)
    _check(airflow)
    app = Starlette(routes=[Mount("/kie", create_app(airflow))])
    app.router.redirect_slashes = False
    bounds: dict[str, Any] = {"http": BoundedProtocol, "ws": "none", "timeout_keep_alive": KEEP_ALIVE_SECONDS}
    # The access log would hold the tokens of callback URLs; the receiver writes lines of its own.
    uvicorn.run(app, host=host, port=port, access_log=False, server_header=False, log_config=None, **bounds)
    api.close()


def callback_url(kie_conn_id: str) -> str:
    """Return the URL that another program names as its ``callBackUrl`` so that its songs get covers here.

    :param kie_conn_id: an Airflow connection, in the environment, a secrets backend or this machine's Airflow.
    :raises NotStarted: when the connection names no public URL, or nothing could check its callbacks.
    """
    process.begin_command()
    try:
        extra = extra_of(KieHook.get_connection(kie_conn_id))
        keys = keys_in(extra, kie_conn_id)
    except AirflowNotFoundException:
        raise NotStarted(f"Connection {kie_conn_id} does not exist.") from None
    except TokenSecretTooShort as error:
        raise NotStarted(f"{error}.") from None
    except KieConnectionInvalid as error:
        raise NotStarted(f"{error.facts.message}.") from None
    public_url = str(extra.get("callback_url") or "").strip()
    if not public_url:
        raise NotStarted(f"Connection {kie_conn_id} has no callback_url, so KIE could not reach the receiver.")
    if not keys.webhook and not keys.token:
        neither = "neither a webhook_secret nor a callback_token_secret"
        raise NotStarted(f"Connection {kie_conn_id} has {neither}: every callback would be refused.")
    try:
        url = receiver_url(public_url, kie_conn_id)
    except ValueError:  # brackets that hold no address
        raise NotStarted(f"The callback_url of connection {kie_conn_id} is not an address.") from None
    return url if keys.webhook else with_token(url, connection_token(keys.token, kie_conn_id))


def _api(url: str) -> AirflowApi:
    url = url.strip()
    if not url.startswith(("http://", "https://")):
        raise NotStarted(f"Give Airflow's address as --airflow-url or {URL}, such as https://airflow.example.com.")
    token, token_file, username, password, password_file = (
        os.environ.get(name, "") for name in (TOKEN, TOKEN_FILE, USERNAME, PASSWORD, PASSWORD_FILE)
    )
    if password_file and not password:
        try:
            password = Path(password_file).read_text().strip()
        except OSError as error:
            raise NotStarted(f"{password_file} cannot be read: {error.strerror}.") from None
    if not (token or token_file or (username and password)):
        raise NotStarted(f"Airflow needs a login: set {TOKEN}, {TOKEN_FILE}, or {USERNAME} and {PASSWORD}.")
    file = Path(token_file) if token_file else None
    try:
        return AirflowApi(url, token=token, token_file=file, login=(username, password))
    except KieConnectionInvalid as error:  # the address, or the environment's proxy
        raise NotStarted(f"Airflow's address cannot be used: {error.facts.message}.") from None


def _check(airflow: RestGateway) -> None:
    """Ask Airflow once: a refusal is logged before the first callback; an Airflow that is unavailable may come back."""
    meanwhile = "songs are recorded, and reconciliation starts them"
    try:
        if airflow.asset_id(PENDING.uri) is None:
            log.warning("No DAG has declared the asset %s yet: %s.", PENDING.uri, meanwhile)
    except (AirflowRefused, OSError) as error:
        log.error("%s. The receiver starts anyway: %s.", error, meanwhile)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_kie.web.receiver",
        description="Serve POST /kie/callback/<connection id> for an Airflow on another machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command="serve")
    parser.add_argument("--airflow-url", help=f"address of Airflow's API; or {URL}")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8686, help="port to listen on (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", metavar="")
    url = commands.add_parser("url", help="print the callBackUrl for songs that other programs generate")
    url.add_argument("kie_conn_id", nargs="?", default="kie_default")
    return parser


if __name__ == "__main__":
    sys.exit(main())
