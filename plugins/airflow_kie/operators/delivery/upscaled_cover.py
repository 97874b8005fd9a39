"""KieUpscaleCoverOperator: a release's cover, enlarged at KIE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from airflow_kie.client.operations.market import JOBS
from airflow_kie.lineage.facts import Dataset, TaskLineage
from airflow_kie.operators.task import KieTaskOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class KieUpscaleCoverOperator(KieTaskOperator):
    """Lets KIE enlarge a release's cover, and returns KIE's task id.

    A cover is paid for once, even if several releases use it. The task is skipped if the plan includes none.

    :param plan: the XCom ``plan`` of :class:`~airflow_kie.operators.delivery.KieReleasePlanOperator`.
    :param kwargs: arguments of :class:`~airflow_kie.operators.task.KieTaskOperator`, except its request.
    """

    template_fields = ("plan", *KieTaskOperator.template_fields)

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(operation=JOBS.name, **kwargs)
        self.plan = plan

    def leg(self, context: Context, /, *waited: Any) -> Any:
        """Ask for it, and wait.

        :raises AirflowSkipException: when the plan includes none.
        """
        cover = self._cover
        if not cover:
            raise AirflowSkipException("The plan does not let KIE enlarge the cover.")
        self.request, self.idempotency_key = cover["request"], cover["idempotency_key"]
        return super().leg(context, *waited)

    def set_lineage(self, lineage: TaskLineage) -> None:
        """Say what the task has read and made: the cover is what it was made from."""
        super().set_lineage(self._from_cover(lineage))

    def lineage_at_start(self) -> TaskLineage:
        """Return the cover that is enlarged."""
        return self._from_cover(super().lineage_at_start())

    @property
    def _cover(self) -> Mapping[str, Any]:
        """What the plan asks for; nothing where it asks for nothing."""
        cover = self.plan.get("upscale") if isinstance(self.plan, Mapping) else None
        return cover or {}

    def _from_cover(self, lineage: TaskLineage) -> TaskLineage:
        cover = self._cover
        if not cover:
            return lineage
        source = Dataset(f"s3://{cover['bucket']}", cover["made_from"])
        made = tuple(replace(one, made=one.made and replace(one.made, made_from=source)) for one in lineage.outputs)
        return replace(lineage, inputs=(source,), outputs=made)
