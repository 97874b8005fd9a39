"""``python -m airflow_kie.web.receiver``: the callback receiver as its own process, and URLs for other programs."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_kie.web.receiver.rest_client import AirflowApi, AirflowRefused, Credentials

if TYPE_CHECKING:
    from airflow_kie.web.receiver.rest_gateway import RestGateway

log = logging.getLogger("airflow_kie.web.receiver")

URL, TOKEN, TOKEN_FILE = "KIE_RECEIVER_AIRFLOW_URL", "KIE_RECEIVER_TOKEN", "KIE_RECEIVER_TOKEN_FILE"
USERNAME, PASSWORD = "KIE_RECEIVER_USERNAME", "KIE_RECEIVER_PASSWORD"
PASSWORD_FILE = "KIE_RECEIVER_PASSWORD_FILE"  # noqa: S105
KEEP_ALIVE_SECONDS = 150
"""Longer than a proxy keeps a connection (Caddy two minutes, clouds one): whoever closes it while a callback begins on
it turns that callback into a 502."""
_OVER_CONFIGURATION = ("bucket", "prefix", "aws_conn_id", "kie_conn_ids")

EPILOG = f"""\
Who the receiver is to Airflow comes from the environment alone: {TOKEN}, or {TOKEN_FILE} (read again when
Airflow refuses it), or {USERNAME} with {PASSWORD} or {PASSWORD_FILE}.
KIE connections, for their webhook secrets, and the S3 connection come from the environment (AIRFLOW_CONN_...) or from
the secrets backend that [secrets] backend names. docs/expose-callbacks.md says the rest.
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
            serve(options)
    except NotStarted as missing:
        sys.stderr.write(f"{missing}\n")
        return 2
    return 0


def serve(options: argparse.Namespace) -> None:
    """Listen for callbacks and hand them to Airflow's public API.

    :raises NotStarted: when Airflow's address, the credentials or the bucket are missing or refused.
    """
    for name in _OVER_CONFIGURATION:
        if value := getattr(options, name):
            os.environ[f"AIRFLOW__KIE__{name.upper()}"] = value
    api = _api(options.airflow_url or os.environ.get(URL, ""), os.environ)
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from airflow_kie import settings
    from airflow_kie.web.receiver.receiver import create_app
    from airflow_kie.web.receiver.rest_gateway import RestGateway
    from airflow_kie.web.receiver.server import BoundedProtocol

    if not settings.text("bucket"):
        raise NotStarted("No bucket is named, so no song could be noted: give --bucket or AIRFLOW__KIE__BUCKET.")
    world = RestGateway(api)
    _look(world)
    app = Starlette(routes=[Mount("/kie", create_app(world))])
    app.router.redirect_slashes = False
    # The access log would hold the tokens of callback URLs; the receiver writes lines of its own.
    uvicorn.run(
        app,
        http=BoundedProtocol,
        ws="none",
        host=options.host,
        port=options.port,
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    api.close()


def callback_url(kie_conn_id: str) -> str:
    """Return the URL that another program names as its ``callBackUrl`` so that its songs get covers here.

    :param kie_conn_id: an Airflow connection, in the environment, a secrets backend or this machine's Airflow.
    :raises NotStarted: when the connection names no public URL, or nothing could check its callbacks.
    """
    from airflow.sdk.exceptions import AirflowNotFoundException

    from airflow_kie._airflow_private import process
    from airflow_kie.client.account import with_token
    from airflow_kie.client.callbacks.auth import TokenSecretTooShort, connection_token, keys_in
    from airflow_kie.client.callbacks.url import receiver_url
    from airflow_kie.hooks.kie import KieHook

    process.begin_command()
    try:
        extra = KieHook.get_connection(kie_conn_id).extra_dejson or {}
        keys = keys_in(extra, kie_conn_id)
    except AirflowNotFoundException:
        raise NotStarted(f"There is no connection {kie_conn_id}.") from None
    except TokenSecretTooShort as error:
        raise NotStarted(f"{error}.") from None
    public_url = str(extra.get("callback_url") or "").strip()
    if not public_url:
        raise NotStarted(f"Connection {kie_conn_id} names no callback_url: nobody outside could reach the receiver.")
    if not keys.webhook and not keys.token:
        raise NotStarted(
            f"Connection {kie_conn_id} has neither a webhook_secret nor a callback_token_secret: every callback would "
            "be refused."
        )
    url = receiver_url(public_url, kie_conn_id)
    return url if keys.webhook else with_token(url, connection_token(keys.token, kie_conn_id))


def _api(url: str, environment: Mapping[str, str]) -> AirflowApi:
    if not url.startswith(("http://", "https://")):
        raise NotStarted(f"Where is Airflow? Give --airflow-url or {URL}, such as https://airflow.example.com.")
    try:
        password = environment.get(PASSWORD) or _text_of(environment.get(PASSWORD_FILE))
        token_file = environment.get(TOKEN_FILE)
        credentials = Credentials(
            environment.get(TOKEN, ""),
            Path(token_file) if token_file else None,
            environment.get(USERNAME, ""),
            password,
        )
    except OSError as error:
        raise NotStarted(f"{error.filename} cannot be read: {error.strerror}.") from None
    if not credentials.usable():
        raise NotStarted(f"Airflow asks who is there: set {TOKEN}, {TOKEN_FILE}, or {USERNAME} and {PASSWORD}.")
    return AirflowApi(url, credentials)


def _text_of(file: str | None) -> str:
    return Path(file).read_text().strip() if file else ""


def _look(world: RestGateway) -> None:
    """Ask Airflow once: a refusal is told before the first callback; an Airflow that is away may come back."""
    from airflow_kie.assets import MUSIC

    try:
        known = world.asset_id()
    except (AirflowRefused, OSError) as error:
        log.error("%s. The receiver listens all the same: songs are noted, and the sweep starts them.", error)
        return
    if known is None:
        log.warning("No DAG has declared the asset %s yet: songs are noted, and the sweep starts them.", MUSIC.uri)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_kie.web.receiver",
        description="Serve POST /kie/callback/<connection id> for an Airflow elsewhere.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command="serve")
    parser.add_argument("--airflow-url", help=f"where Airflow's API is; or {URL}")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8686, help="port to listen on (default: %(default)s)")
    parser.add_argument("--bucket", help="over [kie] bucket")
    parser.add_argument("--prefix", help="over [kie] prefix")
    parser.add_argument("--aws-conn-id", help="over [kie] aws_conn_id")
    parser.add_argument("--kie-conn-ids", help="over [kie] kie_conn_ids")
    commands = parser.add_subparsers(dest="command", metavar="")
    url = commands.add_parser("url", help="print the callBackUrl for songs that other programs generate")
    url.add_argument("kie_conn_id", nargs="?", default="kie_default")
    return parser


if __name__ == "__main__":
    sys.exit(main())
