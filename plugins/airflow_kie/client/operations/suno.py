"""Suno: music, covers and lyrics, in both API variants (docs.kie.ai suno-api and old-model/suno-api)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_kie.client import errors
from airflow_kie.client.operations.market import made
from airflow_kie.client.operations.music_limits import DISCONTINUED, LIMITS
from airflow_kie.client.operations.operation import (
    CallOperation,
    Medium,
    Minimum,
    Parent,
    ResultRow,
    State,
    TaskOperation,
    Timing,
)
from airflow_kie.client.operations.unified import in_both_forms


def states(*failed: str, running: tuple[str, ...] = ()) -> Mapping[str | int, State]:
    """Return the state words that all of these operations share, and an operation's own."""
    return {
        **dict.fromkeys(("PENDING", *running), State.RUNNING),
        "SUCCESS": State.SUCCEEDED,
        "CALLBACK_EXCEPTION": State.UNDELIVERED,
        **dict.fromkeys(("CREATE_TASK_FAILED", *failed), State.FAILED),
    }


SONG = Parent("taskId", "suno.music")
_TRACK = Parent("audioId", "suno.music", readable=False)
_TRACKS = "to_array(from_json(response).sunoData)"
_TRACK_FIELDS = """{audio_id: id, audio_url: audioUrl, image_url: imageUrl, lyrics: prompt, title: title, tags: tags,
    model: modelName, duration_seconds: duration}"""

_MADE_TRACKS = f"to_array({made('data')})"
_MADE_TRACK = """{audio_id: id, audio_url: audio_url, image_url: image_url, lyrics: prompt, title: title, tags: tags,
    model: model_name, duration_seconds: duration}"""
SONGS: dict[str, Any] = {
    "tracks": f"{_MADE_TRACKS}[?type(@) == 'object'].{_MADE_TRACK}",
    "defaults": {"model": "V6"},
    "discontinued": DISCONTINUED,
}
"""The unified API variant of all operations that make songs (one recorded task of ``sounds``, 2026-09-27)."""
SONG_MODELS = tuple(
    f"ai-music-api/{name}"
    for name in (
        *("generate", "extend", "upload-and-cover-audio", "upload-and-extend-audio", "add-instrumental", "add-vocals"),
        *("replace-section", "mashup", "sounds", "suno-recovery-audio"),
    )
)
"""Models that make songs: in the dedicated API variant one endpoint reads them all."""
MADE_SONGS = ResultRow("track", f"{_MADE_TRACKS}[].audio_url", Medium.AUDIO)

_MUSIC = TaskOperation(
    name="suno.music",
    title="Generate Music",
    page="suno-api/generate-music",
    create="/api/v1/generate",
    details="/api/v1/generate/record-info",
    required=("customMode", "instrumental", "model"),  # a custom instrumental has no prompt
    state_path="status",
    states=states("GENERATE_AUDIO_FAILED", "SENSITIVE_WORD_ERROR", running=("TEXT_SUCCESS", "FIRST_SUCCESS")),
    results=(ResultRow("track", f"{_TRACKS}[].audioUrl", Medium.AUDIO),),
    shape_known=True,
    tracks=f"{_TRACKS}[?type(@) == 'object'].{_TRACK_FIELDS}",
    running_errors=True,
    details_errors={400: errors.KieContentRejected, 413: errors.KieContentRejected},
    # V5_5 is the newest that was measured in this form (September 2026).
    defaults={"model": "V5_5", "customMode": False, "instrumental": False},
    discontinued=DISCONTINUED,
    timing=Timing(first_read=20, typical=120),
)
MUSIC = in_both_forms(
    _MUSIC,
    "ai-music-api/generate",
    MADE_SONGS,
    also_reads=SONG_MODELS,
    **SONGS
    | {
        "defaults": {**_MUSIC.defaults, **SONGS["defaults"]},
        # A prompt alone is too little by the wording of the schema; nobody has seen whether KIE minds.
        "minimum": Minimum(
            one_of=("style", "lyrics", "negativeTags", "imageUrls", "videoUrls", "audioUrls"),
            prompt_as={True: ("lyrics", LIMITS["V6"][0]), False: ("style", LIMITS["V6"][1])},
        ),
    },
)

