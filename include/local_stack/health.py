"""Whether Airflow is up: the answer of its own health route."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping

COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def unhealthy(url: str) -> list[str]:
    """Return the components of Airflow that are not up; empty when all are.

    :param url: address of the api-server on this machine.
    """
    try:
        with _opener.open(f"{url}/api/v2/monitor/health", timeout=5) as answer:
            report: Mapping[str, Mapping[str, str]] = json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return ["api-server"]
    return [name for name in COMPONENTS if (report.get(name) or {}).get("status") != "healthy"]
