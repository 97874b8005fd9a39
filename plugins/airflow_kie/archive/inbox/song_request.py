"""What people ask for, checked before anything is paid: music task ids out of any text, labels, connections.

All problems are gathered, so that a person fixes a form once.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_kie.archive.layout import checked_prefix
from airflow_kie.client.errors import NOTHING_EXPIRES, KieError
from airflow_kie.client.task_ids import KeyRefused, checked_task_id

MAX_LABELS = 10
MAX_LABEL_LENGTH = 256
MOST_NAMED = 20
"""Mistakes that a message names one by one; the others are only counted."""
_BETWEEN = re.compile(r"[\s,;'\"`\[\]()<>{}|]+")


class SongsRefused(KieError):
    """What was asked for cannot be worked on as it is."""

    reason = "songs_refused"
    what = "Nothing was started, because what was asked for is not complete"
    paid = "Nothing was paid for by this."
    todo = "Correct it and trigger the run again."
    by_when = NOTHING_EXPIRES


@dataclass(frozen=True)
class SongOrder:
    """One song that is asked for.

    :param music_task_id: its music task id.
    :param kie_conn_id: the Airflow connection whose account made it.
    :param labels: people's own names for it.
    :param archive_audio: archive the audio too.
    :param archive_lyrics: archive the lyrics too.
    :param received_from: event, form, inbox, callback or generate.
    :param cover_task_id: a cover task that is known already: it is adopted instead of paid for.
    """

    music_task_id: str
    kie_conn_id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    archive_audio: bool = False
    archive_lyrics: bool = False
    received_from: str = "form"
    cover_task_id: str | None = None

    def arguments(self, bucket: str, prefix: str) -> dict[str, Any]:
        """Return what the tasks of the song are given.

        :param bucket: where it is archived.
        :param prefix: folder in the bucket.
        """
        return {
            "music_task_id": self.music_task_id,
            "kie_conn_id": self.kie_conn_id,
            "bucket": bucket,
            "prefix": prefix,
            "archive_audio": self.archive_audio,
            "archive_lyrics": self.archive_lyrics,
            "labels": dict(self.labels),
        }


def ids_in(value: Any) -> list[str]:
    """Return the ids in whatever was pasted, in order and without doubles.

    :param value: text, or a list of texts; ids may be parted by newlines, blanks, commas, semicolons or quotes.
        A list may come as JSON text: a template renders a form's field to that, and escapes what was pasted.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, str):
        texts: Iterable[Any] = [value]
    elif isinstance(value, Iterable) and not isinstance(value, Mapping):
        texts = value
    else:
        texts = [] if value is None else [str(value)]
    parts = (part for text in texts for part in _BETWEEN.split(str(text)))
    return list(dict.fromkeys(part for part in parts if part))


def id_errors(ids: Sequence[str]) -> list[str]:
    """Return a sentence for every id that cannot be a KIE task id."""
    problems = []
    for task_id in ids:
        if "://" in task_id:  # what is logged of an address is its host, which would name no problem
            problems.append("An address was pasted: give the task id alone, as the list at kie.ai/logs has it.")
            continue
        try:
            checked_task_id(task_id)
        except KeyRefused as error:
            problems.append(error.facts.message)
    return problems


def name_errors(given: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return a sentence for every field that is almost one of ours: a cap that is misspelt would be none.

    :param given: names in a run's conf; those that resemble none are somebody else's.
    :param known: the DAG's params.
    """
    almost = ((name, difflib.get_close_matches(name, known, 1, 0.8)) for name in given if name not in known)
    return [f"This DAG has no field {name!r}; is {found[0]!r} meant?" for name, found in almost if found]


def prefix_errors(prefix: str) -> list[str]:
    """Return what is wrong with a prefix."""
    try:
        checked_prefix(prefix)
    except KeyRefused as error:
        return [error.facts.message]
    return []


def labels_in(value: Any, common: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return labels given as a map or as its JSON text; None and an empty text are none.

    :param value: a song's own labels, or those of the run.
    :param common: labels that all songs of the run get; a song's own win.
    :raises ValueError: saying what labels look like.
    """
    if value in (None, "", {}):
        return common or {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, Mapping):
        raise ValueError('Labels are a flat map of texts, such as {"our_id": "A-17"}.')
    labels = {**(common or {}), **value}
    problems = label_errors(labels)
    if problems:
        raise ValueError(" ".join(problems))
    return {str(name): str(text) for name, text in labels.items()}


def songs_in(value: Any) -> list[Mapping[str, Any]]:
    """Return songs given as a list of maps or as its JSON text; None and an empty text are none.

    :raises ValueError: saying what such a list looks like.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else []
        except ValueError:
            value = [None]
    songs = list(value) if isinstance(value, (list, tuple)) else [value] if value else []
    if not all(isinstance(song, Mapping) and song.get("music_task_id") for song in songs):
        raise ValueError('Songs are a list of maps such as {"music_task_id": "…", "labels": {"our_id": "A-17"}}.')
    return songs


def label_errors(labels: Mapping[Any, Any]) -> list[str]:
    """Return what is wrong with labels: at most 10, names and texts of at most 256 characters, nothing nested."""
    problems = []
    if len(labels) > MAX_LABELS:
        problems.append(f"There are {len(labels)} labels; at most {MAX_LABELS} are kept.")
    for name, text in labels.items():
        if isinstance(text, (Mapping, list, tuple)) or text is None:
            problems.append(f"The label {str(name)[:40]!r} is no text.")
        elif not (is_storable(str(name)) and is_storable(str(text))):
            problems.append(
                f"The label {str(name)[:40]!r} holds half a character, or a character that cannot be stored (NUL)."
            )
        elif not str(name).strip() or max(len(str(name)), len(str(text))) > MAX_LABEL_LENGTH:
            problems.append(f"The label {str(name)[:40]!r} is empty or longer than {MAX_LABEL_LENGTH} characters.")
    return problems


def is_storable(text: str) -> bool:
    """Return whether a text can be written as UTF-8 and into Airflow's database: no half of a pair, no NUL."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def first_of(problems: Iterable[str]) -> str:
    """Return problems as one text of a bounded length: the first twenty, each once, and how many more there are."""
    named: dict[str, None] = {}
    more = 0
    for problem in problems:
        if len(named) < MOST_NAMED:
            named[problem] = None
        elif problem not in named:
            more += 1
    return " ".join([*named, *([f"There are {more:,} more problems like these."] if more else [])])


def counted(count: int, noun: str = "song") -> str:
    """Return a count with its noun: 1 song, 9 songs."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
