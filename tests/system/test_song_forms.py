"""KIE's two forms on real processes: the chain in each, across them, and where one does not know the other's songs.

What the forms know of each other is a setting of an account of the simulator: songs of other accounts, which are on
their way at the same time, see nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from kie_forms import BOTH, OTHER
from song_stack import SongStack
from system.conftest import APART, SHARED, SHOWN, Begun

ASKED = "Asking KIE in its {} API variant: Generate Music Cover for {}."
every_form = pytest.mark.parametrize("form", BOTH)


@dataclass(frozen=True)
class Crossing:
    """Runs that were begun at once.

    :param named: the form that a connection names → the run, and its song of the other form.
    :param apart: a run with a song of each form, which the other one does not know at all.
    :param shown: the same; each form shows the other's songs, and makes no cover of them.
    :param made: the form in which each song of the last two runs was made.
    """

    named: Mapping[str, tuple[str, str]]
    apart: str
    shown: str
    made: Mapping[str, str]


@pytest.fixture(scope="module")
def crossing(songs: SongStack) -> Crossing:
    def made_in(form: str, account: str) -> str:
        return songs.songs(f"Of {account}, {form}", form=form, account=account)[0]

    def covers(music: list[str], connection: str) -> str:
        return songs.trigger("music_cover", {"music_task_ids": music, "kie_conn_id": connection})

    crossing = {form: made_in(OTHER[form], SHARED) for form in BOTH}
    named = {form: (covers([song], f"kie_shared_{form}"), song) for form, song in crossing.items()}
    apart, shown = ({made_in(form, account): form for form in BOTH} for account in (APART, SHOWN))
    for song, form in shown.items():
        if form == "unified":  # which is read first: only so the dedicated form is taken for its own
            path = "/api/v1/jobs/recordInfo"
            songs.running.simulator.add_fault("details", "record_null", task_id=song, path=path, times=-1)
    return Crossing(named, covers([*apart], "kie_apart"), covers([*shown], "kie_shown"), {**apart, **shown})


@every_form
def test_a_prompt_leads_to_a_v6_song_and_its_covers_in_s3_in_either_form(
    songs: SongStack, begun: Begun, form: str
) -> None:
    run = begun.generate_run if form == "unified" else begun.dedicated_run
    assert songs.ended("music_generate", run) == "success"
    song = songs.airflow.xcom("music_generate", run, "generate_music")
    songs.wait_archived([song])
    made = songs.manifest(song)["song"]
    assert made["model"] == "V6"
    paid = [charge for charge in songs.running.simulator.ledger("music") if made["prompt"] in str(charge["request"])]
    assert [(charge["task_id"], charge["form"]) for charge in paid] == [(song, form)]
    assert songs.charges([song]) == {song: 1}
    assert songs.forms([song]) == {song: form}
    assert len(songs.event_runs(song)) == 1


@every_form
def test_where_ids_are_shared_a_song_gets_its_cover_in_the_form_that_the_connection_names(
    songs: SongStack, crossing: Crossing, form: str
) -> None:
    run, song = crossing.named[form]
    assert songs.ended("music_cover", run) == "success"
    assert songs.archived(song).whole
    assert songs.charges([song]) == {song: 1}
    assert songs.forms([song]) == {song: form}


def finished(songs: SongStack, crossing: Crossing, run: str, form: str) -> tuple[str, str]:
    """Return the song of a form that a run has made the covers of, once and in that form, and the log of the create."""
    assert songs.ended("music_cover", run) == "success"
    listed = songs.airflow.xcom("music_cover", run, "song_list")
    index, song = next(
        (number, one["music_task_id"])
        for number, one in enumerate(listed)
        if crossing.made[one["music_task_id"]] == form
    )
    assert songs.archived(song).whole
    assert songs.charges([song]) == {song: 1}
    assert songs.forms([song]) == {song: form}
    # From the files: Airflow's API does not know a try that a stale event has ended (docs/on-call.md).
    logs = songs.running.settings.airflow_home / "logs" / "dag_id=music_cover" / f"run_id={run}"
    tries = (logs / "task_id=generate_cover" / f"map_index={index}").glob("attempt=*.log")
    return song, "\n".join(file.read_text() for file in sorted(tries))


@every_form
def test_a_song_from_outside_gets_its_cover_in_the_form_in_which_it_was_made(
    songs: SongStack, crossing: Crossing, form: str
) -> None:
    """KIE's forms may know nothing of each other's songs; nobody says in which form these were made."""
    song, log = finished(songs, crossing, crossing.apart, form)
    assert [ASKED.format(tried, song) in log for tried in (form, OTHER[form])] == [True, False]


@every_form
def test_a_form_that_shows_a_song_and_knows_nothing_of_it_is_given_up_for_the_other_one(
    songs: SongStack, crossing: Crossing, form: str
) -> None:
    song, log = finished(songs, crossing, crossing.shown, form)
    assert log.index(ASKED.format(OTHER[form], song)) < log.index(ASKED.format(form, song))
