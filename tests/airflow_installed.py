"""What an installed Airflow says about the provider, as JSON: run it with that Airflow's own Python.

    python airflow_installed.py

The commands are Airflow's own, in one process: each `airflow …` of its own would take seconds to start.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from airflow.cli.cli_config import GroupCommand

NAME = "airflow-provider-kie-ai"


def airflow(*arguments: str) -> str:
    """Return what a command of Airflow prints."""
    from airflow.cli import cli_parser

    output = io.StringIO()
    parsed = cli_parser.get_parser().parse_args(arguments)
    with contextlib.redirect_stdout(output):
        parsed.func(parsed)
    return output.getvalue()


def rows(*arguments: str) -> list[dict[str, Any]]:
    """Return the rows that a command of Airflow prints of our provider."""
    return [row for row in json.loads(airflow(*arguments, "-o", "json")) if "kie" in json.dumps(row)]


def main() -> None:
    """Print everything."""
    import airflow as airflow_package
    import jsonschema
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
    from airflow.cli import cli_parser

    import airflow_kie
    from airflow_kie.get_provider_info import get_provider_info

    schema = json.loads((Path(airflow_package.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)
    kie = cast("GroupCommand", cli_parser.ALL_COMMANDS_DICT["kie"])
    (form,) = [meta for meta in HookMetaService.hook_meta_data() if meta.connection_type == "kie"]
    report = {
        "file": airflow_kie.__file__,
        "entry points": sorted((entry.group, entry.value) for entry in distribution(NAME).entry_points),
        "provider": rows("providers", "get", NAME),
        "hooks": rows("providers", "hooks"),
        "triggers": rows("providers", "triggers"),
        "plugins": rows("plugins"),
        "commands": [command.name for command in kie.subcommands],
        "config": airflow("config", "list", "--section", "kie", "--defaults", "--show-values"),
        "form": form.model_dump(),
    }
    print(json.dumps(report), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main()
