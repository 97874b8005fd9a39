"""The operators of a release: what goes into it, its cover at KIE, and its folder."""

from airflow_kie.operators.delivery.of_release import PLAN
from airflow_kie.operators.delivery.plan import KieReleasePlanOperator
from airflow_kie.operators.delivery.release import KieDeliverReleaseOperator
from airflow_kie.operators.delivery.upscaled_cover import KieUpscaleCoverOperator

__all__ = ["PLAN", "KieDeliverReleaseOperator", "KieReleasePlanOperator", "KieUpscaleCoverOperator"]
