"""What must hold whatever happens, checked against the simulator's ledger and the bucket."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from string import hexdigits
from typing import Any

from PIL import Image, UnidentifiedImageError

from fault_suite.paid import PaidRequests
from fault_suite.stage import Stage
from local_stack.archive_check import check_song
from local_stack.bucket import Folder

WINDOW_SECONDS, WINDOW_CREATES = 10.0, 20
"""KIE's rate limit."""


@dataclass(frozen=True)
class Findings:
    """What does not hold; all empty when everything does, but for `made_twice`, which is only counted.

    :param double: what costs credits and was paid for more than once.
    :param too_often: songs whose cover was made more often than a lost answer explains.
    :param made_twice: songs whose cover, which costs nothing, was made a second time because an answer was lost.
    :param lost: songs that could be archived and are not.
    :param corrupt: songs whose archive is not whole, and files that no manifest names.
    :param wasted: what was sent to KIE although it could not succeed.
    :param other: leaks of the key, and creates faster than KIE allows.
    """

    double: tuple[str, ...] = ()
    too_often: tuple[str, ...] = ()
    made_twice: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    corrupt: tuple[str, ...] = ()
    wasted: tuple[str, ...] = ()
    other: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether something was found."""
        return any((self.double, self.too_often, self.lost, self.corrupt, self.wasted, self.other))


def findings(stage: Stage, songs: Collection[str], creates: Mapping[str, int], *, at_the_end: bool) -> Findings:
    """Check everything that must hold.

    :param stage: the stack.
    :param songs: songs that must be archived in the end.
    :param creates: songs that cannot be archived, and how many creates each may cause.
    :param at_the_end: nothing goes on any more: songs that are not archived are lost, and what is wrong in the bucket
        is wrong; before, files may be half written.
    """
    simulator = stage.running.simulator
    everything = simulator.ledger()
    ledger = [charge for charge in everything if charge["kind"] == "cover"]
    tasks = {task["task_id"]: task for task in simulator.tasks()}  # every charge so far has its task there
    too_often, twice = covers_made_again(ledger, tasks, PaidRequests(stage.running).cover_repeats)
    lost = [problem for song in songs if at_the_end and (problem := _not_archived(stage, song, tasks))]
    return Findings(
        double=tuple(double_payments(everything, tasks)),
        too_often=tuple(too_often),
        made_twice=tuple(twice),
        lost=tuple(lost),
        corrupt=tuple(corrupt(stage.bucket / stage.prefix, tasks) if at_the_end else ()),
        wasted=tuple(_wasted(ledger, creates)),
        other=tuple(_other(simulator.state(), everything)),
    )


def double_payments(ledger: Sequence[Mapping[str, Any]], tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what costs credits and was paid for more than once; what KIE failed, it has given back.

    A song is known by its title, of which each one that the suite asks for has its own.
    """
    charged = [charge for charge in ledger if charge["kind"] != "cover"]
    paid = _kept(charged, tasks, lambda charge: charge["source_id"] or title_of(charge))
    return [f"{what}: {', '.join(made)}" for what, made in paid.items() if len(made) > 1]


def title_of(charge: Mapping[str, Any]) -> str:
    """Return the title of a song that was asked for, in either of KIE's forms."""
    request = charge["request"]
    return str(request.get("input", request).get("title", ""))


def covers_made_again(
    ledger: Sequence[Mapping[str, Any]], tasks: Mapping[str, Mapping[str, Any]], repeats: Callable[[str], int]
) -> tuple[list[str], list[str]]:
    """Return the songs with more covers than a lost answer explains, and those with a second one that it explains.

    Covers that KIE failed itself do not count.

    :param repeats: how often the ledger says that a song's cover was asked for once more after an answer was lost.
    """
    too_often: list[str] = []
    twice: list[str] = []
    for song, made in _kept(ledger, tasks, lambda charge: charge["source_id"]).items():
        if len(made) > 1:
            explained = len(made) == 2 and repeats(song) > 0
            (twice if explained else too_often).append(f"{song}: {', '.join(made)}")
    return too_often, twice


