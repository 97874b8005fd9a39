"""A ledger of paid requests in memory, for tests of what is built on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass
class MemoryLedgerStore:
    """Objects in memory; a create is atomic, as S3's conditional one is."""

    kind: ClassVar[str] = "memory"
    objects: dict[str, bytes] = field(default_factory=dict)

    def create(self, key: str, body: bytes) -> bool:
        if key in self.objects:
            return False
        self.objects[key] = body
        return True

    def list(self, prefix: str) -> Iterable[str]:
        return [key for key in self.objects if key.startswith(prefix)]

    def read(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)
