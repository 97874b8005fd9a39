"""What all stored records share: unknown fields survive a rewrite, times are UTC, the layout is stable.

Records in the bucket outlive the program that wrote them. An older program that rewrites a newer record keeps the
fields that it does not know; a newer one reads an older record, because what is stored only grows.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic import WithJsonSchema as JsonSchema

from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.archive.s3.objects import json_bytes

if TYPE_CHECKING:
    from airflow_kie.archive.s3.bucket import Bucket


def utc_text(moment: datetime) -> str:
    """Return a time as it is stored: ISO 8601, UTC with Z, milliseconds, always the same width."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _in_utc(moment: datetime) -> datetime:
    """Cut to what is stored, so that a record equals itself after writing and reading."""
    try:
        utc = moment.astimezone(UTC)
    except OverflowError as error:  # pydantic takes a ValueError for a wrong field, nothing else
        raise ValueError("it has no time in UTC") from error
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


UtcTime = Annotated[
    AwareDatetime,
    AfterValidator(_in_utc),
    PlainSerializer(utc_text, return_type=str, when_used="json"),
    JsonSchema({"type": "string", "format": "date-time", "pattern": "Z$"}),
]


class Record(BaseModel):
    """A stored record: frozen, with every field that it came with."""

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="null", protected_namespaces=())

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values, unknown fields included, in the order of the schema."""
        return self.model_dump(mode="json")

    def changed(self, **changes: Any) -> Self:
        """Return the record with these fields changed and checked, unknown ones kept."""
        return type(self).model_validate({**dict(self), **changes})

    @classmethod
    def from_json(cls, value: object, where: str) -> Self:
        """Read a record.

        :param value: decoded JSON.
        :param where: the ``s3://`` name of the object, for the error.
        :raises ArchiveUnreadable: naming the fields that are wrong, not their values.
        """
        try:
            record = cls.model_validate(value)
            json.dumps(record.to_json(), ensure_ascii=False, allow_nan=False).encode()
        except ValidationError as e:
            wrong = "; ".join(
                f"{'.'.join(str(part) for part in error['loc']) or 'the whole'}: {error['msg']}"
                for error in e.errors(include_url=False, include_context=False, include_input=False)[:5]
            )
            raise ArchiveUnreadable(f"{where}: {wrong}") from None
        except ValueError as e:  # half a character in an unknown field: it could not be written again
            raise ArchiveUnreadable(f"{where}: {e}") from None
        return record


class FolderKeys(Protocol):
    """The keys of a folder: a song's, a task's, a release's."""

    @property
    def task_id(self) -> str:
        """Return what the folder's record must name."""


class StoredRecord(Record):
    """A record of a song or of another task, an object of its own in the bucket."""

    ID_FIELD: ClassVar[str]
    schema_version: int = Field(default=1, ge=1)

    @staticmethod
    @abstractmethod
    def key_of(keys: Any) -> str:
        """Return the key at which the record of a song or task is stored."""

    @classmethod
    def published_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema that is published beside this module."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"urn:airflow-provider-kie-ai:{cls.__name__.lower()}:1",
            **cls.model_json_schema(mode="serialization"),
        }

    @classmethod
    def read(cls, bucket: Bucket, keys: FolderKeys) -> tuple[Self | None, str | None]:
        """Return the record of a song or task and its ETag, None for both if there is none.

        :raises ArchiveUnreadable: when it is damaged or another one's.
        :raises S3Error: its subclass says why.
        """
        key = cls.key_of(keys)
        value, etag = bucket.get_json_and_etag(key)
        if value is None:
            return None, etag
        record = cls.from_json(value, bucket.url(key))
        if getattr(record, cls.ID_FIELD) != keys.task_id:
            raise ArchiveUnreadable(f"{bucket.url(key)} is the record of another task")
        return record, etag

    @classmethod
    def update(
        cls,
        bucket: Bucket,
        keys: FolderKeys,
        change: Callable[[Self | None], Self],
        *,
        read_back: bool = True,
        is_new: bool = False,
    ) -> Self:
        """Change the record that is in the bucket, and return what is there now.

        Two runs can work on the same song at the same time. What is written is made from what is stored at that
        moment, and it is written only if that has not changed; some S3 services write in any case.

        :param change: returns the new record for the stored one; it may be called several times.
        :param read_back: read it again, and write it again if it is not what was written.
        :param is_new: there was none a moment ago. Where the service lets one of two writers create an object, it is
            created without reading it again: a rival that writes later reads it first.
        :raises ArchiveUnreadable: when the stored record is damaged, or does not keep what is written to it.
        :raises S3Error: its subclass says why.
        """
        if is_new and bucket.creates_once:
            new = change(None)
            if bucket.create(cls.key_of(keys), json_bytes(new.to_json())):
                return new
        stored, etag = cls.read(bucket, keys)
        for _ in range(WRITES):
            new = change(stored)
            if new == stored:
                return new
            written = bucket.put_json_if_unchanged(new.to_json(), cls.key_of(keys), etag)
            if written and not read_back:
                return new
            stored, etag = cls.read(bucket, keys)
            if written and stored == new:
                return new
        where = bucket.url(cls.key_of(keys))
        raise ArchiveUnreadable(f"{where} loses what is written to it", source_id=keys.task_id)


WRITES = 10
"""How often a record is written that another client changes at the same time."""


class Label(Record):
    """A user-defined label of a song; a list of pairs, since Athena and Snowflake cannot read varying keys."""

    name: str
    value: str
    by: str | None = Field(default=None, description="Who has set it in the library; with an empty value, removed it.")
    at: UtcTime | None = Field(default=None, description="When.")

    @property
    def is_removed(self) -> bool:
        """Whether a person has removed it: it stays in the record, so that no later run brings it back."""
        return not self.value and self.by is not None


def label_list(labels: dict[str, str]) -> tuple[Label, ...]:
    """Return a flat string map as the stored list, in the order of the names."""
    return tuple(Label(name=name, value=value) for name, value in sorted(labels.items()))


def label_map(labels: Iterable[Label]) -> dict[str, str]:
    """Return the stored list as a map."""
    return {label.name: label.value for label in labels if not label.is_removed}


def merged_labels(stored: Iterable[Label], news: Iterable[Label]) -> tuple[Label, ...]:
    """Return labels with newer ones; what a person has set in the library holds against what a run was given."""
    labels = {label.name: label for label in stored}
    for label in news:
        if label.by or not (known := labels.get(label.name)) or not known.by:
            labels[label.name] = label
    return tuple(labels[name] for name in sorted(labels))
