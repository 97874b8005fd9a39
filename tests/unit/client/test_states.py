"""Every state word of every operation, words that nobody knows, and tasks that KIE does not show."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_kie.client.answers.decode import Invisible, decode_details
from airflow_kie.client.operations.operation import State, TaskOperation
from airflow_kie.client.operations.registry import OPERATIONS, task_kind
from kie_answers import answer, read

RUN, OK, BAD, UNHEARD = State.RUNNING, State.SUCCEEDED, State.FAILED, State.UNDELIVERED

MUSIC_WORDS = {
    "PENDING": RUN,
    "TEXT_SUCCESS": RUN,
    "FIRST_SUCCESS": RUN,
    "SUCCESS": OK,
    "CREATE_TASK_FAILED": BAD,
    "GENERATE_AUDIO_FAILED": BAD,
    "SENSITIVE_WORD_ERROR": BAD,
    "CALLBACK_EXCEPTION": UNHEARD,
}
DERIVED_WORDS = {"PENDING": RUN, "SUCCESS": OK, "CREATE_TASK_FAILED": BAD, "CALLBACK_EXCEPTION": UNHEARD}

# kind → (field of the state, word → state), written by hand from the pages, not from the registry.
DOCUMENTED: dict[str, tuple[str, dict[Any, State]]] = {
    "suno.music": ("status", MUSIC_WORDS),
    "suno.extend": ("status", MUSIC_WORDS),
    "suno.upload_cover": ("status", MUSIC_WORDS),
    "suno.upload_extend": ("status", MUSIC_WORDS),
    **dict.fromkeys(
        ("suno.add_instrumental", "suno.add_vocals", "suno.replace_section", "suno.mashup", "suno.sounds"),
        ("status", MUSIC_WORDS),
    ),
    "suno.recovery": ("status", MUSIC_WORDS),
    "voice.validate": ("status", DERIVED_WORDS),
    "suno.cover": (
        "successFlag",
        {0: RUN, 1: OK, 2: RUN, 3: BAD, "0": RUN, "1": OK, "2": RUN, "3": BAD}
        | {"PENDING": RUN, "SUCCESS": OK, "CREATE_TASK_FAILED": BAD, "GENERATE_COVER_FAILED": BAD},
    ),
    "suno.midi": ("successFlag", {0: RUN, 1: OK, 2: BAD, 3: BAD, "2": BAD}),
    "suno.wav": ("successFlag", DERIVED_WORDS | {"GENERATE_WAV_FAILED": BAD}),
    "suno.stems": ("successFlag", DERIVED_WORDS | {"GENERATE_AUDIO_FAILED": BAD}),
    "suno.video": ("successFlag", DERIVED_WORDS | {"GENERATE_MP4_FAILED": BAD}),
    "suno.lyrics": ("status", DERIVED_WORDS | {"GENERATE_LYRICS_FAILED": BAD, "SENSITIVE_WORD_ERROR": BAD}),
    "voice.generate": ("status", DERIVED_WORDS),
    "voice.regenerate": ("status", DERIVED_WORDS),
    **dict.fromkeys(
        ("veo.generate", "veo.extend", "veo.4k", "runway.aleph", "gpt4o.image", "flux.kontext"),
        ("successFlag", {0: RUN, 1: OK, 2: BAD, 3: BAD}),
    ),
    "veo.1080p": ("resultUrl && 'ready'", {}),
    **dict.fromkeys(
        ("runway.generate", "runway.extend"),
        ("state", {"wait": RUN, "queueing": RUN, "generating": RUN, "success": OK, "fail": BAD}),
    ),
    "market": ("state", {"waiting": RUN, "queuing": RUN, "generating": RUN, "success": OK, "fail": BAD}),
}
TABLE = [(kind, spelled, word, state) for kind, (spelled, words) in DOCUMENTED.items() for word, state in words.items()]


@pytest.mark.parametrize(("kind", "spelled", "word", "state"), TABLE)
def test_every_documented_state_word_means_what_its_own_page_says(
    kind: str, spelled: str, word: Any, state: State
) -> None:
    details = read(kind, {"taskId": "t", spelled: word})
    assert (details.state, details.known_word, details.word) == (state, True, str(word))


def test_every_task_kind_with_state_words_is_in_the_table_above() -> None:
    worded = {name for name, row in OPERATIONS.items() if isinstance(row, TaskOperation) and row.state_path}
    assert worded == set(DOCUMENTED)


@pytest.mark.parametrize(("kind", "spelled"), [(kind, spelled) for kind, (spelled, _) in DOCUMENTED.items() if _])
@pytest.mark.parametrize("word", ["success!", "waits", "failed", 7, -1, 1.5, "²", "--1", "", None, [], {"a": 1}, [1]])
def test_an_unknown_state_counts_as_running(kind: str, spelled: str, word: Any) -> None:
    details = read(kind, {"taskId": "t", spelled: word})
    assert details.state is State.RUNNING
    assert details.known_word is (word in (None, "", []))


def test_an_unknown_state_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            read("suno.wav", {"taskId": "t", "successFlag": "HALF_DONE"})
    assert [record.getMessage() for record in caplog.records] == [
        "KIE returned an undocumented state: suno.wav is 'HALF_DONE'; it is treated as running."
    ]


@pytest.mark.parametrize(
    "kind", ["suno.music", "suno.cover", "suno.lyrics", "suno.stems", "suno.wav", "suno.midi", "market"]
)
def test_null_data_for_an_id_means_that_kie_does_not_show_the_task(kind: str) -> None:
    assert decode_details(task_kind(kind), "t", answer(None)) == Invisible()


def test_record_info_is_null_means_that_kie_does_not_show_the_market_task() -> None:
    assert decode_details(task_kind("market"), "t", answer(code=422, msg="recordInfo is null")) == Invisible()
