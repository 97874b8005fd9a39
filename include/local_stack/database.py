"""Airflow's database of a stack: made once, then copied for the next fresh stack, migrated only for a new version.

It is a PostgreSQL of the stack's own, or an SQLite file, which is for looking around: each of its writers waits for
all others.
"""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version
from pathlib import Path

from local_stack import postgres
from local_stack.secret_keys import StackSecrets
from local_stack.settings import PROJECT, StackSettings


def core_version() -> str:
    """Return the version of Airflow whose tables a database has."""
    return version("apache-airflow-core")


def prepare(settings: StackSettings, secrets: StackSecrets) -> bool:
    """Prepare Airflow's home and, where there is none yet, its database: a copy of the template, or an empty one.

    :param settings: the stack, none of whose processes runs yet.
    :param secrets: its secrets, with the database's password.
    :return: whether the database is a new one without tables.
    """
    home = settings.airflow_home
    home.mkdir(parents=True, exist_ok=True)
    # Without a file there, each of Airflow's processes would write its own default one at the same time.
    (home / "airflow.cfg").touch()
    known, template = exists(settings), _template(settings).exists()
    if not known:
        if not settings.sqlite:
            _make_cluster(settings, secrets)
        elif template:
            _copy(_template(settings), _database(settings))
        if template:
            _mark(settings).write_text(core_version())
    if not settings.sqlite:
        postgres.clear_up(settings.postgres_dir)
    return not known and not template


def needs_migration(settings: StackSettings) -> bool:
    """Tell whether ``airflow db migrate`` has to run."""
    return not (exists(settings) and _mark(settings).exists() and _mark(settings).read_text() == core_version())


def was_migrated(settings: StackSettings) -> None:
    """Record that the database is of today's version."""
    _mark(settings).write_text(core_version())


def make_template(settings: StackSettings) -> None:
    """Make a database that holds nothing but empty tables the template of further stacks.

    :param settings: the stack; its PostgreSQL does not run.
    """
    template = _template(settings)
    template.parent.mkdir(parents=True, exist_ok=True)
    if settings.sqlite:
        _copy(_database(settings), template)
    elif not template.exists():
        postgres.copy_cluster(_database(settings), template)


def exists(settings: StackSettings) -> bool:
    """Tell whether the stack has a database already."""
    return _database(settings).exists()


def _make_cluster(settings: StackSettings, secrets: StackSecrets) -> None:
    """Make the stack's cluster in one step: a process that is killed meanwhile leaves nothing that seems whole."""
    draft = settings.postgres_dir.with_name(f".postgres.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    if _template(settings).exists():
        postgres.copy_cluster(_template(settings), draft)
    else:
        postgres.make_cluster(draft)
    postgres.set_password(draft, secrets.database_password)
    draft.rename(settings.postgres_dir)


def _copy(source: Path, target: Path) -> None:
    """Copy a file in one step, as above."""
    draft = target.with_suffix(f".{os.getpid()}")
    shutil.copyfile(source, draft)
    draft.replace(target)


def _database(settings: StackSettings) -> Path:
    return settings.airflow_home / "airflow.db" if settings.sqlite else settings.postgres_dir


def _mark(settings: StackSettings) -> Path:
    return settings.airflow_home / f"{'sqlite' if settings.sqlite else 'postgres'}.version"


def _template(settings: StackSettings) -> Path:
    kind = "sqlite" if settings.sqlite else f"postgres-{postgres.postgres_version()}"
    return PROJECT / ".local" / "cache" / f"airflow-{core_version()}-{kind}"
