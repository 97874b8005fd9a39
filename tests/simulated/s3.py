"""An S3 service in memory, as boto3's client shows one: as much of it as the ledger of paid requests asks for."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError
from botocore.response import StreamingBody

WRITTEN = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Objects:
    """What the service holds.

    :param conditions: it honours ``If-None-Match``.
    """

    conditions: bool = True
    bodies: dict[str, bytes] = field(default_factory=dict)

    def put(self, key: str, body: bytes, condition: str | None) -> None:
        """Write an object."""
        if condition and self.conditions and key in self.bodies:
            raise refusal("PreconditionFailed", 412)
        self.bodies[key] = body


def refusal(code: str, status: int) -> ClientError:
    """Return what boto3 raises for a refusal."""
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "S3")


@dataclass(frozen=True)
class Client:
    """A client of it in one process.

    :param objects: what the service holds.
    :param ask: makes a request over the network: what it is, and its effect.
    """

    objects: Objects
    ask: Any
    meta: Any = field(default_factory=lambda: SimpleNamespace(endpoint_url="https://s3.example"))

    def put_object(self, *, Key: str, Body: bytes, IfNoneMatch: str | None = None, **_: Any) -> dict[str, Any]:
        """Write an object."""

        def put(how: str) -> dict[str, Any]:
            if how == "conflict":
                raise refusal("ConditionalRequestConflict", 409)
            self.objects.put(Key, Body, IfNoneMatch)
            return {}

        answer: dict[str, Any] = self.ask("ledger.create", put)
        return answer

    def get_object(self, *, Key: str, **_: Any) -> dict[str, Any]:
        """Read an object."""

        def get(how: str) -> dict[str, Any]:
            if Key not in self.objects.bodies:
                raise refusal("NoSuchKey", 404)
            body = self.objects.bodies[Key]
            return {
                "Body": StreamingBody(io.BytesIO(body), len(body)),
                "ContentLength": len(body),
                "LastModified": WRITTEN,
            }

        answer: dict[str, Any] = self.ask("ledger.read", get)
        return answer

    def delete_object(self, *, Key: str, **_: Any) -> None:
        """Delete an object."""
        self.objects.bodies.pop(Key, None)

    def get_paginator(self, _: str) -> Client:
        """Return what lists."""
        return self

    def paginate(self, *, Prefix: str, **_: Any) -> Iterator[dict[str, Any]]:
        """List what is below a prefix."""
        keys: list[str] = self.ask(
            "ledger.list", lambda how: sorted(key for key in self.objects.bodies if key.startswith(Prefix))
        )
        yield {"Contents": [{"Key": key, "Size": 1, "LastModified": WRITTEN} for key in keys]}
