"""What Airflow's ProvidersManager reads of this provider."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution, entry_points
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

from airflow_kie.get_provider_info import get_provider_info

INFO = get_provider_info()


def dotted_paths(value: Any, key: str = "") -> Iterator[str]:
    """Return each of our dotted paths."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from dotted_paths(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from dotted_paths(item, key)
    elif isinstance(value, str) and value.startswith("airflow_kie."):
        yield value


def test_the_info_fits_airflows_own_schema() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


def test_the_package_name_is_the_distributions_name() -> None:
    (entry,) = [e for e in entry_points(group="apache_airflow_provider") if e.value.startswith("airflow_kie.")]
    assert entry.dist is not None
    assert INFO["package-name"] == entry.dist.name == distribution("airflow-provider-kie-ai").name
    assert entry.load()() == INFO


@pytest.mark.parametrize("path", sorted(set(dotted_paths(INFO))))
def test_every_path_leads_somewhere(path: str) -> None:
    try:
        importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name)


def test_the_hooks_agree_with_the_connection_types() -> None:
    for connection in INFO["connection-types"]:
        module, _, name = connection["hook-class-name"].rpartition(".")
        hook = getattr(importlib.import_module(module), name)
        assert (connection["connection-type"], connection["hook-name"]) == (hook.conn_type, hook.hook_name)


def test_secrets_in_the_form_have_names_that_airflow_masks() -> None:
    from airflow.sdk._shared.secrets_masker import redact

    for name, field in INFO["connection-types"][0]["conn-fields"].items():
        if field["schema"].get("format") == "password":
            assert redact({name: "hidden"}) == {name: "***"}


def test_every_option_that_the_code_reads_is_documented() -> None:
    import re

    package = Path(importlib.import_module("airflow_kie").__file__ or "").parent
    reads = re.compile(r'settings\.(?:text|flag|number)\(\s*"(\w+)"|(?<![.\w])(?:text|flag|number)\("(\w+)"')
    read = {
        name
        for file in package.rglob("*.py")
        for found in reads.findall(file.read_text())
        for name in found
        if name and "client" not in file.parts
    }
    assert read - {"value"} <= set(INFO["config"]["kie"]["options"])


def test_airflow_lists_the_connection_types_and_their_fields(tmp_path: Path) -> None:
    output = subprocess.run(
        [
            sys.executable,
            "-c",
            "from airflow.providers_manager import ProvidersManager as M\n"
            "m = M()\n"
            "print(*m.hooks.values(), *m.connection_form_widgets)",
        ],
        env={"AIRFLOW_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for connection in INFO["connection-types"]:
        kind = connection["connection-type"]
        assert f"connection_type='{kind}'" in output
        assert [name for name in connection["conn-fields"] if f"extra__{kind}__{name}" not in output] == []
