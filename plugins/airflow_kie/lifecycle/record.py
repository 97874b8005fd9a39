"""What is known of one paid KIE task; stored between attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from airflow_kie.client.errors import KieUnexpected
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.client.redact import storable, without_urls


@dataclass(frozen=True)
class TaskRecord:
    """What is known of one paid task; stored between attempts, and in a trigger's arguments, which Airflow shows.

    It holds no URL: an address can be a credential. What a task is made from counts by a digest where it is an address.

    :param kind: the operation, such as ``suno.cover``.
    :param source: what it is made from, ``{"taskId": <music task id>}`` for a cover; see
        :meth:`~airflow_kie.client.operations.operation.TaskOperation.source_in`.
    :param form: ``dedicated`` or ``unified``: in which it was requested, or found; empty while that is unknown.
    :param connection: the Airflow connection id whose account pays.
    :param digest: of the request's identity: its folder in the ledger of paid requests.
    :param number: which attempt at that request, 0 while nothing of it is known.
    :param task_id: KIE's id, once known.
    :param unrecorded: the ledger does not have the id yet.
    :param crossed: the other API variant was tried because KIE does not know the source in the one.
    :param repeated: it was sent once more because an answer was lost, which only happens where that costs nothing.
    :param adopted: the id was found or given, not created by this record.
    :param known_at: epoch seconds at which the id became known.
    :param failed_ids: the tasks of earlier attempts, which have failed at KIE.
    :param doubt: a failure, or a refusal to show the task, that one read has reported; a second one has to agree.
    :param doubt_at: epoch seconds of that read.
    :param last_state: the last state word.
    """

    kind: str
    source: Mapping[str, Any] = field(default_factory=dict)
    connection: str = ""
    form: str = ""
    digest: str = ""
    number: int = 0
    task_id: str | None = None
    unrecorded: bool = False
    crossed: bool = False
    repeated: bool = False
    adopted: bool = False
    known_at: float | None = None
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
        return cls(kind, task_id=task_id, **known)

    def given(self, task_id: str) -> TaskRecord:
        """Return the record with an id given by a person or a trigger: not even its API variant is known."""
        kept = ("kind", "source", "connection", "digest", "unrecorded", "repeated", "failed_ids")
        return TaskRecord(**{name: getattr(self, name) for name in kept}, task_id=task_id, adopted=True)

    @property
    def created_here(self) -> bool:
        """Whether KIE named the task in its answer to a create of this record: it is there, whatever a read says."""
        return bool(self.number and self.task_id) and not self.adopted

    def own_deadline(self, deadline: float, timeout: float) -> float:
        """Return when the wait for the task ends: one that replaces a failed task has its own time.

        :param deadline: epoch seconds at which the wait for the first one ends.
        :param timeout: seconds that each task may take.
        """
        if self.failed_ids and self.created_here and self.known_at is not None:
            return max(deadline, self.known_at + timeout)
        return deadline

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
        known = {key: value for key, value in asdict(self).items() if value not in (None, {}, (), False, "", 0)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in known.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TaskRecord:
        """Return the record that :meth:`to_json` wrote; fields that a newer version added are left out."""
        known = {f.name for f in fields(cls)}
        data = {key: item for key, item in value.items() if key in known}
        data["failed_ids"] = tuple(data.get("failed_ids", ()))
        data |= {name: float(data[name]) for name in ("known_at", "doubt_at") if data.get(name) is not None}
        return cls(**data)


def read_records(stored: Mapping[str, Any]) -> tuple[dict[str, TaskRecord], dict[str, KieUnexpected]]:
    """Return the records of many tasks, and why some cannot be read: one that is damaged stops no other.

    :param stored: as :meth:`TaskRecord.to_json` wrote each, by the caller's names for them.
    """
    records: dict[str, TaskRecord] = {}
    damaged: dict[str, KieUnexpected] = {}
    for name, value in stored.items():
        try:
            record = TaskRecord.from_json(value)
            task_kind(record.kind)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is about this one
            known = value.get("task_id") if isinstance(value, Mapping) else None
            damaged[name] = KieUnexpected(
                f"what Airflow has stored of it cannot be read ({type(error).__name__})",
                task_id=known if isinstance(known, str) else None,
            )
        else:
            records[name] = record
    return records, damaged
