"""Short melodies as playable audio files, drawn from a seed."""

from __future__ import annotations

import array
import io
import math
import random
import wave

import lameenc

_RATE = 22050
_BEAT = 0.3
_BEATS = 12
_FADE = 0.9
SECONDS = _BEAT * _BEATS + _FADE
"""How long a melody plays."""
_SCALES = ((0, 2, 4, 7, 9), (0, 3, 5, 7, 10), (0, 2, 5, 7, 9))
_ROOTS = (196.0, 220.0, 246.94, 261.63)
# Three partials, each quieter and shorter than the one before: a soft mallet sound.
_PARTIALS = ((1.0, 0.55, 3.0), (2.0, 0.22, 5.0), (4.0, 0.08, 9.0))


def _tone(frequency: float, seconds: float) -> list[float]:
    count = int(_RATE * seconds)
    out = [0.0] * count
    for multiple, level, decay in _PARTIALS:
        step = 2 * math.pi * frequency * multiple / _RATE
        fade, loss = level, math.exp(-decay / _RATE)
        for i in range(count):
            out[i] += math.sin(step * i) * fade
            fade *= loss
    attack = _RATE // 200
    for i in range(min(attack, count)):
        out[i] *= i / attack
    return out


def _samples(seed: str) -> bytes:
    rng = random.Random(seed)  # noqa: S311 - picks tones, protects nothing
    scale, root, degree = rng.choice(_SCALES), rng.choice(_ROOTS), rng.randrange(5)
    mix = [0.0] * int(_RATE * SECONDS)
    tones: dict[int, list[float]] = {}
    for beat in range(_BEATS):
        degree = max(0, min(9, degree + rng.choice((-2, -1, -1, 1, 1, 2))))
        if degree not in tones:
            tones[degree] = _tone(root * 2 ** ((scale[degree % 5] + 12 * (degree // 5)) / 12), _FADE)
        start = int(_RATE * _BEAT * beat)
        for i, value in enumerate(tones[degree]):
            mix[start + i] += value
    peak = max(1e-9, max(map(abs, mix)))
    return array.array("h", (int(value / peak * 26000) for value in mix)).tobytes()


def render_mp3(seed: str) -> bytes:
    """Return about four seconds of melody as MP3."""
    encoder = lameenc.Encoder()
    encoder.set_bit_rate(64)
    encoder.set_in_sample_rate(_RATE)
    encoder.set_channels(1)
    encoder.set_quality(7)
    encoder.silence()
    return bytes(encoder.encode(_samples(seed))) + bytes(encoder.flush())


def render_wav(seed: str) -> bytes:
    """Return about four seconds of melody as WAV."""
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_RATE)
        sound.writeframes(_samples(seed))
    return out.getvalue()
