"""The extras: what each is requested with, what it costs, and under which names its files are stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from airflow_kie.client.operations.market import JOBS
from airflow_kie.client.operations.operation import CallOperation, TaskOperation
from airflow_kie.client.operations.suno import EXTEND
from airflow_kie.client.operations.suno_tracks import MIDI, STEMS, TIMESTAMPED_LYRICS, VIDEO, WAV


@dataclass(frozen=True)
class Take:
    """A take of an archived song.

    :param song: its music task id.
    :param position: which of its takes, from 1.
    :param audio_id: KIE's id of the take.
    :param model: the song's model, where KIE can be asked with it.
    :param made_from: the KIE task that an extra is made from, where that is another one than the song.
    :param prompt: what an image model is asked to draw.
    """

    song: str
    position: int
    audio_id: str
    model: str | None = None
    made_from: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class Extra:
    """Something that is made of one take.

    :param name: ours, fixed: files are stored under it.
    :param title: what people call it.
    :param operation: what makes it.
    :param credits: what it costs by KIE's price list; a test compares it with the catalogue.
    :param fields: field of the request → field of :class:`Take`.
    :param fixed: the request's other fields.
    :param needs: extras one of which must be there before, the better one first.
    :param market: the market model that makes it; the fields are then its ``input``.
    :param adds_to: the kind of the song's own files that it is one more of. Each run makes another one.
    """

    name: str
    title: str
    operation: TaskOperation | CallOperation
    credits: float
    fields: Mapping[str, str] = field(default_factory=lambda: {"taskId": "song", "audioId": "audio_id"})
    fixed: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    market: str = ""
    adds_to: str = ""

    def body(self, take: Take) -> dict[str, Any]:
        """Return the request for a take; unknown fields are left out."""
        known = asdict(take)
        body = {name: known[of] for name, of in self.fields.items() if known[of]} | dict(self.fixed)
        return {"model": self.market, "input": body} if self.market else body

    def kind(self, role: str) -> str:
        """Return the kind under which the manifest names a result of a role."""
        if self.adds_to:
            return self.adds_to
        return self.name if role == self.name else f"{self.name}_{role}"

    def has(self, kind: str) -> bool:
        """Return whether files of a kind are this extra's."""
        return kind == self.name or kind.startswith(f"{self.name}_")


EXTRAS: Mapping[str, Extra] = {
    extra.name: extra
    for extra in (
        Extra("wav", "WAV", WAV, 0.4),
        Extra("vocals", "Vocals and instrumental", STEMS, 10, fixed={"type": "separate_vocal"}),
        Extra("stems", "Stems of each instrument", STEMS, 50, fixed={"type": "split_stem"}),
        Extra("midi", "MIDI", MIDI, 0, fields={"taskId": "made_from"}, needs=("stems", "vocals")),
        Extra("timed_lyrics", "Timestamped lyrics", TIMESTAMPED_LYRICS, 0.5),
        Extra("video", "Music video", VIDEO, 2),
        Extra(
            "extended",
            "Extended version",
            EXTEND,
            12,
            fields={"audioId": "audio_id", "model": "model"},
            fixed={"defaultParamFlag": False},
        ),
        Extra(
            "another_cover",
            "Another cover",
            JOBS,
            0.8,
            fields={"prompt": "prompt"},
            fixed={"aspect_ratio": "1:1"},
            market="z-image",
            adds_to="cover",
        ),
    )
}
"""Name → the extra, in the order in which people are offered them."""


def with_needs(names: Collection[str]) -> tuple[str, ...]:
    """Return some extras with those that they are made from: the cheapest where none of them is requested."""
    asked = set(names)
    for name in names:
        needs = EXTRAS[name].needs
        if needs and not asked & set(needs):
            asked.add(min(needs, key=lambda need: EXTRAS[need].credits))
    return tuple(name for name in EXTRAS if name in asked)
