"""Whether a task id that somebody names is a song of the account: KIE's details decide, and reading them is free.

KIE signs a callback's task id and time, not its body. So anyone who has seen one signed callback, of a cover or of
lyrics, can send it again with a body that calls its id a finished song.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from airflow_kie.client.answers.decode import Read, Unreadable
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


def ask_kie(kie: Kie, task_id: str) -> Claim:
    """Read from KIE what a task id is.

    :param kie: KIE, with the account that the callback or record names.
    :param task_id: the id.
    """
    match kie.details(MUSIC, task_id):
        case Unreadable(error) if error.scope is not Scope.TASK:
            return Claim.NOT_ASKED
        case Read(details) if details.state is State.FAILED:
            return Claim.OTHER
        case Read(details) if details.results or (details.state is State.RUNNING and details.word):
            return Claim.SONG
    for kind in (COVER, LYRICS):  # a cover's callback names no stage, a lyrics task's says "complete" too
        match kie.details(kind, task_id):
            case Read(details) if details.word and details.known_word:
                return Claim.OTHER
    return Claim.NOT_FOUND
