"""What is stored of a release: ``metadata.json`` for the distributor, ``manifest.json`` for everybody who checks it.

What is not known is listed in ``missing``; nothing is invented.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field

from airflow_kie.archive.manifest import AirflowRecord
from airflow_kie.archive.record_base import Record, StoredRecord, UtcTime

_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*|zxx")
Disclosure = Literal["none", "assisted", "generated"]


def _isrc(text: str) -> str:
    plain = text.replace("-", "").replace(" ", "").upper()
    if not _ISRC.fullmatch(plain):
        raise ValueError("an ISRC has two letters, three letters or digits, and seven digits, such as QZ-ABC-26-00001")
    return plain


def _upc(text: str) -> str:
    plain = text.replace(" ", "").replace("-", "")
    digits = [int(digit) for digit in plain] if plain.isascii() and plain.isdigit() else []
    weighted = sum(digit * (3 if n % 2 else 1) for n, digit in enumerate(reversed(digits)))
    if len(digits) not in {12, 13} or weighted % 10:
        raise ValueError("a UPC or EAN has 12 or 13 digits, and the last one is the check digit")
    return plain


def _language(text: str) -> str:
    if not _LANGUAGE.fullmatch(text):
        raise ValueError("a language is a code such as en, de or pt-BR; zxx for a song without words")
    return text


def _nothing(value: Any) -> Any:
    """Take an empty text, as forms give it, for nothing."""
    return None if isinstance(value, str) and not value.strip() else value


_Blank = BeforeValidator(_nothing)
_Words = Annotated[str, Field(min_length=1, max_length=300)]
Text = Annotated[_Words | None, _Blank]
Isrc = Annotated[Annotated[str, AfterValidator(_isrc)] | None, _Blank]
Upc = Annotated[Annotated[str, AfterValidator(_upc)] | None, _Blank]
Language = Annotated[Annotated[str, AfterValidator(_language)] | None, _Blank]
Choice = Annotated[Disclosure | None, _Blank]


class Writer(Record):
    """Who has written a song, as a legal name."""

    name: str = Field(min_length=1, max_length=300)
    role: Literal["composer", "lyricist", "composer and lyricist"] = "composer and lyricist"


class AiDisclosure(Record):
    """How a model took part, by part; null where it is not known."""

    vocals: Choice = None
    music: Choice = None
    lyrics: Choice = None
    cover: Choice = None


class Credits(Record):
    """What a release and each of its tracks may say of itself; a track's own word goes before the release's."""

    artist: Text = None
    genre: Text = None
    language: Language = Field(default=None, description="BCP 47; zxx: no words.")
    explicit: bool | None = None
    writers: tuple[Writer, ...] = ()
    p_line: Text = Field(default=None, description="℗ line, such as 2026 Example Records.")
    ai: AiDisclosure = AiDisclosure()


class Track(Credits):
    """One track of a release.

    ``title``, ``version`` (such as Radio Edit) and ``isrc`` are a track's own.
    """

    position: int = Field(default=1, ge=1)
    music_task_id: str
    title: Text = None
    version: Text = None
    isrc: Isrc = None
    wav: str | None = Field(default=None, description="Name of the untagged WAV in the folder.")
    mp3: str | None = Field(default=None, description="Name of the tagged copy for listening.")
    sample_rate: int | None = Field(default=None, description="Samples a second, as the WAV has them.")
    bit_depth: int | None = None
    duration_seconds: float | None = None


class Release(Credits):
    """``metadata.json``: what a distributor's form asks for."""

    schema_version: int = Field(default=1, ge=1)
    name: str
    title: Text = None
    label: Text = None
    upc: Upc = None
    c_line: Text = Field(default=None, description="© line.")
    release_date: Annotated[date | None, _Blank] = None
    cover: str | None = Field(default=None, description="Name of the cover in the folder.")
    cover_upscaled: bool | None = Field(default=None, description="It was enlarged from a smaller picture.")
    cover_upscaled_with: str | None = Field(default=None, description="Lanczos, a model of KIE's, or both.")
    tracks: tuple[Track, ...] = ()
    missing: tuple[str, ...] = Field(default=(), description="What a distributor asks for and nobody has filled in.")

    def with_missing(self) -> Self:
        """Return the release with the list of what it lacks."""
        return self.changed(missing=tuple(missing_in(self)))


_OF_RELEASE = ("title", "artist", "genre", "release_date", "p_line", "c_line", "cover")
_OF_TRACK = ("title", "artist", "genre", "language", "explicit", "writers", "wav")


def missing_in(release: Release) -> Iterable[str]:
    """Return what a release lacks, as the names of its fields. ISRC, UPC and label are given by most distributors."""
    yield from (name for name in _OF_RELEASE if getattr(release, name) in (None, ""))
    for track in release.tracks:
        own = {name: value for name, value in dict(track).items() if value not in (None, "", ())}
        yield from (
            f"tracks[{track.position}].{name}"
            for name in _OF_TRACK
            if name not in own and (name in {"title", "wav"} or getattr(release, name) in (None, "", ()))
        )
        disclosed = dict(release.ai) | {part: word for part, word in dict(track.ai).items() if word}
        yield from (f"tracks[{track.position}].ai.{part}" for part, word in disclosed.items() if word is None)


class DeliveredFile(Record):
    """One file of a release, and what it was made from."""

    name: str = Field(description="Its name in the folder.")
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    content_type: str
    made_from: str | None = Field(default=None, description="Key of the archived file; null: made from the records.")
    made_from_sha256: str | None = None
    how: str = Field(description="What was done: copied without tags, tagged, enlarged, fitted, written.")
    enlarged_from: str | None = Field(default=None, description="Key of the song's cover that KIE has enlarged.")
    enlarged_from_sha256: str | None = None


class ReleaseManifest(StoredRecord):
    """``manifest.json``: written last, so a release without it was not delivered."""

    ID_FIELD: ClassVar[str] = "name"
    name: str
    songs: tuple[str, ...] = Field(description="Music task ids, in the order of the tracks.")
    files: tuple[DeliveredFile, ...]
    missing: tuple[str, ...] = ()
    airflow: AirflowRecord = AirflowRecord()
    digital_source_type: str = "trainedAlgorithmicMedia"
    delivered_at: UtcTime

    @staticmethod
    def key_of(keys: Any) -> str:
        """Return the key at which a release's manifest is stored."""
        return str(keys.manifest)

    def is_same(self, other: Self | None) -> bool:
        """Return whether another delivery has the same songs, files and gaps."""
        return other is not None and (self.songs, self.files, self.missing) == (other.songs, other.files, other.missing)


def credits_from(values: Mapping[str, object]) -> dict[str, Any]:
    """Return those of a song's labels, or of the settings, that metadata has a field for.

    :param values: names and texts; ``ai_vocals`` and the like belong to the disclosure, ``writers`` are names with
        commas.
    """
    known: dict[str, Any] = {name: values[name] for name in _LABELS if values.get(name) not in (None, "")}
    if isinstance(names := known.get("writers"), str):
        known["writers"] = [{"name": name.strip()} for name in names.split(",") if name.strip()]
    ai = {part: values[f"ai_{part}"] for part in AiDisclosure.model_fields if values.get(f"ai_{part}")}
    return known | ({"ai": ai} if ai else {})


_LABELS = (
    *("artist", "genre", "language", "explicit", "writers", "p_line"),
    *("title", "version", "isrc", "label", "upc", "c_line", "release_date"),
)
