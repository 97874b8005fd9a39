"""``@task.kie``: a function returns a request, and the task sends it to KIE."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.decorator import DecoratedOperator, determine_kwargs, task_decorator_factory

from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.durable.retried import with_retries
from airflow_kie.operators.task import KieTaskOperator

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.bases.decorator import TaskDecorator


class KieDecoratedOperator(DecoratedOperator, KieTaskOperator):
    """Sends the request, or the list of requests, that a function returns.

    The function's texts reach KIE unchanged: they are not rendered as templates. It is called again whenever the task
    resumes, so it must not have side effects.
    """

    custom_operator_name = "@task.kie"
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(name for name in KieTaskOperator.template_fields if name not in ("request", "requests")),
    )

    def execute(self, context: Context) -> Any:
        """Do as :class:`~airflow_kie.operators.task.KieTaskOperator`, not as Airflow's own decorated operator."""
        return KieTaskOperator.execute(self, context)

    def leg(self, context: Context, /, *waited: Any) -> Any:
        """Call the function, then make its task, or continue with what that has made."""
        known = {**context, **self.op_kwargs}
        asked = self.python_callable(*self.op_args, **determine_kwargs(self.python_callable, self.op_args, known))
        if isinstance(asked, Mapping):
            self.request = asked
        elif isinstance(asked, Sequence) and not isinstance(asked, str | bytes):
            self.requests = asked
        else:
            raise KieInvalidRequest(
                f"the function of {self.task_id} returned neither a request nor a list of them, but a "
                f"{type(asked).__name__}; nothing was sent to KIE"
            )
        return super().leg(context, *waited)


def kie_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Turn a function that returns a request into an Airflow task that sends it to KIE.

    :param python_callable: the function; it can take Airflow's context variables as parameters.
    :param kwargs: arguments of :class:`~airflow_kie.operators.task.KieTaskOperator`, such as ``operation``.
    """
    # Airflow infers True from the annotation of a function that returns a request (``-> dict``). The task's own output
    # is KIE's task id: Airflow would fail the task for it, once it is paid for and waited for.
    kwargs.setdefault("multiple_outputs", False)
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=KieDecoratedOperator, **with_retries(kwargs)
    )
