"""``./run secrets``: ``.env`` for docker-compose.yaml, made from ``.env.example``, with strong secrets.

Standard library only, so that ``python3 include/local_stack/env_file.py`` does it too where nothing is installed.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

MAKERS: Mapping[str, Callable[[], str]] = {
    # Hexadecimal: these are in URLs and on command lines.
    "POSTGRES_PASSWORD": lambda: secrets.token_hex(32),
    "REDIS_PASSWORD": lambda: secrets.token_hex(32),
    "AIRFLOW_FERNET_KEY": lambda: base64.urlsafe_b64encode(os.urandom(32)).decode(),
    "AIRFLOW_JWT_SECRET": lambda: secrets.token_hex(48),  # 64 bytes and more keep PyJWT from warning about HS512
    "AIRFLOW_SECRET_KEY": lambda: secrets.token_hex(32),
    "AIRFLOW_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(18),
    "LOCAL_S3_ACCESS_KEY": lambda: secrets.token_hex(10),
    "LOCAL_S3_SECRET_KEY": lambda: secrets.token_hex(32),
    "SIMULATOR_WEBHOOK_SECRET": lambda: secrets.token_hex(32),
    "GRAFANA_PASSWORD": lambda: secrets.token_urlsafe(18),
}
"""How each secret is made."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options: it has none."""
    parser.epilog = "Existing secrets in .env are kept, and nothing else in it is changed."


def run(_options: argparse.Namespace) -> int:
    """Write ``.env`` of the project and say what was made; no secret is shown.

    :return: exit code 0.
    """
    made = write_secrets(PROJECT / ".env", PROJECT / ".env.example")
    if not made:
        print(".env has all its secrets; nothing was changed.")
        return 0
    print(f"Written to {PROJECT / '.env'}, readable only by its owner: {', '.join(made)}.")
    print("The login is `admin`, with AIRFLOW_ADMIN_PASSWORD. Next: docker compose up --detach")
    return 0


def write_secrets(path: Path, example: Path) -> list[str]:
    """Fill the empty secrets of an ``.env`` file, which is made from the example where there is none.

    :param path: the file; readable for its owner alone afterwards.
    :param example: what a new one begins with.
    :return: names of the secrets that were made.
    """
    before = path.read_text() if path.exists() else example.read_text()
    text, made = with_secrets(before)
    if made:
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        draft.replace(path)
    return made


def with_secrets(text: str) -> tuple[str, list[str]]:
    """Return the text of an ``.env`` file with every empty or missing secret made, and the names of these."""
    made = []
    for name, make in MAKERS.items():
        line = re.search(rf"^{name}=(.*)$", text, re.M)
        if line is not None and line[1].strip():
            continue
        made.append(name)
        if line is None:
            text = f"{text.rstrip()}\n{name}={make()}\n"
        else:
            text = f"{text[: line.start()]}{name}={make()}{text[line.end() :]}"
    return text, made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    sys.exit(run(parser.parse_args()))
