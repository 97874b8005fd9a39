"""Distributors' requirements for a release, as a table; each row names its source. As of November 2026.

A release is checked against every row, so that a rejection is found before the upload.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MB = 1024 * 1024


@dataclass(frozen=True)
class Distributor:
    """What one distributor asks.

    :param name: as it calls itself.
    :param source: the page that says so.
    :param image_types: MIME types of the cover; empty: it does not say.
    :param pixels: shortest and longest side of the cover; 0: any.
    :param max_image_bytes: 0 where it names none.
    :param audio_types: MIME types of a track; empty: it does not say.
    :param min_rate: samples a second.
    :param depths: bits a sample; empty: it does not say.
    :param forms: samples a second and bits a sample, where it takes these pairs alone.
    :param channels: 0 where it does not say.
    :param untagged: it refuses files with embedded tags.
    :param upscaled: False: it asks for pictures that were not enlarged.
    :param fields: of ``metadata.json``, without which it takes no release; the AI disclosure is ``ai``.
    """

    name: str
    source: str
    image_types: tuple[str, ...] = ()
    pixels: tuple[int, int] = (0, 0)
    max_image_bytes: int = 0
    audio_types: tuple[str, ...] = ()
    min_rate: int = 0
    depths: tuple[int, ...] = ()
    forms: tuple[tuple[int, int], ...] = ()
    channels: int = 0
    untagged: bool = False
    upscaled: bool = True
    fields: tuple[str, ...] = ()


_JPEG = ("image/jpeg",)
_LOSSLESS = ("audio/wav", "audio/flac", "audio/aiff")

_BASIC = ("title", "artist", "genre", "release_date")

DISTRIBUTORS = (
    Distributor(
        "iMusician",
        "https://imusician.pro/en/support/faqs/article/what-kind-of-artwork-should-i-use",
        image_types=_JPEG,
        pixels=(3000, 0),
    ),
    Distributor(
        "iMusician (credits)",
        "https://imusician.pro/en/support/faqs/article/which-credits-are-essential-for-a-release",
        fields=("artist", "p_line", "c_line"),
    ),
    Distributor(
        "Ditto",
        "https://support.dittomusic.com/en/support/solutions/articles/11000070628",
        image_types=("image/jpeg", "image/png"),
        pixels=(3000, 0),
    ),
    Distributor(
        "boomkit",
        "https://support.boomkit.me/docs/what-format-does-my-artwork-need-to-be-in/",
        image_types=("image/jpeg", "image/png", "image/gif"),
        pixels=(3000, 0),
    ),
    Distributor(
        "hearyoumusic",
        "https://hearyoumusic.com/faqs?include_category=distribution-requirements",
        pixels=(3000, 0),
        upscaled=False,
    ),
    Distributor(
        "Sundesire",
        "https://sundesiremedia.com/en/faq/publishmusic/artworks",
        image_types=_JPEG,
        pixels=(3000, 0),
        upscaled=False,
    ),
    Distributor(
        "FreshTunes",
        "https://wiki.freshtunes.com/en/freshtunes/creating-managing-release/coverart-req",
        image_types=("image/jpeg", "image/png"),
        pixels=(1400, 3000),
        max_image_bytes=10 * MB,
    ),
    Distributor(
        "Labelcaster",
        "https://guidance.labelcaster.com/en/articles/release-files-assets-requirements",
        image_types=("image/jpeg", "image/png"),
        pixels=(3000, 0),
        audio_types=("audio/wav",),
        forms=((44_100, 16), (44_100, 24), (48_000, 24), (96_000, 24)),
        channels=2,
        fields=("writers", "release_date", "genre", "language"),
    ),
    Distributor(
        "DistroKid",
        "https://support.distrokid.com/hc/en-us/categories/360001857214-Uploading",
        image_types=_JPEG,
        pixels=(3000, 3000),
        fields=(*_BASIC, "writers", "explicit"),
    ),
    Distributor(
        "DistroKid (as its users check it)",
        "https://github.com/elirancv/DistroKid-Release-Packer",
        pixels=(3000, 3000),
        max_image_bytes=5 * MB,
    ),
    Distributor(
        "AMM",
        "https://help.amm.lol/en/articles/13639325-release-requirements-validation",
        image_types=("image/jpeg", "image/png"),
        pixels=(3000, 3000),
        audio_types=("audio/wav", "audio/flac"),
        fields=(*_BASIC, "p_line", "c_line", "writers"),
    ),
    Distributor(
        "melabel",
        "https://melabel.io/knowledge-base/audio-file-requirements/",
        audio_types=("audio/wav",),
        forms=((44_100, 16),),
        channels=2,
    ),
    Distributor(
        "Symphonic",
        "https://support.symdistro.com/hc/en-us/articles/213074303-Audio-File-Specifications-for-Distribution",
        audio_types=_LOSSLESS,
        min_rate=44_100,
        depths=(16, 24),
        channels=2,
        untagged=True,
    ),
    Distributor(
        "Spotify (direct delivery)",
        "https://providersupport.spotify.com/article/building-a-package",
        image_types=("image/jpeg", "image/png", "image/tiff"),
        pixels=(640, 0),
        audio_types=("audio/wav", "audio/flac"),
        min_rate=44_100,
        depths=(16, 24),
        channels=2,
        untagged=True,
    ),
    Distributor(
        "Spotify (AI credits, through distributors' forms)",
        "https://dynamoi.com/learn/ai-music-distribution/spotify-ddex-ai-disclosure",
        fields=("ai",),
    ),
    Distributor(
        "musicmyband",
        "https://help.musicmyband.com/knowledge-base/audio-files-requirements/",
        audio_types=("audio/wav", "audio/flac"),
        min_rate=44_100,
        depths=(16, 24),
        channels=2,
    ),
)


@dataclass(frozen=True)
class Picture:
    """What a cover is.

    :param content_type: MIME type.
    :param width: pixels.
    :param height: pixels.
    :param mode: colour mode as Pillow names it; distributors take RGB.
    :param size: bytes.
    :param upscaled: it was enlarged.
    """

    content_type: str
    width: int
    height: int
    mode: str
    size: int
    upscaled: bool


@dataclass(frozen=True)
class Sound:
    """What a track is.

    :param content_type: MIME type.
    :param rate: samples a second.
    :param depth: bits a sample.
    :param channels: how many.
    :param tagged: the file holds more than sound.
    """

    content_type: str
    rate: int
    depth: int
    channels: int
    tagged: bool


def refused_pictures(picture: Picture) -> Iterable[str]:
    """Return a sentence for each reason why a distributor refuses a cover."""
    if picture.width != picture.height:
        yield f"The cover has {picture.width} by {picture.height} pixels; all distributors require a square."
    if picture.mode != "RGB":
        yield f"The cover's colour mode is {picture.mode}; distributors require RGB."
    side, form = min(picture.width, picture.height), picture.content_type
    for row in DISTRIBUTORS:
        least, most = row.pixels
        if row.image_types and form not in row.image_types:
            yield f"{row.name} accepts covers as {_list(row.image_types)}, not as {form}."
        if side < least or (most and side > most):
            asked = f"exactly {least}" if least == most else f"at least {least}" if side < least else f"at most {most}"
            yield f"{row.name} requires covers of {asked} pixels per side; this one has {side}."
        if row.max_image_bytes and picture.size > row.max_image_bytes:
            yield f"{row.name} accepts covers up to {row.max_image_bytes // MB} MB; this one has {picture.size:,} B."
        if picture.upscaled and not row.upscaled:
            yield f"{row.name} rejects enlarged pictures; this one was enlarged."


def refused_sounds(sound: Sound, where: str) -> Iterable[str]:
    """Return a sentence for each reason why a distributor refuses a track.

    :param where: which track, at the start of each sentence.
    """
    for row in DISTRIBUTORS:
        if not row.audio_types:
            continue
        if sound.content_type not in row.audio_types:
            yield f"{where}: {row.name} accepts {_list(row.audio_types)}, not {sound.content_type}."
            continue
        if sound.rate < row.min_rate:
            yield f"{where}: {row.name} requires {row.min_rate:,} Hz; this one has {sound.rate:,} Hz."
        if row.depths and sound.depth not in row.depths:
            yield f"{where}: {row.name} requires {' or '.join(map(str, row.depths))} bits; this one has {sound.depth}."
        if row.forms and (sound.rate, sound.depth) not in row.forms:
            taken = " or ".join(f"{depth} bits at {rate:,} Hz" for rate, depth in row.forms)
            yield f"{where}: {row.name} requires {taken}; this one has {sound.depth} bits at {sound.rate:,} Hz."
        if row.channels and sound.channels != row.channels:
            yield f"{where}: {row.name} requires {row.channels} channels; this one has {sound.channels}."
        if sound.tagged and row.untagged:
            yield f"{where}: {row.name} rejects files with embedded tags."


def who_asks_for(missing: str) -> str:
    """Return the distributors that take no release without a field, as people read them; empty: none says so.

    :param missing: as ``metadata.json`` lists it, such as ``title``, ``tracks[1].writers`` or ``tracks[1].ai.lyrics``.
    """
    name = missing.rpartition("]")[2].lstrip(".").partition(".")[0]
    asking = {"wav": [row for row in DISTRIBUTORS if row.audio_types]}
    return ", ".join(row.name for row in asking.get(name) or [row for row in DISTRIBUTORS if name in row.fields])


def _list(types: tuple[str, ...]) -> str:
    names = [name.partition("/")[2].upper() for name in types]
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
