"""The lineage of song extras: from the song to the files that are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_kie.client.operations.suno import MUSIC
from airflow_kie.lineage.facts import Dataset, Facts, Made, TaskLineage, at_kie

if TYPE_CHECKING:
    from airflow_kie.archive.manifest import FileRecord


def to_song_extras(operation: str, kie_conn_id: str, songs: Sequence[str]) -> TaskLineage:
    """Return the songs that extras are made of.

    :param operation: what makes them.
    :param kie_conn_id: the connection of the account that pays.
    :param songs: their music task ids.
    """
    only = songs[0] if len(songs) == 1 else None
    inputs = tuple(at_kie(MUSIC.name, song) for song in dict.fromkeys(songs))
    return TaskLineage(inputs, (), Facts(operation, kie_conn_id, music_task_id=only))


def of_song_extras(begun: TaskLineage, bucket: str, files: Sequence[tuple[str, FileRecord]]) -> TaskLineage:
    """Return the lineage of extras that are archived.

    :param begun: of :func:`to_song_extras`.
    :param bucket: where they are.
    :param files: of each its song, and the file.
    """
    made = [
        Dataset(
            f"s3://{bucket}",
            file.key,
            Made(
                file.kind,
                task_id=file.task_id,
                made_from=at_kie(MUSIC.name, song),
                expires_at=file.expires_at.isoformat() if file.expires_at else None,
                position=file.position,
                size=file.size,
                sha256=file.sha256,
                content_type=file.content_type,
                audio_id=file.audio_id,
            ),
        )
        for song, file in files
    ]
    return replace(begun, outputs=tuple(made), facts=replace(begun.facts, changed=bool(made)))
