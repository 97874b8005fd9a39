"""Nothing from outside is ever a template: no field of a form, a conf, the inbox, an event, or an answer of KIE."""

from __future__ import annotations

import json

from local_stack.archive_check import check_song
from song_stack import SongStack, eventually, files_holding

TRACE = "rendered-by-jinja"
"""What appears wherever one of the templates below is rendered, and nowhere else."""
EXPRESSION = '{{ "rendered" ~ "-by-jinja" }}'
PLANTED = f"{EXPRESSION}{{{{ conn.kie_default.password }}}}{{% if true %}}rendered{{% endif %}}-by-jinja"


def test_a_template_planted_in_every_field_from_outside_is_rendered_nowhere(songs: SongStack) -> None:
    in_inbox, of_event, of_program = songs.songs(*[EXPRESSION] * 3)
    (refused,) = songs.songs(EXPRESSION, state="SENSITIVE_WORD_ERROR", error_message=PLANTED)
    songs.drop(f"{PLANTED}.jsonl", json.dumps({"music_task_id": in_inbox, "labels": {EXPRESSION: PLANTED}}))
    songs.drop(f"bad {PLANTED}.json", json.dumps({"music_task_id": PLANTED, "kie_conn_id": PLANTED}))
    inbox = songs.trigger("cover_inbox")
    songs.send_event(of_event, title=PLANTED, received_from=PLANTED, labels={"x": PLANTED})
    told = [{"music_task_id": of_program, "labels": {"x": PLANTED}, "received_from": PLANTED}]
    runs = {  # one into a folder of that very name
        songs.trigger("music_cover", {"songs": told, "labels": {"all": PLANTED}, "prefix": PLANTED}): "success",
        songs.trigger("music_cover", {"music_task_ids": [refused], "labels": {"y": PLANTED}}): "failed",
        songs.trigger("music_cover", {"music_task_ids": [PLANTED]}): "failed",
        songs.trigger("music_cover", {"music_task_ids": [refused], "kie_conn_id": PLANTED}): "failed",
    }
    words = {"prompt": PLANTED, "style": PLANTED, "title": EXPRESSION, "negative_tags": PLANTED, "custom_mode": True}
    generated = songs.trigger("music_generate", words)

    assert songs.ended("cover_inbox", inbox) == "success"
    assert {run: songs.ended("music_cover", run) for run in runs} == runs
    assert songs.ended("music_generate", generated) == "success"
    song = songs.airflow.xcom("music_generate", generated, "generate_music")
    songs.wait_archived([in_inbox, of_event, song])
    assert songs.forms([song]) == {song: "unified"}  # whose connection names no form
    assert [songs.labels(song) for song in (in_inbox, of_event)] == [{EXPRESSION: PLANTED}, {"x": PLANTED}]
    archived = check_song(songs.bucket, PLANTED, of_program)
    manifest = json.loads(archived.manifest.read_text())
    assert archived.whole
    assert {label["name"]: label["value"] for label in manifest["labels"]} == {"all": PLANTED, "x": PLANTED}
    titles = {found["song"]["title"] for found in (manifest, *map(songs.manifest, (in_inbox, of_event)))}
    assert titles == {EXPRESSION}
    eventually(lambda: (songs.bucket / "inbox" / "done" / f"{PLANTED}.jsonl").exists(), "the object is done")

    assert files_holding(TRACE, songs.running.settings.home) == []
    assert songs.holding(TRACE) == []  # in the S3 server's own files it may be compressed
    assert songs.holding(EXPRESSION)  # so that the search is known to find things
