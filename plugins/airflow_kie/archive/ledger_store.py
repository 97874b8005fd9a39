"""The ledger of paid requests in S3: objects that are only ever created."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3Error
from airflow_kie.lifecycle.kept_answers import ANSWERS

MAX_BYTES = 65_536
"""Bytes that are read of one entry; ours have a few hundred."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Bytes that are read of a kept answer; the client takes 4 MiB of one."""


@dataclass(frozen=True)
class BucketLedgerStore:
    """Keys below one prefix of a bucket whose service honours ``If-None-Match``.

    :param bucket: where.
    :param prefix: with its slash.
    """

    kind: ClassVar[str] = "s3"
    bucket: Bucket
    prefix: str

    def create(self, key: str, body: bytes) -> bool:
        """Create an object; False if there is one already."""
        return self.bucket.create(self.prefix + key, body)

    def list(self, prefix: str) -> Iterator[str]:
        """Return the keys below a prefix."""
        return (facts.key.removeprefix(self.prefix) for facts in self.bucket.list(self.prefix + prefix))

    def list_dated(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Return the keys below a prefix, each with the epoch seconds at which it was written."""
        found = self.bucket.list(self.prefix + prefix)
        return ((facts.key.removeprefix(self.prefix), facts.last_modified.timestamp()) for facts in found)

    def read(self, key: str) -> bytes | None:
        """Return an object's content, None if there is none."""
        most = MAX_ANSWER_BYTES if key.startswith(ANSWERS) else MAX_BYTES
        found = self.bucket.get_version(self.prefix + key, max_bytes=most)
        return None if found is None else found[1]

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        self.bucket.delete(self.prefix + key)

    def honours_conditions(self, probe: str) -> bool:
        """Return whether the service refuses to create an object that is there: some ignore or refuse the condition.

        :param probe: a key of the caller's own that may be written and deleted.
        :raises S3Error: when nothing can be written there.
        """
        try:
            self.create(probe, b"{}")  # refused where S3's client repeats it after a lost answer: it says nothing
            honoured = not self.create(probe, b"{}")
        except S3Error as refused:
            if refused.facts.code not in (400, 501):
                raise
            self.bucket.put_json({}, self.prefix + probe)  # where this works, it is the condition that is refused
            honoured = False
        self.bucket.delete(self.prefix + probe)
        return honoured
