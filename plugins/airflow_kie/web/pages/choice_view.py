"""What the page of a song says about the choice between its covers and takes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from airflow_kie.archive.choice import CHOSEN_KINDS, Choice
from airflow_kie.archive.manifest import FileRecord
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.web.pages.history import Happened, choices_in
from airflow_kie.web.pages.queries import Place
from airflow_kie.web.pages.shown_files import called, cut, day
from airflow_kie.web.pages.view_model import SongPage

log = logging.getLogger(__name__)

_CALLED = {"cover": "cover", "track": "take"}


@dataclass(frozen=True)
class ShownChoice:
    """What is chosen.

    :param sentence: who has chosen what, or what there is to choose.
    :param cover: position of the chosen cover.
    :param track: position of the chosen take.
    :param can_be_undone: there is something to go back from.
    :param history: when who has chosen what.
    """

    sentence: str
    cover: int | None = None
    track: int | None = None
    rejected: bool = False
    can_be_undone: bool = False
    history: tuple[Happened, ...] = ()


def shown_choice(place: Place, page: SongPage) -> ShownChoice | None:
    """Return what is chosen of a song, None where it has nothing to choose from.

    :param place: where it is archived.
    :param page: the song.
    :raises S3Error: its subclass says why.
    """
    files = [file.record for file in page.files]
    if not any(file.kind in CHOSEN_KINDS.values() for file in files):
        return None
    try:
        choice = Choice.read(place.open(), place.keys(page.music_task_id))[0]
    except ArchiveUnreadable as error:
        log.warning("%s", error)
        return ShownChoice("The choice for this song cannot be read: its choice.json is damaged.")
    if choice is None:
        return ShownChoice(choice_sentence(None, files))
    positions = {name: choice.position_in(files, name) for name in CHOSEN_KINDS}
    undo = any((*positions.values(), choice.rejected, choice.earlier))
    return ShownChoice(
        choice_sentence(choice, files),
        **positions,
        rejected=choice.rejected,
        can_be_undone=undo,
        history=choices_in(choice),
    )


def choice_sentence(choice: Choice | None, files: Sequence[FileRecord]) -> str:
    """Return who has chosen what.

    :param choice: None: nobody has yet.
    :param files: the song's.
    """
    there = {name: sum(file.kind == kind for file in files) for name, kind in CHOSEN_KINDS.items()}
    open_kinds = [f"a {_CALLED[name]}" for name, count in there.items() if count > 1]
    if choice is None or not (choice.rejected or choice.cover or choice.track):
        return f"Nothing is chosen yet. Choose {' and '.join(open_kinds)}." if open_kinds else "Nothing is chosen yet."
    by = f"by {cut(choice.by)} on {day(choice.at)}"
    if choice.rejected:
        return f"Rejected {by}: no cover or take is used."
    positions = {name: choice.position_in(files, name) for name in CHOSEN_KINDS}
    chosen = [called(_CALLED[name], position) for name, position in positions.items() if position]
    if not chosen:
        return f"The file chosen {by} has been replaced since. Choose again."
    text = " and ".join(chosen)
    still = [f"a {_CALLED[name]}" for name, count in there.items() if count > 1 and not positions[name]]
    more = f" Choose {still[0]} too." if still else ""
    return f"{text[0].upper()}{text[1:]} {'are' if len(chosen) > 1 else 'is'} chosen, {by}.{more}"
