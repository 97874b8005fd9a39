"""What a process that archives does with the index: a line for each song, as soon as the song is there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from airflow_kie.archive.index.entry import IndexEntry
from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.s3.bucket import Bucket
from s3_servers import S3Server


def write_lines(s3: S3Server, prefix: str, numbers: Sequence[int]) -> None:
    """Add a line for each number, each in an object of its own."""
    index = Index(Bucket(s3.client(), "songs"), ArchiveKeys(prefix))
    for number in numbers:
        now = datetime.now(UTC)
        index.add([IndexEntry(id=f"song{number}", operation="suno.music", archived_at=now, updated_at=now)])
