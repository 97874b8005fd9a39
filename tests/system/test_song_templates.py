"""Nothing from outside is ever a template: no field of a form, a conf, the inbox, an event, or an answer of KIE."""

from __future__ import annotations

import json

from song_stack import SongStack, eventually, files_holding

TRACE = "rendered-by-jinja"
"""What appears wherever one of the templates below is rendered, and nowhere else."""
EXPRESSION = '{{ "rendered" ~ "-by-jinja" }}'
PLANTED = f"{EXPRESSION}{{{{ conn.kie_default.password }}}}{{% if true %}}rendered{{% endif %}}-by-jinja"


def test_a_template_planted_in_every_field_from_outside_is_rendered_nowhere(songs: SongStack) -> None:
    titled = songs.songs(*[EXPRESSION] * 6)
    (refused,) = songs.songs(EXPRESSION, state="SENSITIVE_WORD_ERROR", error_message=PLANTED)
    lines = [json.dumps({"music_task_id": song, "labels": {EXPRESSION: PLANTED}}) for song in titled[:2]]
    songs.drop(f"{PLANTED}.jsonl", "\n".join(lines))
    songs.drop(f"alone {PLANTED}.json", json.dumps({"music_task_id": titled[2], "labels": {"x": PLANTED}}))
    songs.drop(f"bad {PLANTED}.json", json.dumps({"music_task_id": PLANTED, "kie_conn_id": PLANTED}))
    inbox = songs.trigger("cover_inbox")
    songs.send_event(titled[3], title=PLANTED, received_from=PLANTED, labels={"x": PLANTED})
    of_program = [{"music_task_id": titled[4], "labels": {"x": PLANTED}, "received_from": PLANTED}]
    runs = {
        songs.trigger("music_cover", {"songs": of_program, "labels": {"all": PLANTED}}): "success",
        songs.trigger("music_cover", {"music_task_ids": [titled[5], refused], "labels": {"y": PLANTED}}): "failed",
        songs.trigger("music_cover", {"music_task_ids": [PLANTED]}): "failed",
        songs.trigger("music_cover", {"music_task_ids": [titled[5]], "kie_conn_id": PLANTED}): "failed",
        songs.trigger(
            "music_cover", {"music_task_ids": [titled[5]], "prefix": PLANTED}
        ): "success",  # a folder of that very name
    }
    words = {"prompt": PLANTED, "style": PLANTED, "title": EXPRESSION, "negative_tags": PLANTED, "custom_mode": True}
    generated = songs.trigger("music_generate", words)

    assert songs.ended("cover_inbox", inbox) == "success"
    assert {run: songs.ended("music_cover", run) for run in runs} == runs
    assert songs.ended("music_generate", generated) == "success"
    song = songs.airflow.xcom("music_generate", generated, "generate_music")
    songs.wait_archived([*titled, song])
    assert [songs.labels(song) for song in titled[:3]] == [*[{EXPRESSION: PLANTED}] * 2, {"x": PLANTED}]
    assert songs.labels(titled[4]) == {"all": PLANTED, "x": PLANTED}
    assert {songs.manifest(song)["song"]["title"] for song in titled} == {EXPRESSION}
    eventually(lambda: (songs.bucket / "inbox" / "done" / f"{PLANTED}.jsonl").exists(), "the object is done")

    assert files_holding(TRACE, songs.running.settings.home) == []
    assert songs.holding(TRACE) == []  # in the S3 server's own files it may be compressed
    assert songs.holding(EXPRESSION)  # so that the search is known to find things
