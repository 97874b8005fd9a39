"""Rendered fields of an operator hold what the user has given: only the DAG file's own texts are templates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow_kie._airflow_private.mapped import data_of, listed
from airflow_kie.client.redact import secrets_in


class HidesCredentials:
    """A base of operators, before Airflow's own: hides the credentials in the URLs of rendered fields.

    What an XCom gives to a mapped task is data, also where Airflow would render it. What a mapped task has returned is
    a list.
    """

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Any,
        jinja_env: Any,
        seen_oids: set[int],
    ) -> None:
        """Render the fields, then hide the credentials in their URLs from logs and from the rendered fields.

        Airflow 3.3.2 stores those right after this, also of a mapped task, whose own rendering calls nothing else of
        ours. Without this call of Airflow's nothing is hidden there; a test of a mapped task says so.
        """
        from airflow.sdk.log import mask_secret

        seen_oids.update(map(id, data_of(parent, _map_index(context), template_fields)))
        super()._do_render_template_fields(  # type: ignore[misc]
            parent, template_fields, context, jinja_env, seen_oids
        )
        for name in template_fields:
            value = listed(getattr(parent, name, None))
            setattr(parent, name, value)
            for secret in secrets_in(value):
                mask_secret(secret)


def _map_index(context: Any) -> int:
    index = getattr(context.get("ti"), "map_index", None)
    return -1 if index is None else int(index)
