"""The operations that KIE's pages describe in the unified form: a row for each, beside those of the dedicated form."""

from __future__ import annotations

from collections.abc import Mapping

from kie_simulator.catalogue import models
from kie_simulator.operations import BY_KIND, MUSIC_KINDS, Operation, Source
from kie_simulator.readings import Family
from kie_simulator.tasks import Task
from kie_simulator.unified import results
from kie_simulator.unified.record import Result, market_family, suno_family

CREATE = "/api/v1/jobs/createTask"
DETAILS = "/api/v1/jobs/recordInfo"
DETAILS_PATHS = (DETAILS, "/api/v1/playground/recordInfo")
SUNO = "ai-music-api/"

_SECONDS = (("", (0.0, 0.0)), ("", (2.0, 6.0)), ("", (12.0, 40.0)))
_NO_RECORD = (422, "Record does not exist")
_NO_VIDEO = (422, "The record does not exist")
_OF_TRACK = Source("task_id", MUSIC_KINDS, _NO_RECORD, audio_field="audio_id")
_VIDEOS = ("veo", "veo_extend")
_OF_VIDEO = Source("task_id", _VIDEOS, _NO_VIDEO)
_PHRASES = Source("task_id", ("voice_validate", "voice_regenerate"), _NO_RECORD)
_WORDS = Source("task_id", MUSIC_KINDS, (422, "The corresponding record does not exist"), audio_field="audio_id")
_MUSIC = Source("task_id", MUSIC_KINDS, (422, "Music does not exist"), audio_field="audio_id")
_SONG = Source("task_id", MUSIC_KINDS, (422, "Original music record does not exist"))
_STEMS = Source("task_id", ("vocal_removal",), _NO_RECORD)
_VOICE = Source("task_id", ("voice_generate",), _NO_RECORD)
_RECOVERY = Source("task_id", MUSIC_KINDS, (500, "The original Suno task does not exist."))
_RUNWAY = Source("task_id", ("runway", "runway_extend"), _NO_VIDEO)
_ONCE = (200, "success")

Row = tuple[str, str, Result, Source | None]

# kind of the dedicated form, model, result, source
_SUNO_ROWS: tuple[Row, ...] = (
    ("music", "generate", results.songs, None),
    ("extend", "extend", results.songs, None),
    ("upload_cover", "upload-and-cover-audio", results.songs, None),
    ("upload_extend", "upload-and-extend-audio", results.songs, None),
    ("add_instrumental", "add-instrumental", results.songs, None),
    ("add_vocals", "add-vocals", results.songs, None),
    ("replace_section", "replace-section", results.songs, _OF_TRACK),
    ("mashup", "mashup", results.songs, None),
    ("sounds", "sounds", results.songs, None),
    ("lyrics", "generate-lyrics", results.lyrics, None),
    ("timestamped_lyrics", "timeStamped-lyrics", results.words, _WORDS),
    ("style", "boost-music-style", results.style, None),
    ("wav", "convert-to-wav-format", results.urls, _OF_TRACK),
    ("mp4", "create-music-video", results.urls, _OF_TRACK),
    ("cover", "cover-generate", results.cover, _SONG),
    ("persona", "generate-persona", results.persona, _MUSIC),
    ("vocal_removal", "separate-vocals", results.urls, _OF_TRACK),
    ("midi", "generate-midi-from-audio", results.midi, _STEMS),
    ("recovery", "suno-recovery-audio", results.songs, _RECOVERY),
    ("voice_validate", "validation-phrase", results.phrase, None),
    ("voice_regenerate", "regenerate-phrase", results.phrase, _PHRASES),
    ("voice_generate", "create-voice", results.voice, _PHRASES),
    ("check_voice", "check-voice", results.voice_check, _VOICE),
)
_MODEL_ROWS: tuple[Row, ...] = (
    ("veo", "veo-3-1", results.urls, None),
    ("veo_extend", "veo/extend", results.urls, _OF_VIDEO),
    # This page alone spells the field as the dedicated form does.
    ("veo_1080p", "veo/get-1080p-video", results.urls, Source("taskId", _VIDEOS, _NO_VIDEO)),
    ("veo_4k", "veo/get-4k-video", results.urls, _OF_VIDEO),
    ("runway", "runway", results.urls, None),
    ("runway_extend", "runway/extend-ai-video", results.urls, _RUNWAY),
    ("aleph", "runway/gen4-aleph", results.urls, None),
    ("gpt4o_image", "4o-image-api", results.urls, None),
    ("flux_kontext", "flux1-kontext", results.urls, None),
)


def _operation(row: Row, model: str, family: Family) -> Operation:
    kind, _, _, source = row
    once = _ONCE if kind in ("cover", "wav") else None
    return Operation(
        kind,
        CREATE,
        DETAILS,
        family,
        ("model", "input"),
        callback_refusal="",
        source=source,
        once=once,
        market=True,
        model=model,
        songs=row[2] is results.songs,
    )


def _suno(row: Row) -> Operation:
    kind, name, result, _ = row
    dedicated = BY_KIND[kind].family if kind in BY_KIND else None
    files = dedicated.files if dedicated else ()
    seconds = dedicated.stages if dedicated else _SECONDS
    return _operation(row, SUNO + name, suno_family(seconds, result, files, dedicated))


def _model(row: Row) -> Operation:
    kind, name, result, _ = row
    seconds = BY_KIND[kind].family.stages if kind in BY_KIND else _SECONDS
    return _operation(row, name, market_family(seconds, result, models()[name].files))


UNIFIED: Mapping[str, Operation] = {
    operation.model: operation for operation in (*map(_suno, _SUNO_ROWS), *map(_model, _MODEL_ROWS))
}


def operation_of(task: Task) -> Operation:
    """Return the operation that a task is one of, in the form in which it was asked for."""
    return UNIFIED.get(task.model) or BY_KIND[task.kind]


def asked_operation(operation: Operation, model: object) -> Operation:
    """Return the operation that a create asks for: at ``createTask`` the model decides.

    :param operation: that of the path.
    :param model: the body's ``model``.
    """
    return UNIFIED.get(str(model), operation) if operation.market else operation


def family_at(details_path: str, task: Task) -> Family:
    """Return the family in whose words a details endpoint shows a task."""
    operation = operation_of(task)
    rows = (operation, *UNIFIED.values(), *BY_KIND.values())
    return next(row.family for row in rows if row.kind == task.kind and _same_endpoint(row.details_path, details_path))


def _same_endpoint(path: str, other: str) -> bool:
    return path == other or (path in DETAILS_PATHS and other in DETAILS_PATHS)


def readable(task: Task, details_path: str, *, across: bool) -> bool:
    """Return whether a details endpoint knows a task.

    :param across: whether it also knows the tasks of the same operation in the other form.
    """
    rows = [operation_of(task)]
    if across:
        rows += [row for row in (*UNIFIED.values(), *BY_KIND.values()) if row.kind == task.kind]
    return any(_same_endpoint(row.details_path, details_path) for row in rows)
