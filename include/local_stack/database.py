"""Airflow's database of a stack: made once, then copied for the next fresh stack, migrated only for a new version."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version
from pathlib import Path

from local_stack.settings import PROJECT, StackSettings


def core_version() -> str:
    """Return the version of Airflow whose tables a database has."""
    return version("apache-airflow-core")


def needs_migration(settings: StackSettings) -> bool:
    """Prepare Airflow's home and tell whether ``airflow db migrate`` has to run.

    :param settings: the stack.
    """
    home = settings.airflow_home
    home.mkdir(parents=True, exist_ok=True)
    # Without a file there, each of Airflow's processes would write its own default one at the same time.
    (home / "airflow.cfg").touch()
    if not _database(home).exists() and _template().exists():
        _copy(_template(), _database(home))
        _mark(home).write_text(core_version())
    return not (_database(home).exists() and _mark(home).exists() and _mark(home).read_text() == core_version())


def was_migrated(settings: StackSettings, *, fresh: bool) -> None:
    """Record that the database is of today's version; a fresh one becomes the template of further stacks.

    :param settings: the stack.
    :param fresh: the database did not exist before, so it holds nothing but empty tables.
    """
    _mark(settings.airflow_home).write_text(core_version())
    if fresh:
        _template().parent.mkdir(parents=True, exist_ok=True)
        _copy(_database(settings.airflow_home), _template())


def exists(settings: StackSettings) -> bool:
    """Tell whether the stack has a database already."""
    return _database(settings.airflow_home).exists()


def _copy(source: Path, target: Path) -> None:
    """Copy a file in one step: a process that is killed meanwhile leaves nothing that seems whole."""
    draft = target.with_suffix(f".{os.getpid()}")
    shutil.copyfile(source, draft)
    draft.replace(target)


def _database(home: Path) -> Path:
    return home / "airflow.db"


def _mark(home: Path) -> Path:
    return home / "airflow.db.version"


def _template() -> Path:
    return PROJECT / ".local" / "cache" / f"airflow-{core_version()}.db"
