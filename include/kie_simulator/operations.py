"""The table of KIE operations: every create endpoint is a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kie_simulator.covers import COVER
from kie_simulator.models import ALEPH, FLUX, GPT4O, INVENTED, JOBS, RUNWAY, VEO, VEO_4K
from kie_simulator.music import MUSIC
from kie_simulator.readings import Family
from kie_simulator.suno_extras import LYRICS, MIDI, MP4, RECOVERY, VOCAL, VOICE, WAV


@dataclass(frozen=True)
class Source:
    """The task that an operation is made from.

    :param field: the request field with its id.
    :param kinds: the kinds of task that it may be.
    :param audio_field: the request field with one of its audio ids, if that is asked for too.
    :param missing: code and message when the task does not exist.
    """

    field: str
    kinds: tuple[str, ...]
    missing: tuple[int, str]
    audio_field: str = ""


@dataclass(frozen=True)
class Operation:
    """One create endpoint.

    :param credits: what a task costs.
    :param tiers: what it costs by the request's ``type``.
    :param callback_field: the request field with the callback URL.
    :param callback_refusal: what KIE says when it is missing; empty where it may be missing.
    :param once: code and message for a second task of the same source; None where it is charged again.
    :param market: whether the body is ``{model, input}`` and the answer repeats the id as ``recordId``.
    :param model: the one model that the row is for.
    :param songs: whether it makes songs.
    """

    kind: str
    path: str
    details_path: str
    family: Family
    required: tuple[str, ...] = ()
    credits: float = 0.0
    tiers: Mapping[str, float] = field(default_factory=dict)
    callback_field: str = "callBackUrl"
    callback_refusal: str = "Please enter callBackUrl."
    source: Source | None = None
    once: tuple[int, str] | None = None
    market: bool = False
    model: str = ""
    songs: bool = False


MUSIC_KINDS: tuple[str, ...] = (
    "music",
    "extend",
    "upload_cover",
    "upload_extend",
    "add_instrumental",
    "add_vocals",
    "replace_section",
    "mashup",
    "sounds",
)
_API = "/api/v1"
_MUSIC_DETAILS = f"{_API}/generate/record-info"
_NO_RECORD = (422, "Record does not exist")
_OF_TRACK = Source("taskId", MUSIC_KINDS, _NO_RECORD, audio_field="audioId")
_VOICE = Source("taskId", ("voice_validate", "voice_regenerate"), _NO_RECORD)


def _music(
    kind: str, name: str, *required: str, credits: float = 12.0, callback_refusal: str = "Please enter callBackUrl."
) -> Operation:
    return Operation(
        kind,
        f"{_API}/generate/{name}" if name else f"{_API}/generate",
        _MUSIC_DETAILS,
        MUSIC,
        required,
        credits=credits,
        callback_refusal=callback_refusal,
        songs=True,
    )


def _of_track(
    kind: str, family: Family, credits: float, once: tuple[int, str] | None = None, **tiers: float
) -> Operation:
    base = f"{_API}/{kind.replace('_', '-')}"
    required = ("taskId", "audioId")
    return Operation(
        kind,
        f"{base}/generate",
        f"{base}/record-info",
        family,
        required,
        credits,
        tiers,
        source=_OF_TRACK,
        once=once,
    )


def _voice(kind: str, details: str, *required: str, field: str = "callBackUrl", of: Source | None = None) -> Operation:
    path = f"{_API}/voice/{kind.removeprefix('voice_')}"
    return Operation(
        kind,
        path,
        f"{_API}/voice/{details}",
        VOICE,
        required,
        0.0,
        callback_field=field,
        callback_refusal=f"Please enter {field}.",
        source=of,
    )


def _model(
    kind: str,
    path: str,
    details: str,
    family: Family,
    *required: str,
    credits: float,
    source: Source | None = None,
    market: bool = False,
) -> Operation:
    return Operation(kind, path, details, family, required, credits, callback_refusal="", source=source, market=market)


# Prices are those of KIE's list of October 2026; covers, MIDI and voices are free. The tiers of Veo and Kontext are not
# told apart in this form; the market's models are priced by the catalogue.
OPERATIONS: tuple[Operation, ...] = (
    _music("music", "", "prompt", "customMode", "instrumental", "model"),
    _music("extend", "extend", "defaultParamFlag", "audioId", "model"),
    _music("upload_cover", "upload-cover", "uploadUrl", "prompt", "customMode", "instrumental", "model"),
    _music("upload_extend", "upload-extend", "uploadUrl", "defaultParamFlag", "model"),
    _music("add_instrumental", "add-instrumental", "uploadUrl", "title", "negativeTags", "tags"),
    _music("add_vocals", "add-vocals", "prompt", "title", "negativeTags", "style", "uploadUrl"),
    _music(
        "replace_section",
        "replace-section",
        *("taskId", "audioId", "prompt", "tags", "title", "infillStartS", "infillEndS", "fullLyrics"),
        credits=5.0,
        callback_refusal="",
    ),
    _music("mashup", "mashup", "uploadUrlList", "customMode", "model"),
    _music("sounds", "sounds", "prompt", credits=2.5, callback_refusal=""),
    Operation(
        "cover",
        f"{_API}/suno/cover/generate",
        f"{_API}/suno/cover/record-info",
        COVER,
        ("taskId",),
        callback_refusal="Please enter callBackUrl",
        source=Source("taskId", MUSIC_KINDS, (422, "Original music record does not exist")),
        once=(400, "The cover image has already been generated for this task"),
    ),
    Operation("lyrics", f"{_API}/lyrics", f"{_API}/lyrics/record-info", LYRICS, ("prompt",), credits=0.4),
    _of_track("wav", WAV, 0.4, once=(409, "WAV record already exists")),
    _of_track("vocal_removal", VOCAL, 10.0, split_stem=50.0, split_stem_advanced=20.0),
    _of_track("mp4", MP4, 2.0),
    Operation(
        "midi",
        f"{_API}/midi/generate",
        f"{_API}/midi/record-info",
        MIDI,
        ("taskId",),
        source=Source("taskId", ("vocal_removal",), _NO_RECORD),
    ),
    _voice("voice_validate", "validate-info", "voiceUrl", "vocalStartS", "vocalEndS"),
    # The page spells the field without the second l.
    _voice("voice_regenerate", "validate-info", "taskId", field="calBackUrl", of=_VOICE),
    _voice("voice_generate", "record-info", "taskId", "verifyUrl", of=_VOICE),
    Operation(
        "recovery",
        f"{_API}/suno/recovery",
        f"{_API}/suno/recovery/record-info",
        RECOVERY,
        ("task_id",),
        callback_refusal="",
        source=Source("task_id", MUSIC_KINDS, (500, "The original Suno task does not exist.")),
    ),
    _model(
        "jobs",
        f"{_API}/jobs/createTask",
        f"{_API}/jobs/recordInfo",
        JOBS,
        "model",
        "input",
        credits=18.0,
        market=True,
    ),
    _model(
        "playground",
        f"{_API}/playground/createTask",
        f"{_API}/playground/recordInfo",
        JOBS,
        "model",
        "input",
        credits=18.0,
        market=True,
    ),
    _model(
        "gpt4o_image",
        f"{_API}/gpt4o-image/generate",
        f"{_API}/gpt4o-image/record-info",
        GPT4O,
        "size",
        credits=6.0,
    ),
    _model(
        "flux_kontext",
        f"{_API}/flux/kontext/generate",
        f"{_API}/flux/kontext/record-info",
        FLUX,
        "prompt",
        credits=5.0,
    ),
    _model("veo", f"{_API}/veo/generate", f"{_API}/veo/record-info", VEO, "prompt", credits=60.0),
    _model(
        "veo_extend",
        f"{_API}/veo/extend",
        f"{_API}/veo/record-info",
        VEO,
        "taskId",
        "prompt",
        credits=60.0,
        source=Source("taskId", ("veo", "veo_extend"), (422, "The record does not exist")),
    ),
    _model("runway", f"{_API}/runway/generate", f"{_API}/runway/record-detail", RUNWAY, "prompt", credits=12.0),
    _model(
        "runway_extend",
        f"{_API}/runway/extend",
        f"{_API}/runway/record-detail",
        RUNWAY,
        "taskId",
        "prompt",
        credits=12.0,
        source=Source("taskId", ("runway", "runway_extend"), (422, "The record does not exist")),
    ),
    _model(
        "aleph",
        f"{_API}/aleph/generate",
        f"{_API}/aleph/record-info",
        ALEPH,
        "prompt",
        "videoUrl",
        credits=110.0,
    ),
    _model("invented", f"{_API}/invented/draw", f"{_API}/invented/drawn", INVENTED, "subject", credits=7.0),
)
# Its create answers otherwise (`calls`), so the table has no row for it. Its details are those of every video of Veo's.
VEO_4K_OPERATION = _model(
    "veo_4k", f"{_API}/veo/get-4k-video", f"{_API}/veo/record-info", VEO_4K, "taskId", credits=120.0
)
BY_KIND = {operation.kind: operation for operation in (*OPERATIONS, VEO_4K_OPERATION)}
