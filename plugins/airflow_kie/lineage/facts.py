"""What our tasks know about where things come from: datasets down to the file, and the facts of KIE's tasks.

Nothing here imports OpenLineage: `openlineage.py` makes its records of these, where it is installed and switched on.
Prompts and lyrics are given as hash and length; their text is added only if `[kie] include_texts` is on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_kie import settings
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.client.operations.suno import COVER, MUSIC

if TYPE_CHECKING:
    from airflow_kie.archive.manifest import FileRecord, Manifest, TaskManifest
    from airflow_kie.client.answers.details import TaskDetails
    from airflow_kie.lifecycle.record import TaskRecord

KIE = "kie://api.kie.ai"
"""The namespace of everything at KIE, whichever host a connection names."""


@dataclass(frozen=True)
class Text:
    """A prompt or lyrics, without the text itself.

    :param sha256: of its UTF-8 form.
    :param length: in characters.
    :param text: the text itself, only if `[kie] include_texts` is on.
    """

    sha256: str
    length: int
    text: str | None = None

    @classmethod
    def of(cls, text: str) -> Text:
        """Return what may be published about a text."""
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
        return cls(digest, len(text), text if settings.flag("include_texts") else None)


@dataclass(frozen=True)
class Dataset:
    """A prompt, a song, a song's covers or a file, as OpenLineage names datasets.

    :param namespace: ``kie://api.kie.ai`` or ``s3://<bucket>``.
    :param name: ``suno/music/<id>``, or a key in the bucket.
    :param made: what is known of it, where a task has made it.
    """

    namespace: str
    name: str
    made: Made | None = None


@dataclass(frozen=True)
class Made:
    """What is known of something that was made.

    :param kind: music, cover, track, lyrics, manifest or delivered; later versions may add kinds.
    :param task_id: the KIE task that made it.
    :param made_from: the one of the run's inputs that it comes from, where that is known.
    :param expires_at: ISO time at which KIE deletes its own copy.
    :param files: how many files a KIE task has made.
    :param position: position in KIE's answer, from 1.
    :param size: bytes.
    """

    kind: str
    task_id: str | None = None
    made_from: Dataset | None = None
    expires_at: str | None = None
    files: int | None = None
    position: int | None = None
    size: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    audio_id: str | None = None


@dataclass(frozen=True)
class Facts:
    """What is known of a run of a task, beside its datasets.

    :param operation: ``suno.music``, ``suno.cover``, ``archive`` or ``release``.
    :param credits: what KIE reports, None where it reports none.
    :param attempts: tasks that KIE was asked for in this run, those included that failed there.
    :param adopted: the task was found or given, not made by this run.
    :param wait_seconds: from the id being known to the end being seen.
    :param completion_source: what showed the end: callback, poll, or at_once if there was nothing to wait for.
    :param changed: of an archive: something was written.
    """

    operation: str
    kie_conn_id: str
    task_id: str | None = None
    music_task_id: str | None = None
    cover_task_ids: tuple[str, ...] = ()
    model: str | None = None
    credits: float | None = None
    attempts: int | None = None
    failed_task_ids: tuple[str, ...] = ()
    adopted: bool | None = None
    wait_seconds: float | None = None
    completion_source: str | None = None
    changed: bool | None = None
    prompt: Text | None = None
    lyrics: tuple[Text, ...] = ()


@dataclass(frozen=True)
class TaskLineage:
    """What a run of a task has read and made.

    :param inputs: what it was made from.
    :param outputs: what was made.
    :param facts: the rest.
    """

    inputs: tuple[Dataset, ...]
    outputs: tuple[Dataset, ...]
    facts: Facts


def at_kie(kind: str, name: str, made: Made | None = None) -> Dataset:
    """Return the dataset of something at KIE.

    :param kind: the operation that makes it, such as ``suno.music``.
    :param name: its task id.
    """
    return Dataset(KIE, f"{kind.replace('.', '/')}/{name}", made)


def made_from(operation: str, source: str | None) -> tuple[Dataset, ...]:
    """Return what a task is made from at KIE: another task, or a track of a song.

    :param operation: what makes it.
    :param source: KIE's id of what it is made from; None: it is made from nothing of KIE's.
    """
    parent = task_kind(operation).parent
    if parent is None or not source:
        return ()
    return (at_kie(parent.operation if parent.readable else "suno.track", source),)


def _inputs(operation: str, prompt: Any, source: str | None) -> tuple[Dataset, ...]:
    """Return what a task is made from: music from its prompt, named by its hash; everything else from its parent."""
    if operation != MUSIC.name:
        return made_from(operation, source)
    return (Dataset(KIE, f"suno/prompt/{Text.of(prompt).sha256}"),) if isinstance(prompt, str) and prompt else ()


def _song(operation: str, source: str | None) -> str | None:
    """Return the song that a task is made from, None where it is made from something else."""
    parent = task_kind(operation).parent
    return source if parent and (parent.operation, parent.readable) == (MUSIC.name, True) else None


def known_of(record: TaskRecord, body: Mapping[str, Any] | None = None, *, waits_only: bool = False) -> TaskLineage:
    """Return the lineage of a KIE task that has not ended.

    :param record: what is known of it.
    :param body: the request that makes it, where we make it.
    :param waits_only: the Airflow task waits for it and makes none.
    """
    music, source = record.kind == MUSIC.name, record.parent_id
    request = body or {}
    prompt = given if music and isinstance(given := request.get("prompt"), str) else None
    facts = Facts(
        operation=record.kind,
        kie_conn_id=record.connection,
        task_id=record.task_id,
        music_task_id=record.task_id if music else _song(record.kind, source),
        model=request.get("model"),
        attempts=None if waits_only else len(record.failed_ids) + 1,
        failed_task_ids=tuple(record.failed_ids),
        adopted=None if waits_only else record.adopted,
        prompt=Text.of(prompt) if prompt else None,
    )
    return TaskLineage(_inputs(record.kind, prompt, source), (), facts)


def of_ended(
    record: TaskRecord,
    details: TaskDetails,
    completion_source: str,
    since: float | None,
    *,
    waits_only: bool = False,
) -> TaskLineage:
    """Return the lineage of a KIE task that has its files.

    :param record: what is known of it.
    :param details: KIE's details of it.
    :param completion_source: what showed its end.
    :param since: epoch seconds since when it was waited for.
    :param waits_only: the Airflow task waits for it and makes none.
    """
    from airflow_kie.archive.archiver import prompt_of

    music = record.kind == MUSIC.name
    source = None if music else record.parent_id or details.parent_id
    prompt = prompt_of(details) if music else None
    inputs = _inputs(record.kind, prompt, source)
    lyrics = () if details.param.get("instrumental") else [track.lyrics for track in details.tracks if track.lyrics]
    made = Made(
        kind=record.kind.rpartition(".")[2],
        task_id=record.task_id,
        made_from=inputs[0] if inputs else None,
        expires_at=details.expires_at.isoformat() if details.expires_at else None,
        files=len(details.tracks) if music else len(details.results),
    )
    first = details.tracks[0] if details.tracks else None
    facts = replace(
        known_of(record, waits_only=waits_only).facts,
        music_task_id=record.task_id if music else _song(record.kind, source),
        cover_task_ids=(record.task_id,) if record.kind == COVER.name and record.task_id else (),
        model=details.param.get("model") or (first.model if first else None),
        credits=details.credits_consumed,
        wait_seconds=round(max(0.0, time.time() - since), 3) if since is not None else None,
        completion_source=completion_source,
        prompt=Text.of(prompt) if prompt else None,
        lyrics=tuple(Text.of(text) for text in lyrics),
    )
    return TaskLineage(inputs, (at_kie(record.kind, record.task_id or "", made),), facts)


def to_archive(kie_conn_id: str, music_task_id: str, cover_task_ids: Sequence[str]) -> TaskLineage:
    """Return the lineage of a song's archiving before anything is archived.

    :param kie_conn_id: the connection whose account made the song.
    :param music_task_id: the song.
    :param cover_task_ids: its covers, if they are requested.
    """
    inputs = (at_kie(MUSIC.name, music_task_id), *(at_kie(COVER.name, task_id) for task_id in cover_task_ids))
    facts = Facts("archive", kie_conn_id, music_task_id=music_task_id, cover_task_ids=tuple(cover_task_ids))
    return TaskLineage(inputs, (), facts)


def of_archive(
    begun: TaskLineage, bucket: str, manifest_key: str, manifest: Manifest, added: Sequence[FileRecord]
) -> TaskLineage:
    """Return the lineage of an archived song.

    :param begun: what was known before.
    :param bucket: where its files are.
    :param manifest_key: the key of its manifest.
    :param manifest: what it holds.
    :param added: the files that this run has archived; none if everything was there.
    """
    song = manifest.song
    facts = replace(
        begun.facts,
        model=song.model,
        credits=manifest.credits,
        changed=bool(added),
        prompt=Text.of(song.prompt) if song.prompt else None,
    )
    return TaskLineage(begun.inputs, _archived(bucket, manifest_key, added), facts)


def to_archive_task(kie_conn_id: str, operation: str, task_id: str) -> TaskLineage:
    """Return the lineage of the archiving of a task's results before anything is archived."""
    facts = Facts("archive", kie_conn_id, task_id=task_id)
    return TaskLineage((at_kie(operation, task_id),), (), facts)


