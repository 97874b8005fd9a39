"""What Airflow reads of this provider: connection type and its form, configuration section, assets, links.

It is in ``provider_info.json`` beside this module. Airflow masks extra fields of a connection by their name:
``*_secret`` is hidden, ``*_key`` would be shown.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PACKAGE = "airflow-provider-kie-ai"


def get_provider_info() -> dict[str, Any]:
    """Return what Airflow's ProvidersManager needs; `package-name` must equal the distribution's name."""
    info: dict[str, Any] = json.loads(Path(__file__).with_name("provider_info.json").read_text(encoding="utf-8"))
    return info
