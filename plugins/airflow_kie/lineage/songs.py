"""The lineage of many songs that one task works on, of their extras, and of the releases that are made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_kie.client.operations.suno import MUSIC
from airflow_kie.lineage.facts import Dataset, Facts, Made, TaskLineage, at_kie, made_of

if TYPE_CHECKING:
    from airflow_kie.archive.delivery.records import ReleaseManifest
    from airflow_kie.archive.manifest import FileRecord


def of_songs(operation: str, kie_conn_id: str, rows: Sequence[Mapping[str, Any]], id_field: str) -> TaskLineage:
    """Return the lineage of many songs' KIE tasks that have their files.

    :param operation: what has made them.
    :param kie_conn_id: the connection whose account they are of.
    :param rows: of each its `music_task_id`, and when its files expire.
    :param id_field: which field of a row holds the task's id.
    """
    kind, outputs, inputs = operation.rpartition(".")[2], [], []
    for row in rows:
        source = at_kie(MUSIC.name, row["music_task_id"]) if operation != MUSIC.name else None
        inputs += [source] if source else []
        made = Made(kind, row[id_field], made_from=source, expires_at=row.get("expires_at"))
        outputs.append(at_kie(operation, row[id_field], made))
    return TaskLineage(tuple(inputs), tuple(outputs), Facts(operation, kie_conn_id))


def of_archived_songs(kie_conn_id: str, songs: Sequence[TaskLineage]) -> TaskLineage:
    """Return the lineage of many songs that one task has archived.

    :param kie_conn_id: the connection whose account made them.
    :param songs: that of each.
    """
    facts = Facts("archive", kie_conn_id, changed=any(song.facts.changed for song in songs))
    inputs, outputs = ([one for song in songs for one in getattr(song, name)] for name in ("inputs", "outputs"))
    return TaskLineage(tuple(inputs), tuple(outputs), facts)


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
    place = f"s3://{bucket}"
    made = [
        Dataset(place, file.key, replace(made_of(file), made_from=at_kie(MUSIC.name, song))) for song, file in files
    ]
    return replace(begun, outputs=tuple(made), facts=replace(begun.facts, changed=bool(made)))


def to_release(songs: Sequence[str]) -> TaskLineage:
    """Return the songs that a release is made from.

    :param songs: their music task ids.
    """
    return TaskLineage(tuple(at_kie(MUSIC.name, song) for song in songs), (), Facts("release", ""))


def of_release(
    begun: TaskLineage, bucket: str, folder: str, manifest: ReleaseManifest, *, changed: bool
) -> TaskLineage:
    """Return the lineage of a release: archived files in, delivered files out.

    :param begun: of :func:`to_release`.
    :param bucket: where both are.
    :param folder: the release's, with its slash.
    :param manifest: the release's.
    :param changed: something was stored now; otherwise nothing was made.
    """
    place = f"s3://{bucket}"
    keys = [key for file in manifest.files for key in (file.made_from, file.enlarged_from) if key]
    sources = {key: Dataset(place, key) for key in keys}
    made = tuple(
        Dataset(
            place,
            f"{folder}{file.name}",
            Made(
                "delivered",
                made_from=sources.get(file.made_from or ""),
                size=file.size,
                sha256=file.sha256,
                content_type=file.content_type,
            ),
        )
        for file in manifest.files
    )
    facts = replace(begun.facts, changed=changed)
    return TaskLineage((*begun.inputs, *sources.values()), made if changed else (), facts)
