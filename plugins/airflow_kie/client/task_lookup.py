"""Whether a task id that somebody names is a song of the account: KIE's details decide, and reading them is free.

KIE signs a callback's task id and time, not its body. So anyone who has seen one signed callback, of a cover or of
lyrics, can send it again with a body that calls its id a finished song.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from airflow_kie.client.answers.decode import DetailsAnswer, Invisible, Read, Unreadable
from airflow_kie.client.errors import Scope
from airflow_kie.client.operations.operation import State
from airflow_kie.client.operations.suno import COVER, LYRICS, MUSIC

if TYPE_CHECKING:
    from airflow_kie.client.api import Kie


class Claim(StrEnum):
    """What KIE says of an id that is named as a song; the last two are stored in its pending record."""

    SONG = "song"
    OTHER = "other"
    """A task of another kind, or a song that has failed."""
    NOT_FOUND = "not_found"
    """KIE shows no such song. One such read may be wrong; two that agree are believed."""
    NOT_ASKED = "not_asked"
    """KIE could not be asked: it is down, the connection holds no key, or it took too long."""


_OTHERS = (COVER, LYRICS)
"""Kinds whose callbacks can be taken for a song's: a cover's names no stage, a lyrics task's says "complete" too."""


def ask_kie(kie: Kie, task_id: str) -> Claim:
    """Read from KIE what a task id is.

    :param kie: KIE, with the account that the callback or record names.
    :param task_id: the id.
    """
    claim = _as_song(kie.details(MUSIC, task_id))
    if claim is not Claim.NOT_FOUND:
        return claim
    for kind in _OTHERS:
        match kie.details(kind, task_id):
            case Read(details) if details.word and details.known_word:
                return Claim.OTHER
    return Claim.NOT_FOUND


def _as_song(answer: DetailsAnswer) -> Claim:
    match answer:
        case Unreadable(error) if error.scope is not Scope.TASK:
            return Claim.NOT_ASKED
        case Unreadable() | Invisible():
            return Claim.NOT_FOUND
        case Read(details):
            if details.state is State.FAILED:
                return Claim.OTHER
            running = details.state is State.RUNNING and bool(details.word)
            return Claim.SONG if running or details.results else Claim.NOT_FOUND