def _kept(
    ledger: Sequence[Mapping[str, Any]],
    tasks: Mapping[str, Mapping[str, Any]],
    asked_for: Callable[[Mapping[str, Any]], str],
) -> Mapping[str, list[str]]:
    """Return the tasks that KIE has not failed, by what was asked for."""
    kept: dict[str, list[str]] = defaultdict(list)
    for charge in ledger:
        task = tasks[charge["task_id"]]
        if not task["ended"] or task["succeeded"]:
            kept[asked_for(charge)].append(charge["task_id"])
    return kept


def _not_archived(stage: Stage, song: str, tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what is known of a song that is not archived: its title, covers and pending record."""
    found = check_song(stage.bucket, stage.prefix, song)
    if found.whole:
        return ""
    title = tasks.get(song, {}).get("title")
    covers = [task_id for task_id, task in tasks.items() if task["source_id"] == song]
    path = stage.bucket / stage.prefix / "_pending" / f"{song}.json"
    pending = path.read_text() if path.exists() else "no pending record"
    return f"{song} ({title!r}, covers {covers}): {found.problem or 'a file differs from what is expected'}; {pending}"


def corrupt(archive: Folder, tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what is wrong with the archived songs once nothing is under way; files that no manifest names are, too.

    :param archive: ``<bucket>/<prefix>``.
    :param tasks: every cover task of the simulator by its id.
    """
    found: list[str] = []
    folders = [folder for folder in archive.iterdir() if folder.name[:1] in hexdigits]
    for folder in sorted(folders, key=lambda folder: folder.name):
        song = check_song(archive.parent, archive.name, folder.name)
        if song.manifest.exists():
            found += [f"{folder.name}: {song.problem}"] if song.problem else []
            found += [f"{file.key}: {file.problem}" for file in song.files if file.problem]
            found += _foreign(song.manifest, folder.name, tasks)
        named = {PurePosixPath(file.key).name for file in song.files} | {"manifest.json"}
        present = {path.name for path in folder.iterdir()}
        found += [f"{folder.name}/{name}: no manifest names it" for name in sorted(present - named)]
    return found


def _foreign(manifest: Folder, song: str, tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return covers that belong to another song, and pictures that do not open."""
    stored = json.loads(manifest.read_text())
    found = [
        f"{song}: {cover} is the cover of {tasks[cover]['source_id']}"
        for cover in stored["cover_task_ids"]
        if cover in tasks and tasks[cover]["source_id"] != song
    ]
    for file in stored["files"]:
        path = manifest.parent / PurePosixPath(file["key"]).name
        if file["kind"] == "cover" and not _opens(path):
            found.append(f"{file['key']}: it is not a readable picture")
    return found


def _opens(path: Folder) -> bool:
    try:
        with Image.open(BytesIO(path.read_bytes())) as picture:
            picture.verify()
            return bool(picture.format == "PNG")
    except (OSError, UnidentifiedImageError):
        return False


def _wasted(ledger: Sequence[Mapping[str, Any]], creates: Mapping[str, int]) -> list[str]:
    made: dict[str, int] = defaultdict(int)
    for charge in ledger:
        made[charge["source_id"]] += 1
    return [f"{song}: {made[song]} creates" for song, allowed in creates.items() if made[song] > allowed]


def creates_too_fast(ledger: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the first window in which more was created than KIE allows."""
    times = sorted(charge["real_at"] for charge in ledger)
    for number, first in enumerate(times):
        within = len([at for at in times[number:] if at - first < WINDOW_SECONDS])
        if within > WINDOW_CREATES:
            return [f"{within} creates within {WINDOW_SECONDS:.0f} s"]
    return []


def _other(seen: Mapping[str, Any], ledger: Sequence[Mapping[str, Any]]) -> list[str]:
    found = [f"the API key was sent to {path}" for path in seen["authorization_leaks"]]
    if seen["rate_limited"]:
        found.append(f"KIE rejected {seen['rate_limited']} creates that came too fast")
    return found + creates_too_fast(ledger)
