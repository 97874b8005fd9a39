"""Which runs go on, and which songs they have claimed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowRuntimeError

if TYPE_CHECKING:
    from airflow_kie.archive.layout import ArchiveKeys
    from airflow_kie.archive.s3.bucket import Bucket

_NOT_FOUND = 404


@dataclass
class ActiveRuns:
    """Asks Airflow for the state of runs, once each.

    :param ti: the task instance that asks.
    """

    ti: Any
    _known: dict[tuple[str, str], bool] = field(default_factory=dict)

    def has(self, dag_id: str, run_id: str) -> bool:
        """Return whether a run goes on; one that was deleted does not, one of which Airflow says nothing now does."""
        run = (dag_id, run_id)
        if run not in self._known:
            try:
                state: Any = self.ti.get_dagrun_state(*run)
            except AirflowRuntimeError as error:
                detail = error.error.detail or {}
                self._known[run] = detail.get("status_code") != _NOT_FOUND
            else:  # an enum member, whose str() is its name
                self._known[run] = getattr(state, "value", state) in ("queued", "running")
        return self._known[run]

    def songs_of_others(self, bucket: Bucket, keys: ArchiveKeys, *, read_only: bool = False) -> set[str]:
        """Return the songs that other runs have claimed.

        :param bucket: where.
        :param keys: the archive's keys.
        :param read_only: do not end the claims of runs that have ended.
        """
        from airflow_kie.archive.run_songs import end_claim, read_claims

        claimed: set[str] = set()
        for key, claim in read_claims(bucket, keys).items():
            if (claim.dag_id, claim.run_id) == (self.ti.dag_id, self.ti.run_id):
                continue
            if self.has(claim.dag_id, claim.run_id):
                claimed.update(claim.songs)
            elif not read_only:
                end_claim(bucket, keys, key, claim)
        return claimed
