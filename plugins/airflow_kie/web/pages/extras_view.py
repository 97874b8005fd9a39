"""What the page of a song says about its extras: the files that are there, and what more can be made, for how much."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from airflow_kie.archive.extras.table import EXTRAS, Extra
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
    there = {
        name: {takes[file.audio_id] for file in files if extra.has(file.kind) and file.audio_id in takes}
        for name, extra in EXTRAS.items()
    }
    offered = tuple(
        Offer(name, extra.title, _price(extra, there, len(takes)), tuple(sorted(there[name])))
        for name, extra in EXTRAS.items()
        if not extra.adds_to
    )
    return offered, tuple(takes.values())


def _price(extra: Extra, there: Mapping[str, Collection[int]], takes: int) -> str:
    """Return what a take costs, with what it needs where a take may lack it."""
    lacks = extra.needs and len({take for need in extra.needs for take in there[need]}) < takes
    most = extra.credits + (min(EXTRAS[need].credits for need in extra.needs) if lacks else 0)
    return f"{'up to ' if lacks else ''}{most:g} credits" if most else "free"
