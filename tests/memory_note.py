"""The note of an outage, kept in memory instead of an Airflow Variable."""

from __future__ import annotations

from airflow_kie.durable.outages import Outage, OutageNote


class MemoryNote(OutageNote):
    """A note that tasks of one test share."""

    def __init__(self) -> None:
        super().__init__("account_test")
        self.outage: Outage | None = None

    def read(self) -> Outage | None:
        """Return the outage, None while there is none."""
        return self.outage

    def write(self, outage: Outage) -> None:
        """Note an outage."""
        self.outage = outage

    def delete(self) -> None:
        """Note that it is over."""
        self.outage = None
