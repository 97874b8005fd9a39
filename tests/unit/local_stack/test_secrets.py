"""./run secrets: .env from .env.example, with strong secrets, and never over those that are there."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from compose_file import read_env
from local_stack.env_file import MAKERS, with_secrets, write_secrets
from local_stack.settings import PROJECT

EXAMPLE = PROJECT / ".env.example"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    write_secrets(tmp_path / ".env", EXAMPLE)
    return tmp_path / ".env"


def test_every_secret_is_made_long_enough_and_different_each_time(made: Path) -> None:
    values, others = read_env(made.read_text()), read_env(with_secrets(EXAMPLE.read_text())[0])
    for name in MAKERS:
        assert len(values[name]) >= 20
        assert values[name] != others[name]
    assert len({values[name] for name in MAKERS}) == len(MAKERS)
    assert len(base64.urlsafe_b64decode(values["AIRFLOW_FERNET_KEY"])) == 32


def test_the_file_is_for_its_owners_eyes_only(made: Path) -> None:
    assert stat.S_IMODE(made.stat().st_mode) == 0o600


def test_what_is_set_stays_and_what_is_empty_or_missing_is_made(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nPOSTGRES_PASSWORD=kept\nREDIS_PASSWORD=\nKIE_BUCKET=my-covers\n")
    names = write_secrets(path, EXAMPLE)
    assert set(names) == set(MAKERS) - {"POSTGRES_PASSWORD"}
    assert path.read_text().startswith("# mine\nPOSTGRES_PASSWORD=kept\nREDIS_PASSWORD=")
    assert {"POSTGRES_PASSWORD": "kept", "KIE_BUCKET": "my-covers"}.items() <= read_env(path.read_text()).items()


def test_a_second_time_changes_nothing(made: Path) -> None:
    before = made.read_bytes()
    assert write_secrets(made, EXAMPLE) == []
    assert made.read_bytes() == before


def test_the_secrets_need_no_quoting_in_urls_json_or_on_a_command_line(made: Path) -> None:
    for name in MAKERS:
        assert read_env(made.read_text())[name].replace("-", "a").replace("_", "a").rstrip("=").isalnum()
