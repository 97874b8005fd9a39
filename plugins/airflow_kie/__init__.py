"""KIE.ai for Apache Airflow: hook, operators, sensors, triggers and the transfer to S3."""

import re
from importlib.metadata import PackageNotFoundError, version

from airflow_kie.client.redact import keep_log_lines_whole

__version__ = "0.1.0"

_OLDEST = (("apache-airflow-core", (3, 3, 1)), ("apache-airflow", (3, 3, 1)), ("apache-airflow-task-sdk", (1, 3, 1)))
"""Distributions of Airflow 3.3.1; a worker may have its task SDK alone, and Airflow 2 has no core.

3.3.0 answers 404 where its task state store is given a key with a slash, as all our keys are."""


def _refuse_an_airflow_that_is_too_old() -> None:
    """Check the installed Airflow's version; `client` and `archive` work without Airflow, so its absence is allowed.

    :raises ImportError: one sentence, instead of the first name that an older Airflow does not have.
    """
    for name, oldest in _OLDEST:
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        numbers = tuple(int(number) for number in re.findall(r"\d+", installed)[: len(oldest)])
        if numbers < oldest:
            raise ImportError(
                f"airflow-provider-kie-ai needs Apache Airflow 3.3.1 or later, and {name} {installed} is installed: "
                "pip install --upgrade 'apache-airflow>=3.3.1'."
            )


_refuse_an_airflow_that_is_too_old()
keep_log_lines_whole()
