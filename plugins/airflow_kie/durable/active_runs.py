"""Which runs are active, and which songs they have claimed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowRuntimeError

if TYPE_CHECKING:
    from airflow_kie.archive.layout import ArchiveKeys
    from airflow_kie.archive.s3.bucket import Bucket

_GO_ON = ["queued", "running"]
AT_A_TIME = 100
"""Runs that one question names: they are in its address."""


@dataclass
class ActiveRuns:
    """Asks Airflow which runs are active, about each once.

    :param ti: the task instance that asks.
    """

    ti: Any
    _known: dict[tuple[str, str], bool] = field(default_factory=dict)

    def has(self, dag_id: str, run_id: str) -> bool:
        """Return whether a run is active: a deleted one is not; one that Airflow cannot report on is."""
        self.ask([(dag_id, run_id)])
        return self._known[dag_id, run_id]

    def ask(self, runs: Iterable[tuple[str, str]]) -> None:
        """Ask about runs that are not known yet: in one question where all of a DAG's go on or none does.

        :param runs: DAG id and run id of each.
        """
        for dag_id, of_dag in groupby(sorted({*runs} - self._known.keys()), itemgetter(0)):
            run_ids = [run_id for _, run_id in of_dag]
            for some in (run_ids[start : start + AT_A_TIME] for start in range(0, len(run_ids), AT_A_TIME)):
                active = self._count(dag_id, some)
                for run_id in some:
                    only_some = 0 < active < len(some)
                    self._known[dag_id, run_id] = bool(self._count(dag_id, [run_id]) if only_some else active)

    def _count(self, dag_id: str, run_ids: list[str]) -> int:
        try:
            return int(self.ti.get_dr_count(dag_id=dag_id, run_ids=run_ids, states=_GO_ON))
        except AirflowRuntimeError:
            return len(run_ids)

    def songs_of_others(self, bucket: Bucket, keys: ArchiveKeys, *, read_only: bool = False) -> set[str]:
        """Return the songs that other runs have claimed.

        :param bucket: where.
        :param keys: the archive's keys.
        :param read_only: do not end the claims of runs that have ended.
        """
        from airflow_kie.archive.run_songs import end_claim, read_claims

        claimed: set[str] = set()
        claims = read_claims(bucket, keys)
        self.ask((claim.dag_id, claim.run_id) for claim in claims.values())
        for key, claim in claims.items():
            if (claim.dag_id, claim.run_id) == (self.ti.dag_id, self.ti.run_id):
                continue
            if self.has(claim.dag_id, claim.run_id):
                claimed.update(claim.songs)
            elif not read_only:
                end_claim(bucket, keys, key, claim)
        return claimed
