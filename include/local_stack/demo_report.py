"""What a demo has archived, as a table, and whether that is all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from local_stack.archive_check import ArchivedFile, ArchivedSong
from local_stack.demo_progress import STEPS, Step


def report(
    console: Console,
    titles: Sequence[str],
    songs: Sequence[ArchivedSong],
    steps: Sequence[Mapping[str, Step]],
) -> bool:
    """Print one row for each song and say what is missing.

    :param titles: the songs' titles.
    :param songs: what the archive holds of them, in the same order.
    :param steps: how long their steps took, in the same order.
    :return: True when every song is archived and every file is whole.
    """
    table = Table(title="Archived songs", show_lines=True)
    for heading in ("song", "cover file", "size", "SHA-256", "seconds per step"):
        table.add_column(heading, no_wrap=heading != "song")
    for title, song, times in zip(titles, songs, steps, strict=True):
        table.add_row(
            title,
            "\n".join(file.key.rpartition("/")[2] for file in song.files),
            "\n".join(_size(file.size) for file in song.files),
            "\n".join(_sum(file) for file in song.files),
            "\n".join(f"{name} {_seconds(times[name])}" for name in STEPS),
        )
    console.print(table)
    for title, song in zip(titles, songs, strict=True):
        problem = f" - {song.problem}" if song.problem else ""
        console.print(f"{title}: {song.manifest}{problem}", soft_wrap=True, markup=False)
    whole = sum(song.whole for song in songs)
    console.print(
        f"{whole} of {len(songs)} songs are archived; every file was read back and compared with its manifest.",
        soft_wrap=True,
        style="green" if whole == len(songs) else "bold red",
    )
    return whole == len(songs)


def _sum(file: ArchivedFile) -> str:
    return file.problem or f"{file.sha256[:8]}… ok"


def _size(size: int) -> str:
    return f"{size:,} B" if size < 10_000 else f"{size / 1024:,.0f} KiB"


def _seconds(step: Step) -> str:
    return f"{step.seconds:.1f}" if step.seconds is not None else "-"
