"""How OpenLineage's listener asks an operator of ours; OpenLineage itself is imported once it does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_kie.lineage.facts import TaskLineage

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


class LineageMethods:
    """The methods by which OpenLineage's listener asks an operator; a base of ours.

    They use what the operator object knows and nothing else: the listener calls them in a fork of the task's process,
    where Airflow must not be asked.
    """

    _lineage: TaskLineage | None = None

    def lineage_at_start(self) -> TaskLineage:
        """Return what is known before anything is done: ids and texts from the arguments."""
        raise NotImplementedError

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Return what the task is made from, as far as the arguments tell."""
        return _for_openlineage(self.lineage_at_start())

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return what the task has read and made, over all of its legs."""
        return _for_openlineage(self._lineage or self.lineage_at_start())

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return what the task was to be made from; a failed attempt has made nothing that counts."""
        return _for_openlineage(replace(self._lineage or self.lineage_at_start(), outputs=()))


def _for_openlineage(lineage: TaskLineage) -> OperatorLineage[Any, Any]:
    from airflow_kie.lineage.openlineage import operator_lineage

    return operator_lineage(lineage)
