"""A task that is read in both of KIE's forms."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_kie.client.answers.decode import DetailsAnswer, Invisible, Read, Unreadable
from airflow_kie.client.errors import Scope


def says_all(answer: DetailsAnswer) -> bool:
    """Return whether a task of unknown form need not be read in the other one too: it is there, or KIE is not."""
    return isinstance(answer, Read) or (isinstance(answer, Unreadable) and answer.error.scope is not Scope.TASK)


def of_all_forms(answers: Sequence[DetailsAnswer]) -> DetailsAnswer:
    """Return what the reads of one task in each form say together: only all of them say that KIE does not know it.

    :param answers: in the order of the reads, at least one.
    """
    rank = (Read, Unreadable, Invisible)
    return min(answers, key=lambda answer: rank.index(type(answer)))
