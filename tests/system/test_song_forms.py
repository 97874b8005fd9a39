"""KIE's two forms on real processes: a song that is made in the one that its connection names, and songs from outside.

What the forms know of each other is a setting of an account of the simulator: songs of other accounts, which are on
their way at the same time, see nothing of it. Whatever else they may know: tests/unit/operators/test_two_forms.py.
"""

from __future__ import annotations

from kie_forms import BOTH, OTHER
from song_stack import SongStack
from system.conftest import APART, Begun

ASKED = "Asking KIE in its {} API variant: Generate Music Cover for {}."


def test_a_prompt_leads_to_a_v6_song_and_its_covers_in_s3_in_the_form_that_the_connection_names(
    songs: SongStack, begun: Begun
) -> None:
    run = begun.generate_run
    assert songs.ended("music_generate", run) == "success"
    song = songs.airflow.xcom("music_generate", run, "generate_music")
    songs.wait_archived([song])
    made = songs.manifest(song)["song"]
    assert made["model"] == "V6"
    paid = [charge for charge in songs.running.simulator.ledger("music") if made["prompt"] in str(charge["request"])]
    assert [(charge["task_id"], charge["form"]) for charge in paid] == [(song, "dedicated")]
    assert songs.charges([song]) == {song: 1}
    assert songs.forms([song]) == {song: "dedicated"}
    assert len(songs.event_runs(song)) == 1


def test_a_song_from_outside_gets_its_cover_in_the_form_in_which_it_was_made(songs: SongStack) -> None:
    """KIE's forms may know nothing of each other's songs; nobody says in which form these were made."""
    made = {songs.songs(f"Of {APART}, {form}", form=form, account=APART)[0]: form for form in BOTH}
    run = songs.trigger("music_cover", {"music_task_ids": [*made], "kie_conn_id": "kie_apart"})
    assert songs.ended("music_cover", run) == "success"
    assert songs.charges([*made]) == dict.fromkeys(made, 1)
    assert songs.forms([*made]) == made
    listed = songs.airflow.xcom("music_cover", run, "song_list")
    # From the files: Airflow's API does not know a try that a stale event has ended (docs/on-call.md).
    logs = songs.running.settings.airflow_home / "logs" / "dag_id=music_cover" / f"run_id={run}"
    for index, song in enumerate(one["music_task_id"] for one in listed):
        assert songs.archived(song).whole
        tries = (logs / "task_id=generate_cover" / f"map_index={index}").glob("attempt=*.log")
        log = "\n".join(file.read_text() for file in sorted(tries))
        form = made[song]
        assert [ASKED.format(tried, song) in log for tried in (form, OTHER[form])] == [True, False]
