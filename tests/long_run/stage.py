"""The distributed stack in the hands of the fault suite."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from distributed_stack import DistributedStack
from fault_suite.stage import Stage
from kie_simulator.control_client import ControlClient
from local_stack.airflow_api import AirflowApi, AirflowRefused
from local_stack.bucket import BucketPath, s3_client


@dataclass(frozen=True)
class DistributedRunning:
    """What the suite asks of a :class:`local_stack.running.RunningStack`, of the distributed stack.

    :param distributed: the stack.
    """

    distributed: DistributedStack

    @cached_property
    def airflow(self) -> AirflowApi:
        """Airflow's API."""
        return self.distributed.login()

    @cached_property
    def simulator(self) -> ControlClient:
        """The simulator's control plane."""
        return self.distributed.simulator

    @property
    def settings(self) -> Any:
        """The stack's settings, as far as they are asked for."""
        return SimpleNamespace(prefix=self._worker["AIRFLOW__KIE__PREFIX"], home=self.distributed.home)

    @cached_property
    def bucket(self) -> BucketPath:
        """The archive's bucket, past the proxy."""
        values = self.distributed.values
        keys: Any = SimpleNamespace(
            s3_access_key=values["LOCAL_S3_ACCESS_KEY"], s3_secret_key=values["LOCAL_S3_SECRET_KEY"]
        )
        return BucketPath(s3_client(self.distributed.s3_url, keys), self._worker["AIRFLOW__KIE__BUCKET"])

    @property
    def limiter_store(self) -> str:
        """The URL of the database in which the limiter counts."""
        return self.distributed.here.text(self._worker["AIRFLOW_CONN_KIE_LIMITER"])

    @property
    def _worker(self) -> dict[str, str]:
        return self.distributed.compose.environment("worker")


OUTAGE_CAUSES = frozenset({"s3_no_such_bucket", "s3_access_denied", "unauthorized", "out_of_credits"})
"""Why a song fails in an outage, where it needs a person: the person who has started the run is told at once."""


class LongStage(Stage):
    """The stage of a long run. Each run gets its id from here: of two requests for it the second one is refused."""

    failed_by_outages = 0
    """Songs that a run has left to a person in an outage; they are archived later."""

    def start(self, music_task_ids: Any, dag_id: str = "music_cover", batch_size: int | None = None) -> str:
        """Start a run as the form does and return its id."""
        return self._trigger(dag_id, {"music_task_ids": list(music_task_ids), "batch_size": batch_size})

    def generate(self, title: str) -> str:
        """Start a run that has KIE make a song, which costs credits, and return its id."""
        song = {"title": title, "prompt": "La la la", "style": "waltz", "custom_mode": True}
        return self._trigger("music_generate", song)

    def look_into_inbox(self) -> None:
        """Let DAG cover_inbox run, and do not wait for it; what has failed does not wait for an hour either."""
        for failed in (self.bucket / self.prefix / "_retry").iterdir():
            failed.unlink()
        self._trigger("cover_inbox", {})

    def not_archived_by(self, run_id: str, songs: Any) -> dict[str, str]:
        """Return which of some songs the report of a run does not call archived, without those that an outage failed.

        A run that a person has started says so at once where only a person can help.
        """
        table = self.ask(lambda: self.airflow.xcom("music_cover", run_id, "report", key="table"))
        outage = {row["music_task_id"] for row in table if row.get("cause") in OUTAGE_CAUSES}
        self.failed_by_outages += len(outage & set(songs))
        return super().not_archived_by(run_id, [song for song in songs if song not in outage])

    def part_log(self, part: str) -> str:
        """Return everything that the processes of a service have written."""
        logs = sorted(self.running.distributed.home.glob(f"{part}-*.log"))  # type: ignore[attr-defined]
        return "".join(log.read_text(errors="replace") for log in logs)

    def _trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        run_id = f"long-{uuid4().hex}"
        try:
            return self.ask(lambda: self.airflow.trigger(dag_id, conf, run_id))
        except AirflowRefused as refusal:
            if " with 409" in str(refusal):  # the answer to the first request was lost
                return run_id
            raise
