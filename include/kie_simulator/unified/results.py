"""What a finished task of the unified form has made: the content of ``resultJson``, for each kind of result.

Seen: songs, lyrics, WAV and music videos. KIE's skill text names ``resultUrls`` for stems and covers too, and
``resultObject`` for MIDI. The other shapes are guesses.
"""

from __future__ import annotations

from kie_simulator.readings import Reading
from kie_simulator.songs import invent_lyrics
from kie_simulator.tasks import Json, Track, given

_MODEL_NAMES = {"V6": "chirp-hawk", "V6_MINI": "chirp-goose", "V6_WILD": "chirp-hawk-wild"}
_MODEL_NAMES |= {"V5_5": "chirp-fenix", "V5": "chirp-crow"}
_MEDIA = ("image", "upscaled", "audio", "wav", "video")


def suno_model(reading: Reading) -> str:
    """Return Suno's own name of the version that was asked for."""
    return _MODEL_NAMES.get(str(given(reading.task).get("model", "V6")), "chirp-auk-turbo")


def _song(reading: Reading, track: Track) -> Json:
    return {
        "id": track.audio_id,
        "title": track.title,
        "duration": track.duration,
        "audio_url": reading.link(track.audio),
        "stream_audio_url": reading.link(track.stream),
        "image_url": reading.link(track.image),
        "model_name": suno_model(reading),
        "prompt": track.prompt,
        "tags": track.tags,
        "createTime": reading.created_ms(),
    }


def songs(reading: Reading) -> Json:
    """Return two songs, within an envelope of their own (recorded)."""
    made = [_song(reading, track) for track in reading.task.tracks]
    return {"code": 200, "msg": "success", "task_id": reading.task.id, "data": made}


def urls(reading: Reading) -> Json:
    """Return the files, in order."""
    return {"resultUrls": [reading.link(file) for file in reading.task.files if file.role in _MEDIA]}


def cover(reading: Reading) -> Json:
    """Return the pictures of a cover, in the shape that is switched on: nobody has recorded one."""
    pictures = reading.links("image")
    nested = {"code": 200, "msg": "success", "task_id": reading.task.id, "data": {"images": pictures}}
    shapes: dict[str, Json] = {"images": {"images": pictures}, "nested": nested}
    return shapes.get(reading.cover_result, {"resultUrls": pictures})


def lyrics(reading: Reading) -> Json:
    """Return two texts (observed)."""
    texts = [{"text": invent_lyrics(f"{reading.task.id}/{n}"), "title": reading.task.title} for n in range(2)]
    return {"resultObject": {"lyricsData": texts}}


def midi(reading: Reading) -> Json:
    """Return notes; what is within ``resultObject`` is that of the dedicated form, a guess."""
    notes = [{"pitch": 60, "start": 0.0, "end": 0.4, "velocity": 0.8}]
    return {"resultObject": {"state": "complete", "instruments": [{"name": "Piano", "notes": notes}]}}


def words(reading: Reading) -> Json:
    """Return a song's words with their times: two clients tell of camelCase and of snake_case."""
    text = invent_lyrics(reading.task.source_id.partition("/")[0]).split()
    aligned = [
        {"word": word, "success": True, "startS": round(n * 0.6, 2), "endS": round(n * 0.6 + 0.5, 2), "palign": 0}
        for n, word in enumerate(text)
    ]
    return {"alignedWords": aligned, "hootCer": 0.12, "isStreamed": False}


def style(reading: Reading) -> Json:
    """Return a style, said more richly."""
    return {"result": f"{given(reading.task).get('content')}: a hushed intro, then a wide chorus with delay throws."}


def persona(reading: Reading) -> Json:
    """Return a persona's id."""
    asked = given(reading.task)
    return {"persona_id": reading.task.id, "name": asked.get("name"), "description": asked.get("description")}


def phrase(reading: Reading) -> Json:
    """Return what is to be sung to prove whose voice it is."""
    return {"validateInfo": "Streetlights hum a tune"}


def voice(reading: Reading) -> Json:
    """Return a voice's id."""
    return {"voiceId": reading.task.id[:16]}


def voice_check(reading: Reading) -> Json:
    """Return whether a voice can be used."""
    return {"isAvailable": True}
