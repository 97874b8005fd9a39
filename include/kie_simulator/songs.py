"""Inventing songs: titles, tags and lyrics for simulated music tasks."""

from __future__ import annotations

import random
import re

_FIRST = [
    "Amber",
    "Velvet",
    "Paper",
    "Northern",
    "Quiet",
    "Golden",
    "Hollow",
    "Electric",
    "Distant",
    "Winter",
    "Silver",
    "Salt",
    "Midnight",
    "Wild",
]
_SECOND = [
    "Harbour",
    "Lanterns",
    "Rivers",
    "Orchard",
    "Signals",
    "Meadow",
    "Skyline",
    "Tides",
    "Letters",
    "Horizon",
    "Garden",
    "Thunder",
]
_TAGS = (
    "dream pop, warm",
    "lo-fi, piano",
    "synthwave, driving",
    "indie folk, acoustic",
    "ambient, slow",
    "soul, brass",
)
_LINES = (
    "Streetlights hum a tune we almost know",
    "The morning keeps a secret in the snow",
    "I folded up the map and let it go",
    "Somewhere past the water there is sound",
    "Every road we lost is circling round",
    "Leave the window open for the rain",
    "Hold the last note longer, play it plain",
    "All the quiet houses learn your name",
)
_FILLER = {
    "over",
    "under",
    "from",
    "into",
    "at",
    "by",
    "a",
    "an",
    "the",
    "of",
    "with",
    "and",
    "for",
    "about",
    "song",
    "no",
    "in",
    "on",
    "to",
}


def invent_title(seed: str) -> str:
    """Return a title that the seed alone decides."""
    rng = random.Random(seed)  # noqa: S311 - picks words, protects nothing
    return f"{rng.choice(_FIRST)} {rng.choice(_SECOND)}"


def title_from_prompt(prompt: str, seed: str) -> str:
    """Return a title made of a prompt's significant words, or an invented one if it has none."""
    significant = [word for word in re.findall(r"[\w'-]+", prompt) if word.lower() not in _FILLER]
    return " ".join(word[:1].upper() + word[1:] for word in significant[:4])[:80] or invent_title(seed)


def invent_tags(seed: str) -> str:
    """Return style tags that the seed alone decides."""
    return random.Random(seed).choice(_TAGS)  # noqa: S311 - picks words, protects nothing


def invent_lyrics(seed: str) -> str:
    """Return a verse and a chorus in Suno's notation that the seed alone decides."""
    rng = random.Random(seed)  # noqa: S311 - picks words, protects nothing
    verse, chorus = rng.sample(_LINES, 4), rng.sample(_LINES, 2)
    return "\n".join(["[Verse]", *verse, "", "[Chorus]", *chorus, *chorus])
