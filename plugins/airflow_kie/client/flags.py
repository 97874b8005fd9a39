"""A yes-or-no that templates, forms and inbox objects give as text."""

from __future__ import annotations


def is_true(value: bool | str) -> bool:
    """Return a templated yes-or-no: templates render to text."""
    return value.strip().lower() in ("true", "1", "yes") if isinstance(value, str) else bool(value)
