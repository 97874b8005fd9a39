"""docs/helm-values.yaml: what it shares with docker-compose.yaml, and the secrets that it names."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from compose_file import read_compose, read_env
from local_stack.env_file import with_secrets
from local_stack.settings import PROJECT

TEXT = (PROJECT / "docs" / "helm-values.yaml").read_text(encoding="utf-8")
VALUES: dict[str, Any] = yaml.safe_load(TEXT)
OPTIONS = {
    f"AIRFLOW__{section}__{option}".upper(): str(value)
    for section, options in VALUES["config"].items()
    for option, value in options.items()
}


@pytest.mark.parametrize("variable", sorted(OPTIONS.keys() - {"AIRFLOW__KIE__BUCKET"}))
def test_an_option_is_set_as_in_the_compose_file(variable: str) -> None:
    values = read_env(with_secrets((PROJECT / ".env.example").read_text(encoding="utf-8"))[0])
    assert read_compose(values).services["scheduler"]["environment"][variable] == OPTIONS[variable]


def test_every_secret_that_is_named_is_made_by_a_command_of_the_file() -> None:
    made = set(re.findall(r"^# +secret (\S+) --from-", TEXT, re.M))
    named = set(re.findall(r"(?i)^ *(?:- )?\w*secretName: (\S+)", TEXT, re.M))
    named |= {source["secretRef"]["name"] for source in yaml.safe_load(VALUES["extraEnvFrom"])}
    assert named == made
