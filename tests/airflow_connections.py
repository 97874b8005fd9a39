"""Airflow connections to the servers of the tests, as the environment variables AIRFLOW_CONN_… take them."""

from __future__ import annotations

import json
from typing import Any

from kie_simulator.server import SimulatorServer
from s3_servers import S3Server


def kie_connection(simulator: SimulatorServer, **changes: Any) -> str:
    """Return an Airflow connection to the simulator.

    It asks in the dedicated form, where an id is read once; tests of both forms, or of the default, set `api`.
    """
    # The limiter has tests of its own; here it would make every test wait for the tests before it.
    extra = {"api": "dedicated"} | changes.pop("extra", {"rate_limit": 1000})
    base = {"conn_type": "kie", "host": simulator.url, "password": simulator.api_key, "extra": extra}
    return json.dumps(base | changes)


def aws_connection(server: S3Server) -> str:
    """Return an Airflow connection to an S3 server."""
    extra = {
        "endpoint_url": server.endpoint_url,
        "region_name": server.region,
        "config_kwargs": {"s3": {"addressing_style": "path"}},
    }
    return json.dumps({"conn_type": "aws", "login": server.access_key, "password": server.secret_key, "extra": extra})
