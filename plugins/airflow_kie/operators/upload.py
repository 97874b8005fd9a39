"""KieUploadOperator: a file in S3 as the input of KIE's tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_kie.durable.defaults import required
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.durable.retried import KieOperator
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lineage.facts import TaskLineage
from airflow_kie.lineage.lists import of_upload, to_upload

if TYPE_CHECKING:
    from airflow.sdk import Context


class KieUploadOperator(KieOperator):
    """Uploads an S3 object to KIE, and returns a reference to use in requests instead of an address.

    The reference works in any field of a request that takes an address. KIE deletes the file after a day; a request
    that is sent later uploads it again automatically. Uploads are free, and one that KIE still has is reused.

    :param source: the object, ``s3://bucket/key``.
    :param kie_conn_id: Airflow connection of type ``kie``.
    :param aws_conn_id: Airflow connection for S3; None or empty: boto3's default credential chain.
    """

    template_fields: Sequence[str] = ("source", "kie_conn_id", "aws_conn_id")
    ui_color = "#fff4d6"

    def __init__(
        self,
        *,
        source: str,
        kie_conn_id: str = KieHook.default_conn_name,
        aws_conn_id: str | None = "aws_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.kie_conn_id = kie_conn_id
        self.aws_conn_id = aws_conn_id

    def execute(self, context: Context) -> str:
        """Upload the object unless KIE has it; return the reference."""
        from airflow_kie.hooks.uploads import give

        required(self.task_id, source=self.source)
        hook = KieHook(self.kie_conn_id)
        reference = run_with_outage_backoff(context, lambda: give(hook, self.source, self.aws_conn_id))
        self.set_lineage(of_upload(self.lineage_at_start(), reference))
        return reference

    def lineage_at_start(self) -> TaskLineage:
        """Return the object that KIE is given."""
        return to_upload(self.kie_conn_id, self.source)
