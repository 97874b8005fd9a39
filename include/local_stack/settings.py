"""What one local stack is: where it is, whether KIE and S3 are real, how it behaves."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

KIE_HOST = "https://api.kie.ai"
DEFAULT_BUCKET = "kie-covers"
DEFAULT_PREFIX = "songs"

# Any of these says that a person has an AWS account in mind (botocore's own names).
AWS_SIGNS = (
    "AIRFLOW_CONN_AWS_DEFAULT",
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SHARED_CREDENTIALS_FILE",
)


@dataclass(frozen=True)
class StackSettings:
    """One stack. Everything that it writes is under ``home``, so two stacks share nothing.

    :param home: folder of the stack: state, logs, Airflow's home, the files of the local S3, secrets.
    :param dags: Airflow's DAG folder.
    :param plugins: Airflow's plugin folder.
    :param real_kie: ask the real KIE with the person's key instead of the simulator.
    :param real_s3: use the person's AWS settings instead of the local S3.
    :param bucket: bucket of the archive (``[kie] bucket``).
    :param prefix: prefix of the archive (``[kie] prefix``).
    :param speed: how many simulated seconds pass on the simulator in one second.
    :param restart: start a part again that ended by itself; otherwise the stack fails and stops.
    :param grace: seconds that each part gets to end by itself when the stack stops.
    :param sqlite: keep Airflow's database in an SQLite file instead of a PostgreSQL of the stack's own.
    :param simulator_extra: further fields of the connection to the simulator, such as ``rate_limit``.
    :param airflow: further environment variables for Airflow's processes, over the stack's own.
    """

    home: Path
    dags: Path = PROJECT / "dags"
    plugins: Path = PROJECT / "plugins"
    real_kie: bool = False
    real_s3: bool = False
    bucket: str = DEFAULT_BUCKET
    prefix: str = DEFAULT_PREFIX
    speed: float = 1.0
    restart: bool = False
    grace: float = 1.5
    sqlite: bool = False
    simulator_extra: Mapping[str, object] = field(default_factory=dict)
    airflow: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the paths absolute: the parts run in folders of their own."""
        for name in ("home", "dags", "plugins"):
            object.__setattr__(self, name, Path(getattr(self, name)).resolve())

    @property
    def logs(self) -> Path:
        """Folder with one log file for each part."""
        return self.home / "logs"

    @property
    def airflow_home(self) -> Path:
        """Airflow's home: its database, settings file and task logs."""
        return self.home / "airflow"

    @property
    def s3_dir(self) -> Path:
        """Folder in which the local S3 keeps what is stored, in files of its own."""
        return self.home / "s3"

    @property
    def postgres_dir(self) -> Path:
        """Folder of the stack's PostgreSQL."""
        return self.home / "postgres"

    def dumps(self) -> str:
        """Return the settings as JSON; they hold no secret."""
        return json.dumps(asdict(self), default=str, indent=1)

    @classmethod
    def loads(cls, text: str) -> StackSettings:
        """Read what :meth:`dumps` wrote."""
        return cls(**json.loads(text))


def local_folder(project: Path = PROJECT) -> Path:
    """Return the folder for everything that runs leave behind (``.local``, or KIE_STACK_DIR)."""
    return Path(os.environ.get("KIE_STACK_DIR") or project / ".local").resolve()


def up_settings(environment: Mapping[str, str], sqlite: bool = False) -> StackSettings:
    """Return the settings of ``./run up``: real KIE and S3 where a person gave a key and AWS settings.

    :param environment: the person's environment: KIE_API_KEY or AIRFLOW_CONN_KIE_DEFAULT, AWS settings,
        KIE_BUCKET, KIE_PREFIX, KIE_DAGS_FOLDER.
    :param sqlite: see :class:`StackSettings`.
    """
    real_kie = any(environment.get(name) for name in ("KIE_API_KEY", "AIRFLOW_CONN_KIE_DEFAULT"))
    return replace(
        _from_environment(local_folder(), environment),
        sqlite=sqlite,
        real_kie=real_kie,
        real_s3=real_kie and any(environment.get(name) for name in AWS_SIGNS),
        restart=True,
        grace=5.0,
    )


def add_sqlite(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--sqlite`` to a command that starts a stack."""
    parser.add_argument(
        "--sqlite",
        action="store_true",
        help="use an SQLite file as Airflow's database; its writers block each other, so only for a first look",
    )


def demo_settings(environment: Mapping[str, str], speed: float, sqlite: bool = False) -> StackSettings:
    """Return the settings of ``./run demo``: a fresh folder, always the simulator, whatever keys are set."""
    return replace(_from_environment(fresh_folder("demo"), environment), speed=speed, sqlite=sqlite)


def _from_environment(home: Path, environment: Mapping[str, str]) -> StackSettings:
    return StackSettings(
        home=home,
        dags=Path(environment.get("KIE_DAGS_FOLDER") or PROJECT / "dags"),
        bucket=environment.get("KIE_BUCKET") or DEFAULT_BUCKET,
        prefix=environment.get("KIE_PREFIX") or DEFAULT_PREFIX,
    )


def fresh_folder(kind: str) -> Path:
    """Make a folder that no other run has, named after the time: ``.local/demo-20260102-030405``.

    :param kind: first word of the name.
    """
    base = local_folder() / f"{kind}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    for attempt in range(100):
        folder = base if not attempt else base.with_name(f"{base.name}-{attempt + 1}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"A hundred runs began in this second; remove some of {base}*.")
