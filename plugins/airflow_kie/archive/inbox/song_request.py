"""What people ask for, checked before anything is paid: music task ids out of any text, labels, connections.

All problems are gathered, so that a person fixes a form once.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from airflow_kie.client.errors import NOTHING_EXPIRES, KieError
from airflow_kie.client.task_ids import checked_task_id
from airflow_kie.client.untrusted import NOTHING

MOST_NAMED = 20
"""Problems that a message names one by one; the others are only counted."""
_BETWEEN = re.compile(r"[\s,;'\"`\[\]()<>{}|]+")


class SongsRefused(KieError):
    """The request is invalid."""

    reason = "songs_refused"
    what = "Nothing was started, because the request is invalid"
    paid = "Nothing was paid for this."
    todo = "Correct it and trigger the run again."
    by_when = NOTHING_EXPIRES


def _task_id(task_id: str) -> str:
    if "://" in task_id:  # what is logged of an address is its host, which would name no problem
        raise ValueError("This is an address: give the task id alone, as listed at kie.ai/logs.")
    return checked_task_id(task_id)


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("It holds a character that cannot be stored (NUL).")
    return text


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, (bool, int, float)) else value


def _map(value: Any) -> Any:
    decoded = _decoded(value) if isinstance(value, str) else value
    if not isinstance(decoded, Mapping):
        raise ValueError('Labels are a flat map of texts, such as {"our_id": "A-17"}.')
    return decoded


TaskId = Annotated[str, AfterValidator(_task_id)]
_Text = Annotated[str, Field(max_length=256), AfterValidator(_storable), BeforeValidator(_text)]
_Name = Annotated[
    str, StringConstraints(min_length=1, max_length=256, strip_whitespace=True), AfterValidator(_storable)
]


class Labelled(BaseModel):
    """What carries labels; what is empty counts as not given, and fields of other names are left out.

    :param labels: user-defined labels, as a map or as its JSON text: at most ten, nothing nested.
    """

    model_config = ConfigDict(frozen=True)

    labels: Annotated[dict[_Name, _Text], Field(max_length=10), BeforeValidator(_map)] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        texts = {name: text.strip() if isinstance(text, str) else text for name, text in value.items()}
        return {name: texts[name] for name in cls.model_fields if texts.get(name) not in (None, "")}


class SongRequest(Labelled):
    """A request for one song, from a form, a program, an event or the inbox.

    :param music_task_id: its music task id.
    :param kie_conn_id: the Airflow connection whose account made it; empty: that of the run.
    :param archive_audio: archive the audio too.
    :param archive_lyrics: archive the lyrics too.
    :param cover_task_id: a cover task that is known already: it is adopted instead of paid for.
    :param received_from: event, form, inbox, callback or generate.
    """

    music_task_id: TaskId
    kie_conn_id: str = ""
    archive_audio: bool = False
    archive_lyrics: bool = False
    cover_task_id: TaskId | None = None
    received_from: str = "form"

    def arguments(self, bucket: str, prefix: str) -> dict[str, Any]:
        """Return what the tasks of the song are given.

        :param bucket: where it is archived.
        :param prefix: folder in the bucket.
        """
        return {**self.model_dump(exclude={"cover_task_id", "received_from"}), "bucket": bucket, "prefix": prefix}

    def listed(self) -> dict[str, Any]:
        """Return what the list of a run's songs says of it: the place and the account are the batch's."""
        return self.model_dump(exclude={"cover_task_id", "received_from", "kie_conn_id"})

    def facts(self) -> dict[str, Any]:
        """Return the fields of the song's pending record that this fills."""
        from airflow_kie.archive.pending import Options
        from airflow_kie.archive.record_base import label_list

        return {
            "received_from": self.received_from,
            "kie_conn_id": self.kie_conn_id or None,
            "labels": label_list(self.labels),
            "options": Options(audio=self.archive_audio, lyrics=self.archive_lyrics),
        }


def requests_in(
    given: Iterable[Mapping[str, Any]], labels: Mapping[str, str] | None = None
) -> tuple[list[SongRequest], list[str]]:
    """Return the songs that are requested, each once, and a sentence for each problem.

    :param given: fields of :class:`SongRequest`.
    :param labels: labels that all of them get; a song's own win.
    """
    requests: dict[str, SongRequest] = {}
    problems: list[str] = []
    for song in given:
        with gathering(problems):
            request = SongRequest.model_validate(song)
            if labels:
                request = SongRequest.model_validate({**dict(request), "labels": {**labels, **request.labels}})
            requests[request.music_task_id] = request
    return list(requests.values()), problems


@contextmanager
def gathering(problems: list[str]) -> Iterator[None]:
    """Add what a block finds wrong to the problems, a sentence each, instead of raising it."""
    try:
        yield
    except ValidationError as error:
        for one in error.errors(include_url=False, include_input=False):
            field, *names = one["loc"]
            where = " ".join([str(field), *(repr(str(name)[:40]) for name in names)])
            own = one.get("ctx", {}).get("error")
            problems.append(f"{where}: {_sentence(own) if own else one['msg'] + '.'}")
    except ValueError as error:
        problems.append(_sentence(error))


def _sentence(error: ValueError) -> str:
    return error.facts.message if isinstance(error, KieError) else str(error)


def ids_in(value: Any) -> list[str]:
    """Return the ids in whatever was pasted, in order and without doubles.

    :param value: text, or a list of texts; ids may be separated by newlines, blanks, commas, semicolons or quotes.
        A list may come as JSON text: a template renders a form's field to that, and escapes what was pasted.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _decoded(value) or value
    texts = value if isinstance(value, (list, tuple)) else [value or ""]
    parts = (part for text in texts for part in _BETWEEN.split(str(text)))
    return list(dict.fromkeys(part for part in parts if part not in ("", NOTHING)))


def songs_in(value: Any) -> list[Mapping[str, Any]]:
    """Return songs given as a list of maps or as its JSON text; None and an empty text are none.

    :raises ValueError: saying what such a list looks like.
    """
    songs = _decoded(value) if isinstance(value, str) and value.strip() else value or []
    if not (isinstance(songs, (list, tuple)) and all(isinstance(song, Mapping) for song in songs)):
        raise ValueError('Songs are a list of maps such as {"music_task_id": "…", "labels": {"our_id": "A-17"}}.')
    return list(songs)


def _decoded(text: str) -> Any:
    """Return the value of a JSON text, None if it is not one."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def id_errors(ids: Iterable[str]) -> list[str]:
    """Return a sentence for every id that cannot be a KIE task id."""
    problems: list[str] = []
    for task_id in ids:
        with gathering(problems):
            _task_id(task_id)
    return problems


def name_errors(given: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return a sentence for every field that is almost one of the DAG's: a misspelt cap would be no cap.

    :param given: names in a run's conf; those that resemble none are somebody else's.
    :param known: the DAG's params.
    """
    almost = ((name, difflib.get_close_matches(name, known, 1, 0.8)) for name in given if name not in known)
    return [f"This DAG has no field {name!r}; is {found[0]!r} meant?" for name, found in almost if found]


def first_of(problems: Sequence[str]) -> str:
    """Return problems as one text of a bounded length: the first twenty, each once, and how many more there are."""
    different = list(dict.fromkeys(problems))
    more = len(different) - MOST_NAMED
    return " ".join([*different[:MOST_NAMED], *([f"There are {more:,} more problems like these."] if more > 0 else [])])


def counted(count: int, noun: str = "song") -> str:
    """Return a count with its noun: 1 song, 9 songs."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
