"""What both stored records share: unknown fields survive a rewrite, times are UTC, the layout is stable.

Records in the bucket outlive the program that wrote them. An older program that rewrites a newer record keeps the
fields that it does not know; a newer one reads an older record, because what is stored only grows.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)

from airflow_kie.client.errors import KieError

_TIME_SCHEMA = {"type": "string", "format": "date-time", "pattern": "Z$"}


class ArchiveUnreadable(KieError, reason="archive_unreadable"):
    """A manifest or pending record in the bucket is not what this program or a newer one wrote."""

    what = "A record in the bucket cannot be read"
    todo = (
        "Look at the object that is named. If it is damaged, note the cover_task_ids in it, delete it and clear the "
        "task: it is written again, and KIE names the cover task again if it was paid."
    )


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
    WithJsonSchema(_TIME_SCHEMA),
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


class Label(Record):
    """One of people's own names for a song; a list of pairs, since Athena and Snowflake cannot read varying keys."""

    name: str
    value: str


def label_list(labels: dict[str, str]) -> tuple[Label, ...]:
    """Return a flat string map as the stored list, in the order of the names."""
    return tuple(Label(name=name, value=value) for name, value in sorted(labels.items()))


def label_map(labels: tuple[Label, ...]) -> dict[str, str]:
    """Return the stored list as a map."""
    return {label.name: label.value for label in labels}
