"""An Airflow api-server with its login switched on, in a process and a home of its own, without any other part.

    python airflow_api_server.py <DAG file> <port>

`AIRFLOW_HOME` names its home. It prints one line of JSON, every route of ours in the app that it serves, and serves
until it is ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

USERS = {"admin": "admin", "vic": "viewer", "receiver": "op"}
"""Names, which are the passwords too, and Airflow's roles."""
OURS = "/kie"
ENDS_WITHIN_SECONDS = 120.0  # on a busy machine


@dataclass(frozen=True)
class ApiServer:
    """An api-server that listens.

    :param url: where.
    :param routes: methods and path of every route that our plugin has mounted.
    """

    url: str
    routes: tuple[tuple[str, str], ...]


@contextmanager
def api_server(home: Path, dag_file: Path, port: int, **environment: str) -> Iterator[ApiServer]:
    """Run an api-server until the block ends.

    :param home: its Airflow home, made by this.
    :param dag_file: the DAGs that it knows.
    :param port: a free one.
    :param environment: more environment variables.
    """
    home.mkdir(parents=True)
    (home / "passwords.json").write_text(json.dumps({name: name for name in USERS}))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    settings = {
        "AIRFLOW_HOME": str(home),
        "TMPDIR": str(home),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dag_file.parent),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret for tests that is longer than sixty-four bytes, as HS512 wants it",
        "AIRFLOW__KIE__RECEIVER": "True",
    }
    drain = None
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, str(dag_file), str(port)],
            env=clean | settings | environment,
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = next((line for line in process.stdout if line.startswith('{"routes"')), None)  # Airflow logs there too
        assert line, (home / "log").read_text()[-3000:]
        routes = tuple((method, path) for method, path in json.loads(line)["routes"])
        drain = threading.Thread(target=process.stdout.read, daemon=True)  # a full pipe would hold its logging up
        drain.start()
        yield ApiServer(f"http://127.0.0.1:{port}", routes)
    finally:
        process.terminate()
        process.wait(ENDS_WITHIN_SECONDS)
        if drain:
            drain.join(ENDS_WITHIN_SECONDS)
        process.stdout.close()  # type: ignore[union-attr]


def logged_in(url: str, name: str) -> str:
    """Return a token of a user.

    :param url: of the api-server.
    :param name: one of :data:`USERS`.
    """
    answer = httpx.post(f"{url}/auth/token", json={"username": name, "password": name}, trust_env=False, timeout=60)
    return str(answer.raise_for_status().json()["access_token"])


def main(dag_file: str, port: str) -> None:
    """Serve."""
    sys.argv = ["airflow", "api-server"]  # by which plugins know where they are loaded
    import socket

    import uvicorn
    from airflow.api_fastapi.app import create_app
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.utils.db import initdb

    initdb()
    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    bag = DagBag(dag_file, bundle_path=Path(dag_file).parent, bundle_name="dags-folder")
    assert bag.import_errors == {}, bag.import_errors
    sync_bag_to_db(bag, "dags-folder", None)
    app = create_app()
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # see unused_ports
        listening.bind(("127.0.0.1", int(port)))
        listening.listen()
        print(json.dumps({"routes": list(_routes(app))}), file=sys.__stdout__, flush=True)
        uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", timeout_keep_alive=75)).run(sockets=[listening])


def _routes(app: Any) -> Iterator[tuple[str, str]]:
    """Yield methods and paths of the routes below ours; the plugin's app builds itself with its first request."""
    from airflow_kie.plugin import LateApp
    from airflow_kie.web.app import create_app

    for mount in app.routes:
        if getattr(mount, "path", "").startswith(OURS):
            mounted = create_app() if isinstance(mount.app, LateApp) else mount.app
            yield from _below(mount.path, mounted.routes)


def _below(prefix: str, routes: Any) -> Iterator[tuple[str, str]]:
    for route in routes:
        if getattr(route, "methods", None):
            yield from ((method, prefix + route.path) for method in sorted(route.methods))
        else:
            yield from _below(prefix + route.path, route.routes)


if __name__ == "__main__":
    main(*sys.argv[1:])
