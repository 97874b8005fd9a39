"""How OpenLineage's listener calls our operators; OpenLineage itself is imported once it does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_kie.lineage.facts import TaskLineage

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


class LineageMethods:
    """A base of our operators: the methods that OpenLineage's listener calls.

    They use only what the operator object holds: the listener calls them in a fork of the task's process, where calls
    to Airflow are not possible.
    """

    _lineage: TaskLineage | None = None

    def set_lineage(self, lineage: TaskLineage) -> None:
        """Say what the task has read and made.

        :param lineage: of all its songs, where it works on many.
        """
        self._lineage = lineage

    def lineage_at_start(self) -> TaskLineage:
        """Return what is known before anything is done: ids and texts from the arguments."""
        raise NotImplementedError

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Return what the task is made from, as far as the arguments show."""
        return _for_openlineage(self.lineage_at_start())

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return what the task has read and made, over all of its legs."""
        return _for_openlineage(self._lineage or self.lineage_at_start())

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the inputs alone; a failed attempt has made nothing that counts."""
        return _for_openlineage(replace(self._lineage or self.lineage_at_start(), outputs=()))


def _for_openlineage(lineage: TaskLineage) -> OperatorLineage[Any, Any]:
    from airflow_kie.lineage.openlineage import operator_lineage

    return operator_lineage(lineage)
