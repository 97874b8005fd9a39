"""What is known of one paid KIE task; stored between attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from airflow_kie.client.operations.registry import task_kind
from airflow_kie.client.redact import storable, without_urls


class Progress(StrEnum):
    """How far a paid task has come; `sending` is stored before the POST, `sent` with the id after it."""

    NEW = "new"
    SENDING = "sending"
    SENT = "sent"


@dataclass(frozen=True)
class TaskRecord:
    """What is known of one paid task; stored between attempts, and in a trigger's arguments, which Airflow shows.

    No URL stands in it, whoever makes it: an address can be a credential. What a task is made from counts by a digest
    where it is an address.

    :param kind: the operation, such as ``suno.cover``.
    :param source: what it is made from, ``{"taskId": <music task id>}`` for a cover; see
        :meth:`~airflow_kie.client.operations.operation.TaskOperation.source_in`.
    :param connection: the Airflow connection id whose account pays.
    :param progress: how far it has come.
    :param task_id: KIE's id, once known.
    :param token: unguessable, made with the record; it travels in the callback URL, so that a callback names the
        record even if the answer to the create was lost.
    :param adopted: the id was found or given, not created by this record.
    :param known_at: epoch seconds at which the id became known.
    :param attempts: reason → how many tasks failed with it.
    :param failed_ids: the ids of those tasks.
    :param doubt: a failure, or a refusal to show the task, that one read has told of; a second one has to agree.
    :param doubt_at: epoch seconds of that read.
    :param last_state: the last state word.
    """

    kind: str
    source: Mapping[str, Any] = field(default_factory=dict)
    connection: str = ""
    progress: Progress = Progress.NEW
    task_id: str | None = None
    token: str | None = field(default=None, repr=False)
    adopted: bool = False
    known_at: float | None = None
    attempts: Mapping[str, int] = field(default_factory=dict)
    failed_ids: tuple[str, ...] = ()
    doubt: str | None = None
    doubt_at: float | None = None
    last_state: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", storable(dict(self.source)))
        object.__setattr__(self, "failed_ids", storable(self.failed_ids))
        object.__setattr__(self, "task_id", storable(self.task_id))
        for name in ("last_state", "doubt"):  # KIE's own words
            value = getattr(self, name)
            object.__setattr__(self, name, without_urls(value) if isinstance(value, str) else value)

    @classmethod
    def of_known_task(cls, kind: str, task_id: str, **known: Any) -> TaskRecord:
        """Return the record of a task whose id is known already."""
        return cls(kind, progress=Progress.SENT, task_id=task_id, **known)

    @property
    def created_here(self) -> bool:
        """Whether KIE named the task in its answer to a create of this record: it is there, whatever a read says."""
        return bool(self.token) and not self.adopted

    @property
    def source_id(self) -> str | None:
        """The id of what the task is made from, for messages."""
        return next((str(value) for value in self.source.values() if value), None)

    @property
    def parent_id(self) -> str | None:
        """The id of the KIE task or track that it is made from, if it is made from one: an uploaded file is none."""
        parent = task_kind(self.kind).parent
        found = self.source.get(parent.field) if parent else None
        return str(found) if found else None

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values, without what is unset; Airflow's store takes lists and no tuples."""
        known = {key: value for key, value in asdict(self).items() if value not in (None, {}, (), False, "")}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in known.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TaskRecord:
        """Return the record that :meth:`to_json` wrote; fields that a newer version added are left out."""
        known = {f.name for f in fields(cls)}
        data = {key: item for key, item in value.items() if key in known}
        data["progress"] = _progress(data.get("progress"))
        data["failed_ids"] = tuple(data.get("failed_ids", ()))
        return cls(**data)


def _progress(word: Any) -> Progress:
    """Return the progress; a word of a newer version counts as `sending`, which never leads to a second payment."""
    try:
        return Progress(word or Progress.NEW)
    except ValueError:
        return Progress.SENDING
