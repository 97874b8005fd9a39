"""The lineage of many songs that one task works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_kie.client.operations.suno import MUSIC
from airflow_kie.lineage.facts import Facts, Made, TaskLineage, at_kie


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
