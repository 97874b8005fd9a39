"""A folder on this machine as an archive's bucket: for one person's results, without S3."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, cast

from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.archive.s3.objects import ObjectFacts


@dataclass(frozen=True)
class LocalFolder:
    """Does what :func:`~airflow_kie.archive.task_archiver.archive_task` asks of a bucket; one process writes at a time.

    :param root: the folder; it is created.
    """

    root: Path
    creates_once: ClassVar[bool] = False

    @classmethod
    def as_bucket(cls, root: Path) -> Bucket:
        """Return a folder where a bucket is expected.

        :raises OSError: when it cannot be written.
        """
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            return cast(Bucket, cls(root))

    def url(self, key: str) -> str:
        """Return a key's path."""
        return str(self.root / key)

    def put_file(self, file: BinaryIO, key: str, *, size: int, content_type: str, sha256: str) -> None:
        """Write a checked file; it is there whole or not at all."""
        file.seek(0)
        self._write(key, lambda target: shutil.copyfileobj(file, target))

    def put_json_if_unchanged(self, value: object, key: str, etag: str | None) -> bool:
        """Write a value as JSON unless the file has changed."""
        if self.get_json_and_etag(key)[1] != etag:
            return False
        body = json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"
        self._write(key, lambda target: target.write(body))
        return True

    def get_json_and_etag(self, key: str) -> tuple[Any, str | None]:
        """Return a file's JSON value and its digest, None for both where it does not exist.

        :raises ArchiveUnreadable: when it is not JSON.
        """
        try:
            body = (self.root / key).read_bytes()
        except FileNotFoundError:
            return None, None
        try:
            return json.loads(body), hashlib.sha256(body).hexdigest()
        except ValueError as error:
            raise ArchiveUnreadable(f"{self.url(key)} is not JSON: {error}") from error

    def head(self, key: str) -> ObjectFacts | None:
        """Return what is known of a file, None where it does not exist."""
        try:
            facts = (self.root / key).stat()
        except FileNotFoundError:
            return None
        return ObjectFacts(key, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))

    def delete(self, key: str) -> None:
        """Delete a file, if there is one."""
        (self.root / key).unlink(missing_ok=True)

    def _write(self, key: str, write: Callable[[BinaryIO], object]) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by tempfile, whose files nobody else may read, whatever the umask says.
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with draft.open("wb") as target:
                write(target)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