def of_archived_task(
    begun: TaskLineage, bucket: str, manifest_key: str, manifest: TaskManifest, added: Sequence[FileRecord]
) -> TaskLineage:
    """Return the lineage of a task's archived results; parameters as in :func:`of_archive`."""
    model, changed = manifest.generator.model, bool(added)
    facts = replace(begun.facts, model=model, credits=manifest.credits, changed=changed)
    return TaskLineage(begun.inputs, _archived(bucket, manifest_key, added, manifest.operation), facts)


def _archived(
    bucket: str, manifest_key: str, added: Sequence[FileRecord], operation: str | None = None
) -> tuple[Dataset, ...]:
    files = [Dataset(f"s3://{bucket}", file.key, made_of(file, operation)) for file in added]
    if added:
        files.append(Dataset(f"s3://{bucket}", manifest_key, Made("manifest", content_type="application/json")))
    return tuple(files)


def made_of(file: FileRecord, operation: str | None = None) -> Made:
    """Return what is known of an archived file.

    :param operation: what has made it; None: the song or its cover, by its kind.
    """
    kind = operation or (COVER.name if file.kind == "cover" else MUSIC.name)
    return Made(
        kind=file.kind,
        task_id=file.task_id,
        made_from=at_kie(kind, file.task_id) if file.task_id else None,
        expires_at=file.expires_at.isoformat() if file.expires_at else None,
        position=file.position,
        size=file.size,
        sha256=file.sha256,
        content_type=file.content_type,
        audio_id=file.audio_id,
    )
