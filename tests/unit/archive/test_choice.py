"""A choice of cover and take: what is kept of it, and that archiving again does not lose it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_kie.archive.choice import EARLIER, Choice, ChoiceRefused, changed_choice
from airflow_kie.archive.index.entry import IndexEntry, entry_of
from airflow_kie.archive.manifest import FileRecord, Manifest

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def file(kind: str, position: int, sha256: str = "0" * 64) -> FileRecord:
    ending = "png" if kind == "cover" else "mp3"
    key, content_type = f"songs/a1/{kind}-{position}.{ending}", "image/png" if kind == "cover" else "audio/mpeg"
    record = {"key": key, "kind": kind, "position": position, "size": 1, "sha256": sha256, "archived_at": NOW}
    return FileRecord(content_type=content_type, **record)


def song(*files: FileRecord, **known: Any) -> Manifest:
    both = files or tuple(file(kind, position) for kind in ("cover", "track") for position in (1, 2))
    return Manifest(**{"music_task_id": "a1", "files": both, "created_at": NOW, "updated_at": NOW, **known})


def chosen(*changes: dict[str, Any], stored: Choice | None = None) -> Choice:
    for minute, change in enumerate(changes):
        stored = changed_choice(stored, song(), change, by="jane", now=NOW + timedelta(minutes=minute))
    assert stored is not None
    return stored


def seen(choice: Choice) -> tuple[int | None, int | None, bool]:
    files = song().files
    return choice.position_in(files, "cover"), choice.position_in(files, "track"), choice.rejected


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ([{"cover": 2}], (2, None, False)),
        ([{"cover": 2}, {"track": 1}], (2, 1, False)),
        ([{"cover": 2, "track": 1}, {"cover": None}], (None, 1, False)),
        ([{"cover": 2}, {"rejected": True}], (None, None, True)),
        ([{"rejected": True}, {"track": 2}], (None, 2, False)),
        ([{"cover": 2}, {"cover": 1}, {"undo": True}], (2, None, False)),
        ([{"cover": 2}, {"rejected": True}, {"undo": True}, {"undo": True}, {"undo": True}], (None, None, False)),
    ],
)
def test_a_choice_changes_and_is_undone(changes: list[dict[str, Any]], left: tuple[Any, ...]) -> None:
    assert seen(chosen(*changes)) == left


@pytest.mark.parametrize("change", [{"cover": 3}, {"cover": "1"}, {"track": True}, {"cover": {}}, {}, {"other": 1}])
def test_what_names_no_archived_file_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ChoiceRefused):
        chosen(change)


def test_it_says_who_and_when_and_keeps_so_many_earlier_choices() -> None:
    choice = chosen(*({"cover": 1 + number % 2} for number in range(EARLIER + 5)))
    assert len(choice.earlier) == EARLIER
    assert (choice.by, choice.at) == ("jane", NOW + timedelta(minutes=EARLIER + 4))
    assert choice.earlier[-1].at == NOW + timedelta(minutes=EARLIER + 3)


def test_a_file_that_was_replaced_since_is_not_the_one_that_was_chosen() -> None:
    replaced = (file("cover", 1), file("cover", 2, "1" * 64))
    assert chosen({"cover": 2}).position_in(replaced, "cover") is None
    assert entry_of(song(*replaced), chosen({"cover": 2})).chosen == "needed"


@pytest.mark.parametrize("newest_first", [False, True])
def test_archiving_again_keeps_the_choice_in_the_index(newest_first: bool) -> None:
    listed = entry_of(song(), chosen({"cover": 2}))
    again = entry_of(song(updated_at=NOW + timedelta(days=1), labels=[{"name": "album", "value": "A"}]))
    merged = again.merged_with(listed) if newest_first else listed.merged_with(again)
    assert (merged.chosen, merged.labels[0].value, merged.updated_at) == ("made", "A", again.updated_at)
    assert merged.merged_with(entry_of(song(), chosen({"cover": 2}, {"undo": True}))).chosen == "needed"


@pytest.mark.parametrize(
    ("entry", "state"),
    [
        (entry_of(song()), "needed"),
        (entry_of(song(file("cover", 1), file("track", 1))), ""),
        (entry_of(song(file("cover", 1), file("track", 1)), chosen({"cover": 1})), "made"),
        (entry_of(song(), chosen({"rejected": True})), "rejected"),
        (entry_of(song()).changed(operation="market"), ""),
        (entry_of(song(), chosen({"cover": 1})).merged_with(entry_of(song()).as_deleted(NOW)), ""),
    ],
)
def test_the_index_says_where_a_choice_is_needed(entry: IndexEntry, state: str) -> None:
    assert entry.chosen == state
