"""Cover tasks that others have named: KIE is asked, which is free, whose they are before one is used."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from airflow_kie.client.answers.decode import Read, Unreadable
from airflow_kie.client.errors import Scope
from airflow_kie.client.operations.operation import State
from airflow_kie.client.operations.suno import COVER
from airflow_kie.hooks.kie import KieHook

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Offered:
    """What KIE says of ids that others have named for a song.

    :param cover_task_id: the newest one that is this song's and has not failed; None: none is.
    :param refused: those that are another song's.
    """

    cover_task_id: str | None = None
    refused: tuple[str, ...] = ()


def check_offered(kie_conn_id: str, music_task_id: str, cover_task_ids: Iterable[str]) -> Offered:
    """Ask KIE whose the covers are.

    An id that KIE does not know is neither used nor refused: it can be younger than a minute, or of another account.

    :param kie_conn_id: the connection whose account made the song.
    :param music_task_id: the song.
    :param cover_task_ids: the ids, oldest first.
    :raises KieError: when KIE cannot be asked now.
    """
    refused: list[str] = []
    for task_id in reversed(tuple(cover_task_ids)):
        answer = KieHook(kie_conn_id).details(COVER.name, task_id)
        if isinstance(answer, Unreadable) and answer.error.scope is not Scope.TASK:
            raise answer.error
        if not isinstance(answer, Read):
            log.warning(
                "Cover task %s, named for song %s, is not known to KIE and is not used.", task_id, music_task_id
            )
        elif answer.details.parent_id not in (None, music_task_id):
            log.warning("Cover task %s, named for song %s, belongs to another song.", task_id, music_task_id)
            refused.append(task_id)
        elif answer.details.state is not State.FAILED:
            return Offered(task_id, tuple(refused))
    return Offered(refused=tuple(refused))