_COVER = TaskOperation(
    name="suno.cover",
    title="Generate Music Cover",
    page="suno-api/cover-suno",
    create="/api/v1/suno/cover/generate",
    details="/api/v1/suno/cover/record-info",
    parent=SONG,
    once_per=("taskId",),
    required=("taskId",),
    # Here 2 is "generating", unlike MIDI and Veo. The page's schema names the numbers and its prose the words.
    states={
        0: State.RUNNING,
        1: State.SUCCEEDED,
        2: State.RUNNING,
        3: State.FAILED,
        **states("GENERATE_COVER_FAILED"),
    },
    results=(ResultRow("cover", "to_array(response.images)[]", Medium.IMAGE),),
    shape_known=True,
    parent_path="parentTaskId",
    free=True,
    duplicate_codes=frozenset({400, 409}),
    timing=Timing(first_read=8, typical=45, timeout=20 * 60),
)
COVER = in_both_forms(
    _COVER,
    "ai-music-api/cover-generate",
    # Nobody has recorded one: the first is by analogy with music videos, the others are what clients read.
    ResultRow("cover", f"to_array({made('resultUrls', 'images', 'data.images', 'data[].image_url')})[]", Medium.IMAGE),
)


def _music_from(
    name: str, title: str, page: str, *required: str, model: str, once_per: str, unsent: str, **more: Any
) -> TaskOperation:
    """Return the row of an operation that makes music of something, and is read where music is read.

    :param model: its model in the unified API variant, without the family.
    :param unsent: the field of the dedicated API variant that the unified one no longer has.
    """
    dedicated = replace(
        _MUSIC,
        name=f"suno.{name}",
        title=title,
        page=f"suno-api/{page}",
        create=f"/api/v1/generate/{name.replace('_', '-')}",
        once_per=(once_per,),
        required=(once_per, *required, "model"),
        defaults={"model": _MUSIC.defaults["model"]},
        shape_known=False,
        **more,
    )
    return in_both_forms(
        dedicated,
        f"ai-music-api/{model}",
        MADE_SONGS,
        unsent=frozenset({unsent}),
        **SONGS,
    )


EXTEND = _music_from(
    "extend",
    "Extend Music",
    "extend-music",
    "defaultParamFlag",
    model="extend",
    once_per="audioId",
    unsent="defaultParamFlag",
    parent=_TRACK,
    by_request=True,  # with other words, or from another second on, it is another task
)
UPLOAD_COVER = _music_from(
    "upload_cover",
    "Upload And Cover Audio",
    "upload-and-cover-audio",
    "customMode",
    "instrumental",
    model="upload-and-cover-audio",
    once_per="uploadUrl",
    unsent="customMode",
)
UPLOAD_EXTEND = _music_from(
    "upload_extend",
    "Upload And Extend Audio",
    "upload-and-extend-audio",
    "defaultParamFlag",
    model="upload-and-extend-audio",
    once_per="uploadUrl",
    unsent="defaultParamFlag",
)


_LYRICS = TaskOperation(
    name="suno.lyrics",
    title="Generate Lyrics",
    page="suno-api/generate-lyrics",
    create="/api/v1/lyrics",
    details="/api/v1/lyrics/record-info",
    required=("prompt",),
    state_path="status",
    states=states("GENERATE_LYRICS_FAILED", "SENSITIVE_WORD_ERROR"),
    results=(ResultRow("lyrics", "to_array(response.data)[].text", Medium.TEXT, inline=True),),
    create_errors={  # this page has a code list of its own: 405 and 430 are the rate limit, 429 is an empty account
        405: errors.KieRateLimited,
        413: errors.KieContentRejected,
        429: errors.KieOutOfCredits,
        430: errors.KieRateLimited,
    },
    timing=Timing(first_read=5, typical=20, timeout=10 * 60),
)
LYRICS = in_both_forms(
    _LYRICS,
    "ai-music-api/generate-lyrics",
    ResultRow("lyrics", f"to_array({made('resultObject.lyricsData')})[].text", Medium.TEXT, inline=True),
)
STYLE = CallOperation(
    "style",
    "Boost Music Style",
    "suno-api/boost-music-style",
    "/api/v1/style/generate",
    required=("content",),
    model="ai-music-api/boost-music-style",
)
