"""Processes die under songs that are on their way: no song is paid for twice, and each is archived whole."""

from __future__ import annotations

import pytest

from song_crashes import CRASHES_IN_FORMS, Crashed
from song_stack import SongStack


@pytest.mark.parametrize(("moment", "form"), CRASHES_IN_FORMS)
def test_a_song_struck_by_a_crash_is_paid_for_once_and_archived_whole(
    songs: SongStack, crashed: Crashed, moment: str, form: str
) -> None:
    song = crashed.songs[moment, form]
    songs.wait_archived([song])
    assert songs.charges([song]) == {song: 1}
    assert songs.forms([song]) == {song: form}
    assert songs.manifest(song)["cover_task_ids"] == [songs.cover_task_of(song)]
    assert len(songs.contents(song)) == 3  # two covers and the manifest


def test_a_run_that_lost_its_processes_ends_well_by_itself(songs: SongStack, crashed: Crashed) -> None:
    assert songs.ended("music_cover", crashed.run_id) == "success"
    assert len(set(crashed.killed.values())) == len(crashed.killed) == len(CRASHES_IN_FORMS) / 2
