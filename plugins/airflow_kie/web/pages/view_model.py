"""What the page of one song shows: its state as a sentence, its files, its trouble. It knows no HTTP and no Airflow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from airflow_kie.archive.layout import SongKeys, TaskKeys
from airflow_kie.archive.manifest import Manifest, SongRecord, TaskManifest
from airflow_kie.archive.pending import Failure, Pending, WaitingFor
from airflow_kie.archive.record_base import label_map
from airflow_kie.client.errors import KieError, error_class
from airflow_kie.web.pages.extras_view import Offer, offers
from airflow_kie.web.pages.history import Happened, history_of, paid_for
from airflow_kie.web.pages.shown_files import ShownFile, cut, day, length, shown_files

_TASK_IN_BRACKETS = re.compile(r"^\((KIE task [^)]+)\):")
_LONGEST_PROMPT = 10_000
"""Characters: KIE takes 5,000."""
_PLURALS = {"cover": "covers", "track": "audio", "lyrics": "lyrics"}


class State(StrEnum):
    """How far a song is, as its page shows it."""

    ARCHIVED = "Archived"
    IN_PROGRESS = "In progress"
    FAILED = "Failed"
    WAITING = "Waiting"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Trouble:
    """Why a song is not archived, and what a person can do.

    :param heading: the reason, in a few words.
    :param happened: the whole story.
    :param todo: what helps.
    :param at: when.
    """

    heading: str
    happened: str
    todo: str
    at: datetime


@dataclass(frozen=True)
class SongPage:
    """Everything that the page of a song shows.

    :param state: its state.
    :param sentence: what that means here.
    :param hidden: how many archived files are of a kind that the page does not show.
    :param facts: name and text of what else is known.
    :param run: DAG id and run id of the run that works on it or has archived it.
    :param offers: what more can be made of it.
    :param takes: of which takes.
    :param history: when what has happened.
    :param labels: names and values.
    :param prompt: the words from which it was made.
    """

    music_task_id: str
    title: str
    state: State
    sentence: str
    subtitle: str = ""
    files: tuple[ShownFile, ...] = ()
    hidden: int = 0
    trouble: Trouble | None = None
    facts: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    run: tuple[str, str] | None = None
    offers: tuple[Offer, ...] = ()
    takes: tuple[int, ...] = ()
    history: tuple[Happened, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    prompt: str = ""

    def of_medium(self, *media: str, extras: bool = False) -> tuple[ShownFile, ...]:
        """Return the files of some media: image, audio, video, text, application.

        :param extras: those of the extras instead of the song's own.
        """
        own = (file for file in self.files if bool(file.extra) is extras)
        return tuple(file for file in own if file.record.content_type.partition("/")[0] in media)

    def of_kind(self, kind: str) -> tuple[ShownFile, ...]:
        """Return the files of a kind, in KIE's order."""
        return tuple(file for file in self.files if file.record.kind == kind)


def song_page(
    keys: SongKeys, manifest: Manifest | None, pending: Pending | None, *, active: bool, now: datetime
) -> SongPage:
    """Return what is shown of a song.

    :param manifest: its manifest, None while it is not archived.
    :param pending: its pending record, None when nothing is pending.
    :param active: the run that the pending record names is queued or running.
    :param now: the time, for what KIE still has.
    """
    state, sentence = _state(manifest, pending, active=active)
    files, song = shown_files(keys, manifest), manifest.song if manifest else SongRecord()
    title = song.title or (pending and pending.title) or ""
    subtitle = (song.tags, length(song.duration_seconds), "instrumental" if song.instrumental else "")
    failure = pending.last_failure if pending else None
    offered, takes = offers(manifest, [file.record for file in files])
    return SongPage(
        music_task_id=keys.music_task_id,
        title=cut(title).strip() or f"Song {keys.music_task_id}",
        state=state,
        sentence=sentence,
        subtitle=" · ".join(cut(part) for part in subtitle if part),
        files=files,
        hidden=len(manifest.files) - len(files) if manifest else 0,
        trouble=trouble_of(failure, again=active) if failure and state is not State.ARCHIVED else None,
        facts=tuple((name, text) for name, text in _facts(keys, song, manifest, pending, now) if text),
        warnings=tuple(cut(warning) for warning in manifest.warnings) if manifest else (),
        run=_run(manifest, pending),
        offers=offered if takes else (),
        takes=takes,
        history=history_of(manifest, pending),
        prompt=(song.prompt or "").strip()[:_LONGEST_PROMPT],
        labels=tuple(label_map(manifest.labels).items()) if manifest else (),
    )


def task_page(keys: TaskKeys, manifest: TaskManifest) -> SongPage:
    """Return what is shown of any other task that is archived."""
    files = shown_files(keys, manifest)
    facts = (
        ("Operation", keys.operation),
        ("KIE task id", keys.task_id),
        ("Model", cut(manifest.generator.model or "")),
        ("Archived", day(manifest.created_at)),
        ("Credits", f"{manifest.credits:g}" if manifest.credits is not None else ""),
    )
    return SongPage(
        music_task_id=keys.task_id,
        title=f"{keys.operation} {keys.task_id}",
        state=State.ARCHIVED,
        sentence="All requested files are here, complete and verified.",
        files=files,
        hidden=len(manifest.files) - len(files),
        facts=tuple((name, text) for name, text in facts if text),
        warnings=tuple(cut(warning) for warning in manifest.warnings),
        run=_run(manifest, None),
        labels=tuple(label_map(manifest.labels).items()),
    )


