"""Errors: one class a reason, each with what happened, what is paid, what to do and by when."""

from airflow_kie.client.errors.account import *  # noqa: F403
from airflow_kie.client.errors.base import *  # noqa: F403
from airflow_kie.client.errors.files import *  # noqa: F403
from airflow_kie.client.errors.service import *  # noqa: F403
from airflow_kie.client.errors.task import *  # noqa: F403
