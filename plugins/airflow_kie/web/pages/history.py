"""What has happened to a song, as its manifest, its pending record and its choices say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from airflow_kie.archive.choice import CHOSEN_KINDS, Choice, Chosen
from airflow_kie.archive.manifest import Manifest
from airflow_kie.archive.pending import Pending
from airflow_kie.client.errors import error_class
from airflow_kie.web.pages.shown_files import CALLED, called, cut, extra_of, length

Happened = tuple[datetime, str]


def history_of(manifest: Manifest | None, pending: Pending | None) -> tuple[Happened, ...]:
    """Return when what has happened to a song, the oldest first.

    :param manifest: its manifest, None while it is not archived.
    :param pending: its pending record, None when nothing is pending.
    """
    return tuple(sorted((*_made(manifest), *_archived(manifest), *_pending(manifest, pending))))


def choices_in(choice: Choice | None) -> tuple[Happened, ...]:
    """Return when who has chosen what."""
    if choice is None:
        return ()
    return tuple((one.at, f"{cut(one.by)} {_chose(one)}") for one in (*choice.earlier, choice))


def paid_for(manifest: Manifest | None) -> str:
    """Return what its KIE tasks have cost, where KIE says that."""
    costs: dict[str, float] = {}
    for cost in manifest.credits_used if manifest else ():
        if cost.credits is not None:
            kind = cost.kind.rpartition(".")[2].replace("_", " ")
            costs[kind] = costs.get(kind, 0.0) + cost.credits
    return ", ".join(f"{credits:g} for {kind}" for kind, credits in costs.items())


def _made(manifest: Manifest | None) -> Iterator[Happened]:
    if manifest is None:
        return
    begun, ended = manifest.song.created_at, manifest.song.completed_at
    if begun:
        yield begun, "The song was requested from KIE"
    if ended:
        took = length((ended - begun).total_seconds()) if begun else ""
        yield ended, f"KIE finished it, after {took} minutes" if took else "KIE finished it"


def _archived(manifest: Manifest | None) -> Iterator[Happened]:
    """Yield what came into the folder; what came within a minute came together."""
    together: dict[datetime, Counter[str]] = {}
    for file in sorted(manifest.files if manifest else (), key=lambda file: file.archived_at):
        at = next((at for at in together if (file.archived_at - at).total_seconds() < 60), file.archived_at)
        together.setdefault(at, Counter())[extra_of(file.kind) or file.kind] += 1
    for at, kinds in together.items():
        named = [CALLED.get(kind, kind) + (f" ({count})" if count > 1 else "") for kind, count in kinds.items()]
        yield at, f"Archived: {', '.join(named)}"


def _pending(manifest: Manifest | None, pending: Pending | None) -> Iterator[Happened]:
    seen = manifest.first_seen_at if manifest else pending.first_seen_at if pending else None
    if seen:
        yield seen, "Received here"
    if pending and pending.last_failure:
        yield pending.last_failure.at, f"An attempt failed: {_reason(pending.last_failure.reason)}"
    if pending and pending.waiting_for:
        yield pending.waiting_for.since, f"Waits: {_reason(pending.waiting_for.reason)}"


def _reason(reason: str) -> str:
    known = error_class(reason)
    return known.what if known else "a task of the song failed"


def _chose(one: Chosen) -> str:
    if one.rejected:
        return "rejected all"
    files = [(CALLED.get(kind, kind), getattr(one, name)) for name, kind in CHOSEN_KINDS.items()]
    chosen = [called(what, file.position) for what, file in files if file]
    return f"chose {' and '.join(chosen)}" if chosen else "withdrew the choice"
