"""Rendered fields of an operator hold what the user has given, signed URLs among it: they are hidden in logs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow_kie.client.redact import secrets_in


class HidesCredentials:
    """A base of operators, before Airflow's own: hides the credentials in the URLs of rendered fields."""

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], *args: Any, **kwargs: Any
    ) -> None:
        """Render the fields, then hide the credentials in their URLs from logs and from the rendered fields.

        Airflow 3.3.2 stores those right after this, also of a mapped task, whose own rendering calls nothing else of
        ours. Without this call of Airflow's nothing is hidden there; a test of a mapped task says so.
        """
        from airflow.sdk.log import mask_secret

        super()._do_render_template_fields(parent, template_fields, *args, **kwargs)  # type: ignore[misc]
        for name in template_fields:
            for secret in secrets_in(getattr(parent, name, None)):
                mask_secret(secret)
