"""What the page of a song says about its extras: the files that are there, and what more can be made, for how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_kie.archive.extras.table import EXTRAS
from airflow_kie.archive.manifest import FileRecord, Manifest

EXTRAS_DAG_ID = "song_extras"
DRAW_PRICE = f"{EXTRAS['another_cover'].credits:g} credits"


@dataclass(frozen=True)
class Offer:
    """An extra that can be made.

    :param name: of the extra.
    :param title: what people call it.
    :param price: of one take.
    :param takes: the takes that have it.
    """

    name: str
    title: str
    price: str
    takes: tuple[int, ...]


def offers(manifest: Manifest | None, files: Sequence[FileRecord]) -> tuple[tuple[Offer, ...], tuple[int, ...]]:
    """Return what can be made of a song, and of which takes.

    :param manifest: the song's.
    :param files: those that are shown.
    """
    takes = {track.audio_id: track.position for track in manifest.tracks if track.audio_id} if manifest else {}
    return tuple(
        Offer(
            extra.name,
            extra.title,
            f"{extra.credits:g} credits" if extra.credits else "free",
            tuple(sorted({takes[f.audio_id] for f in files if extra.has(f.kind) and f.audio_id in takes})),
        )
        for extra in EXTRAS.values()
        if not extra.adds_to
    ), tuple(takes.values())