def unreadable_page(keys: SongKeys, error: KieError, *, now: datetime) -> SongPage:
    """Return what is shown of a song whose records cannot be read, in a list where the others can."""
    return SongPage(
        music_task_id=keys.music_task_id,
        title=f"Song {keys.music_task_id}",
        state=State.FAILED,
        sentence="Its archived files are not affected.",
        trouble=trouble_of(Failure(reason=error.reason, message=str(error), at=now)),
    )


# --- its state ---


def _state(manifest: Manifest | None, pending: Pending | None, *, active: bool) -> tuple[State, str]:
    missing = pending.wanted.missing_in(manifest) if pending else ()
    if manifest and not missing:
        return State.ARCHIVED, "All requested files are here, complete and verified."
    if pending is None:
        return State.UNKNOWN, (
            "This song is neither archived nor pending. Check the id: it must be the task id from kie.ai/logs, not an "
            "audio id. To archive it, trigger music_cover with it."
        )
    missed = f"Archived, but still pending: {', '.join(_PLURALS[kind] for kind in missing)}. " if manifest else ""
    if active and pending.waiting_for:
        return State.IN_PROGRESS, missed + _waiting(pending.waiting_for)
    if active:
        return State.IN_PROGRESS, missed + "A run is working on it."
    if pending.unconfirmed:
        return State.WAITING, (
            f"A callback named this id on {day(pending.first_seen_at)}; KIE has not confirmed yet that it is a song. "
            "cover_inbox asks KIE again, and drops the id if KIE does not know the song."
        )
    if pending.last_failure:
        return State.FAILED, missed + "The last attempt failed; incomplete files are neither kept nor shown."
    if pending.working:
        return State.WAITING, missed + "Its run has ended without it; cover_inbox starts another one automatically."
    received = f"Received on {day(pending.first_seen_at)}{_SOURCES.get(pending.received_from, '')}; "
    return State.WAITING, missed + received + "no run works on it yet. cover_inbox starts one automatically."


def _waiting(outage: WaitingFor) -> str:
    """Return which outage a song waits for, since when, and what a person can do."""
    known = error_class(outage.reason)
    what, todo = (known.what, f" {known.todo}") if known else (outage.reason, "")
    return f"Waiting since {day(outage.since)}: {what}. It continues automatically when that ends.{todo}"


_SOURCES = {
    "event": " from an event",
    "form": " from the form",
    "inbox": " from the inbox",
    "callback": " from a KIE callback",
    "generate": " when it was generated",
}


def trouble_of(failure: Failure, *, again: bool = False) -> Trouble:
    """Return the typed error's sentences: its message begins with what happened and ends with what to do.

    :param again: a run tries it again.
    """
    error = error_class(failure.reason)
    todo = error.todo if error else "Read the log of the failed task, fix the cause, and clear the task."
    heading = error.what if error else "A task of the song failed"
    happened = failure.message.replace(todo, "").removeprefix(heading).strip(" .:") + "."
    happened = _TASK_IN_BRACKETS.sub(r"\1:", happened)
    return Trouble(
        heading=f"Earlier attempt: {heading[0].lower()}{heading[1:]}" if again else heading,
        happened=f"{happened[0].upper()}{happened[1:2000]}{'…' if len(happened) > 2000 else ''}",
        todo=todo,
        at=failure.at,
    )


# --- what else is known ---


def _facts(
    keys: SongKeys, song: SongRecord, manifest: Manifest | None, pending: Pending | None, now: datetime
) -> tuple[tuple[str, str], ...]:
    known = manifest or pending
    return (
        ("Music task id", keys.music_task_id),
        ("Model", cut(song.model or "")),
        ("Generated", day(song.completed_at)),
        ("Received", day(known.first_seen_at if known else None)),
        ("Archived", day(manifest.created_at if manifest else None)),
        ("KIE's own copy", _kies_copy(manifest, pending, now)),
        ("Credits", cut(paid_for(manifest))),
        *(
            (f"Label {cut(name)}", cut(value))
            for name, value in label_map(pending.labels if pending and not manifest else ()).items()
        ),
    )


def _kies_copy(manifest: Manifest | None, pending: Pending | None, now: datetime) -> str:
    ends = [file.expires_at for file in (manifest.files if manifest else ()) if file.expires_at]
    end = min(ends, default=pending.expires_at if pending else None)
    return (f"kept until {day(end)}" if end > now else f"deleted on {day(end)}") if end else ""


def _run(manifest: TaskManifest | None, pending: Pending | None) -> tuple[str, str] | None:
    if pending and pending.working:
        return pending.working.dag_id, pending.working.run_id
    by = manifest.airflow if manifest else None
    return (by.dag_id, by.run_id) if by and by.dag_id and by.run_id else None
