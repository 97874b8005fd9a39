"""The syntax of KIE's task ids: what may be part of a key, a path or a log line."""

from __future__ import annotations

import re

from airflow_kie.client.errors import NOTHING_EXPIRES, KieError

MAX_ID_LENGTH = 128


# KIE's ids are opaque: 32 hex digits, UUIDs and "veo_task_..." were seen. A leading underscore is ours ("_pending").
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class KeyRefused(KieError, ValueError, reason="key_refused"):
    """A text that cannot be part of a key in the bucket; the message says which text and what is allowed."""

    what = "This cannot be part of a key in the bucket"
    paid = "Nothing was paid for this."
    todo = "Correct the prefix or id in the message, and clear the task."
    by_when = NOTHING_EXPIRES


def checked_task_id(task_id: str) -> str:
    """Return the task id unchanged if it can be part of a key.

    :param task_id: id of a music or cover task as KIE gave it.
    :raises KeyRefused: for anything but letters, digits, ``.``, ``_`` and ``-``.
    """
    if len(task_id) > MAX_ID_LENGTH:
        raise KeyRefused(f"The task id {task_id[:20]!r}... is longer than {MAX_ID_LENGTH} characters.")
    if not _ID.fullmatch(task_id) or ".." in task_id:
        raise KeyRefused(
            f"{task_id!r} is not a KIE task id: only letters, digits, '.', '_' and '-' are allowed, "
            "and it starts with a letter or a digit."
        )
    return task_id


def is_task_id(text: str) -> bool:
    """Return whether a text is a task id."""
    try:
        return bool(checked_task_id(text))
    except KeyRefused:
        return False
