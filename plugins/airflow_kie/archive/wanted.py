"""When is a song archived completely? When every kind of file that is asked for is in the manifest: decided here alone.

The manifest records which positions of each kind KIE has (``available``), so a kind counts as archived only when a
file stands at each of them, and a kind that KIE does not have is not asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_kie.archive.manifest import Manifest


class FileKind(StrEnum):
    """What a file is to its song."""

    COVER = "cover"
    TRACK = "track"
    LYRICS = "lyrics"


@dataclass(frozen=True)
class Wanted:
    """Which kinds of files are asked for.

    :param covers: the cover images.
    :param audio: the audio files.
    :param lyrics: the lyrics as text.
    """

    covers: bool = True
    audio: bool = False
    lyrics: bool = False

    @property
    def kinds(self) -> tuple[FileKind, ...]:
        """Return the kinds that are asked for."""
        asked = {FileKind.COVER: self.covers, FileKind.TRACK: self.audio, FileKind.LYRICS: self.lyrics}
        return tuple(kind for kind, is_asked in asked.items() if is_asked)

    def missing_in(self, manifest: Manifest | None) -> tuple[FileKind, ...]:
        """Return which kinds a song still lacks, none when it is archived completely.

        :param manifest: the song's manifest, None while there is none.
        """
        return tuple(kind for kind in self.kinds if manifest is None or not _is_archived(manifest, kind))


def _is_archived(manifest: Manifest, kind: FileKind) -> bool:
    if kind is FileKind.LYRICS and manifest.song.instrumental:
        return True
    at_kie = next((known.positions for known in manifest.available if known.kind == kind), None)
    if at_kie is None:  # nobody has asked for this kind yet
        return False
    archived = {file.position for file in manifest.files if file.kind == kind}
    # Every song has covers and tracks: where KIE names none, they are not there yet. Lyrics need not exist.
    return archived.issuperset(at_kie) and (bool(at_kie) or kind is FileKind.LYRICS)
