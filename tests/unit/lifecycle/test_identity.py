"""What makes two requests the same: one digest, whoever asks, however the fields are written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.client.operations.registry import OPERATIONS, task_kind
from airflow_kie.lifecycle.identity import digest_of, request_digest
from kie_answers import MUSIC_ID, OTHER_ID

MONDAY = {"namespace": "studio", "dag": "songs", "run": "monday", "task": "generate"}
TUESDAY = MONDAY | {"run": "tuesday"}
BODY = {"prompt": "rain", "model": "V5", "customMode": False, "instrumental": False}
ADDRESS = "https://uploads.example.com/in/voice.mp3"
WITH_PARENT = [name for name, row in OPERATIONS.items() if isinstance(row, TaskOperation) and row.parent]
WITHOUT = [name for name, row in OPERATIONS.items() if isinstance(row, TaskOperation) and not row.parent]


def music(asked_by: dict[str, Any] | None = None, **body: Any) -> str:
    return request_digest(task_kind("suno.music"), BODY | body, asked_by or MONDAY)


def body_of(name: str, parent: str = MUSIC_ID) -> dict[str, Any]:
    """Return a request of any operation."""
    row = task_kind(name)
    return dict.fromkeys(row.required, "x") | dict.fromkeys(row.once_per, parent) | {"prompt": "rain"}


def test_a_digest_is_short_and_says_nothing_of_the_request() -> None:
    digest = music(prompt="a secret")
    assert len(digest) == 32
    assert set(digest) <= set("0123456789abcdef")


def test_digests_of_today_are_the_digests_of_tomorrow() -> None:
    """A digest that changes makes every request of the account a new one, which is paid for again."""
    assert music() == "abd3aa0b29856d2901ddab1517f815cc"
    assert request_digest(task_kind("suno.cover"), {"taskId": MUSIC_ID}, MONDAY) == "e20b0181783cf43eb62135dbddb25b57"
    assert request_digest(task_kind("suno.cover"), {}, {}, idempotency_key="k") == "06301eb867bde4f695538420c9d3761e"

    rain = request_digest(task_kind("suno.music"), {"prompt": "Дождь, été"}, {})
    assert rain == "f11f819e9257ce51924acd2cfcc96051"


# --- how a request is written ---


def test_the_order_of_keys_and_what_is_null_change_nothing() -> None:
    backwards = dict(reversed(BODY.items())) | {"style": None, "input": {"a": None}}
    assert request_digest(task_kind("suno.music"), backwards | {"input": {}}, MONDAY) == music(input={})
    assert request_digest(task_kind("suno.music"), backwards, MONDAY) == music(input={})
    assert music(style=None) == music()


def test_an_empty_text_is_a_value() -> None:
    assert music(style="") != music()


@pytest.mark.parametrize("name", ["callBackUrl", "callbackUrl", "CALLBACKURL"])
def test_where_kie_calls_back_changes_nothing(name: str) -> None:
    assert music(**{name: "https://a.example/kie"}) == music(**{name: "https://b.example/other"}) == music()
    assert music(input={name: "https://a.example/kie", "n": 1}) == music(input={"n": 1})


def test_the_query_of_an_address_changes_nothing_and_its_path_does() -> None:
    assert music(url=f"{ADDRESS}?sig=1") == music(url=f"{ADDRESS}?sig=2") == music(url=ADDRESS)
    assert music(input=[{"url": f"{ADDRESS}?sig=1"}]) == music(input=[{"url": f"{ADDRESS}?sig=2"}])
    assert music(url=ADDRESS.replace("voice", "other")) != music(url=ADDRESS)


def test_the_words_around_an_address_count() -> None:
    """Two prompts that quote one address are two songs."""
    assert music(prompt=f"sing of {ADDRESS} and rain") != music(prompt=f"sing of {ADDRESS} and snow")
    assert music(prompt=f"sing of {ADDRESS}?sig=1 and rain") == music(prompt=f"sing of {ADDRESS}?sig=2 and rain")


def test_the_order_of_a_list_counts() -> None:
    assert music(images=["a", "b"]) != music(images=["b", "a"])
    assert music(images=["a", "b"]) == music(images=("a", "b"))


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, "1"), (True, 1), (1, 1.5), ("a", "A"), ("a", "a "), ({"a": 1}, [["a", 1]]), ("ü", "u"), ([], {}), (0, False)],
)
def test_values_that_differ_for_kie_differ_here(one: Any, other: Any) -> None:
    assert music(value=one) != music(value=other)


def test_half_a_character_is_no_error() -> None:
    assert music(prompt="\ud800") != music(prompt="\ud801")


# --- who asks ---


@pytest.mark.parametrize("name", WITH_PARENT)
def test_what_is_made_from_a_task_of_kies_is_the_same_in_every_run(name: str) -> None:
    row, body = task_kind(name), body_of(name)
    mine = request_digest(row, body, MONDAY)
    assert request_digest(row, body, TUESDAY | {"dag": "other", "task": "t", "namespace": ""}) == mine
    assert (request_digest(row, body | {"prompt": "snow"}, MONDAY) == mine) is not row.by_request
    assert request_digest(row, body_of(name, OTHER_ID), MONDAY) != mine


@pytest.mark.parametrize("name", WITHOUT)
@pytest.mark.parametrize("part", ["namespace", "dag", "run", "task"])
def test_what_is_made_from_nothing_is_another_task_for_everybody_who_asks(name: str, part: str) -> None:
    row, body = task_kind(name), body_of(name)
    mine = request_digest(row, body, MONDAY)
    assert request_digest(row, body, dict(MONDAY)) == mine
    assert request_digest(row, body, MONDAY | {part: "another"}) != mine
    assert request_digest(row, body | {"prompt": "snow"}, MONDAY) != mine


def test_the_position_among_equal_requests_of_one_list_counts() -> None:
    assert music(MONDAY | {"position": 1}) != music()


def test_operations_with_equal_requests_are_not_the_same() -> None:
    digests = {request_digest(task_kind(name), {"taskId": MUSIC_ID}, MONDAY) for name in OPERATIONS if name in WITHOUT}
    digests |= {request_digest(task_kind(name), {"taskId": MUSIC_ID}, MONDAY) for name in WITH_PARENT}
    assert len(digests) == len([*WITH_PARENT, *WITHOUT])


def test_stems_of_another_type_are_another_task() -> None:
    row, body = task_kind("suno.stems"), {"taskId": MUSIC_ID, "audioId": "a"}
    vocals, all_of_them = ({**body, "type": kind} for kind in ("separate_vocal", "split_stem"))
    assert request_digest(row, vocals, MONDAY) != request_digest(row, all_of_them, MONDAY)
    assert request_digest(row, vocals, MONDAY) == request_digest(row, dict(vocals), TUESDAY)


@pytest.mark.parametrize(
    ("name", "field"), [("suno.stems", "stemName"), ("suno.stems", "stem_name"), ("suno.midi", "audioId")]
)
def test_another_stem_of_a_track_is_another_task(name: str, field: str) -> None:
    row, body = task_kind(name), {"taskId": MUSIC_ID, "type": "split_stem_advanced"}
    drums, bass = (request_digest(row, {**body, field: stem}, MONDAY) for stem in ("drums", "bass"))
    assert len({drums, bass, request_digest(row, body, MONDAY)}) == 3


# --- what the user says ---


@pytest.mark.parametrize("name", ["suno.music", "suno.cover", "suno.upload_cover"])
def test_a_key_of_the_users_replaces_request_and_run(name: str) -> None:
    row = task_kind(name)
    mine = request_digest(row, body_of(name), MONDAY, idempotency_key="order-17")
    assert (
        request_digest(row, body_of(name, OTHER_ID) | {"prompt": "snow"}, TUESDAY, idempotency_key="order-17") == mine
    )
    assert request_digest(row, body_of(name), MONDAY, idempotency_key="order-18") != mine
    assert request_digest(row, body_of(name), MONDAY) != mine


def test_one_key_for_two_operations_means_two_tasks() -> None:
    music_row, cover_row = task_kind("suno.music"), task_kind("suno.cover")
    one = request_digest(music_row, BODY, MONDAY, idempotency_key="order-17")
    assert request_digest(cover_row, {"taskId": MUSIC_ID}, MONDAY, idempotency_key="order-17") != one


@pytest.mark.parametrize("name", ["suno.music", "suno.cover"])
@pytest.mark.parametrize("key", ["", "order-17"])
def test_force_new_makes_another_request_of_it_once(name: str, key: str) -> None:
    row, body = task_kind(name), body_of(name)
    usual = request_digest(row, body, MONDAY, idempotency_key=key)
    forced = request_digest(row, body, MONDAY, idempotency_key=key, force_new="again")
    assert forced != usual
    assert request_digest(row, body, MONDAY, idempotency_key=key, force_new="again") == forced
    assert request_digest(row, body, MONDAY, idempotency_key=key, force_new="once more") not in (usual, forced)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=4), st.randoms())
def test_no_order_of_keys_changes_a_digest(value: dict[str, Any], random: Any) -> None:
    def shuffled(inner: Any) -> Any:
        if isinstance(inner, dict):
            keys = list(inner)
            random.shuffle(keys)
            return {key: shuffled(inner[key]) for key in keys}
        return [shuffled(item) for item in inner] if isinstance(inner, list) else inner

    assert digest_of(shuffled(value)) == digest_of(value)
