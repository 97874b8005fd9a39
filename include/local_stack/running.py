"""A full stack under the control of a test: start it, talk to all of its parts, stop it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kie_simulator.control_client import ControlClient
from local_stack.airflow_api import AirflowApi
from local_stack.bucket import BucketPath, s3_client
from local_stack.environment import airflow_environment, base_environment
from local_stack.ports import port_of
from local_stack.postgres import url_of
from local_stack.secret_keys import StackSecrets, keep_secrets
from local_stack.settings import StackSettings
from local_stack.stack import Stack
from local_stack.state import StackState


@dataclass(frozen=True)
class RunningStack:
    """A stack that is up.

    :param stack: what holds it.
    :param airflow: Airflow's REST API.
    :param simulator: the simulator's control plane.
    """

    stack: Stack
    airflow: AirflowApi
    simulator: ControlClient

    @property
    def settings(self) -> StackSettings:
        """The stack's settings."""
        return self.stack.settings

    @property
    def state(self) -> StackState:
        """The stack's state now.

        :raises StackFailed: when it is no longer well.
        """
        state = self.stack.check()
        assert state is not None  # noqa: S101 - it was ready
        return state

    @cached_property
    def bucket(self) -> BucketPath:
        """The archive's bucket."""
        return BucketPath(s3_client(self.state.urls["s3"], self.secrets), self.settings.bucket)

    def database_url(self, name: str) -> str:
        """Return the URL of a database of the stack's PostgreSQL, with its password.

        :param name: ``airflow`` or ``limiter``.
        """
        return url_of(self.state.urls["postgres"], self.secrets.database_password, name)

    @property
    def limiter_store(self) -> str:
        """The URL of the database in which the limiter counts."""
        file = f"sqlite:///{self.settings.airflow_home}/kie/creates.db"
        return file if self.settings.sqlite else self.database_url("limiter")

    @property
    def secrets(self) -> StackSecrets:
        """The stack's secrets, with the keys of its S3."""
        return keep_secrets(self.settings.home)

    @property
    def env(self) -> dict[str, str]:
        """The environment of Airflow's processes, for commands such as ``airflow kie …`` beside them."""
        urls = self.state.urls
        base = base_environment(self.stack.stack_id, os.environ)
        return airflow_environment(base, self.settings, self.secrets, port_of(urls["airflow"]), urls, {})

    def pid(self, part: str) -> int:
        """Return the process id of a part: ``scheduler``, ``triggerer``, ``api-server``, ``s3``, …"""
        return self.state.parts[part].pid

    def kill(self, part: str) -> None:
        """Kill a part as a crash would (SIGKILL, its own children stay); the stack starts it again a second later."""
        process = self.state.parts[part].process()
        if process is not None:
            process.kill()
            process.wait(10)


@contextmanager
def running_stack(home: Path, **settings: object) -> Iterator[RunningStack]:
    """Start a full stack, give it, and stop it whatever happens.

    :param home: an own folder for it.
    :param settings: further :class:`StackSettings`, such as ``dags``, ``speed`` or ``airflow`` (environment variables).
    :raises StackFailed: when a part did not start.
    """
    wanted: Mapping[str, object] = {"home": home, "restart": True, **settings}
    with Stack(StackSettings(**wanted)) as stack:  # type: ignore[arg-type]
        state = stack.wait_until_ready()
        airflow, simulator = AirflowApi(state.urls["airflow"]), ControlClient(state.urls["simulator"])
        try:
            yield RunningStack(stack, airflow, simulator)
        finally:
            airflow.close()
            simulator.close()
