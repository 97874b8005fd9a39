"""The same operation in KIE's two forms: how a task is asked for, and read where its form is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_kie.client import api
from airflow_kie.client.account import KieAccount
from airflow_kie.client.answers.decode import Created, DetailsAnswer, Invisible, Read, Unreadable
from airflow_kie.client.answers.inline import inline_answer
from airflow_kie.client.api import Kie
from airflow_kie.client.errors import (
    KieBadAnswer,
    KieConnectionInvalid,
    KieGenerationFailed,
    KieInvalidRequest,
    KieOutOfCredits,
    Remedy,
    Scope,
)
from airflow_kie.client.http.transport import KieTransport
from airflow_kie.client.operations.operation import CallOperation, Form, State, camel_case, snake_case
from airflow_kie.client.operations.registry import OPERATIONS, task_kind
from airflow_kie.client.requests import create_request
from airflow_kie.lifecycle.identity import request_digest
from kie_simulator.server import SimulatorServer

FORMS = [Form.DEDICATED, Form.UNIFIED]


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer(music_seconds=0, cover_seconds=0) as server:
        yield server


@pytest.fixture
def kie_of(simulator: SimulatorServer) -> Iterator[Callable[..., Kie]]:
    transports: list[KieTransport] = []

    def kie(api: str = "") -> Kie:
        transports.append(KieTransport(KieAccount(simulator.api_key, api_url=simulator.url, api=api)))
        return Kie(transports[-1])

    yield kie
    for transport in transports:
        transport.close()


@pytest.mark.parametrize("form", FORMS)
def test_a_task_is_made_and_read_in_either_form(form: Form, kie_of: Callable[..., Kie]) -> None:
    kie, songs, covers = kie_of(), task_kind("suno.music", form), task_kind("suno.cover", form)
    song = kie.create(songs, {"prompt": "rain"}, {}, "")
    assert isinstance(song, Created)
    details = kie.details(songs, song.task_id)
    assert isinstance(details, Read)
    assert (details.details.form, details.details.complete, len(details.details.tracks)) == (form, True, 2)
    cover = kie.create(covers, {"taskId": song.task_id}, {"taskId": song.task_id}, "")
    assert isinstance(cover, Created)
    read = kie.details(covers, cover.task_id)
    assert isinstance(read, Read)
    assert (read.details.parent_id, len(read.details.urls), read.details.complete) == (song.task_id, 2, True)


@pytest.mark.parametrize("form", FORMS)
def test_an_id_of_unknown_form_is_read_in_both(
    form: Form, simulator: SimulatorServer, kie_of: Callable[..., Kie]
) -> None:
    task_id = simulator.control.make_music("Rain", form=form)[0].task_id
    found = kie_of().details(task_kind("suno.music"), task_id)
    assert isinstance(found, Read)
    assert found.details.form is form


def test_only_both_forms_together_say_that_a_task_is_unknown(
    simulator: SimulatorServer, kie_of: Callable[..., Kie]
) -> None:
    music = task_kind("suno.music")
    assert kie_of().details(music, "0" * 32) == Invisible()
    for form in FORMS:
        simulator.control.add_fault("details", "code", code=404, path=music.in_form(form).details, times=1)
        assert isinstance(kie_of().details(music, "0" * 32), Unreadable)


def test_the_connection_can_name_the_one_form_that_is_asked(
    simulator: SimulatorServer, kie_of: Callable[..., Kie]
) -> None:
    task_id = simulator.control.make_music("Rain", form="unified")[0].task_id
    answers: dict[str, DetailsAnswer] = {
        api: kie_of(api).details(task_kind("suno.music"), task_id) for api in map(str, FORMS)
    }
    assert isinstance(answers["unified"], Read)
    assert answers["dedicated"] == Invisible()
    with pytest.raises(KieConnectionInvalid, match="'old'; use dedicated or unified"):
        kie_of("old")


@pytest.mark.parametrize("title", ["Rain", 'Rain, "softly"', 'a","paramJson":"b', "{}", "\\"])
def test_a_record_whose_repeated_request_makes_it_no_json_is_read_without_that(
    title: str, simulator: SimulatorServer, kie_of: Callable[..., Kie]
) -> None:
    task_id = simulator.control.make_music(title, form="unified")[0].task_id
    simulator.control.add_fault("details", "param_unescaped", form="unified")
    read = kie_of("unified").details(task_kind("suno.music"), task_id)
    assert isinstance(read, Read)
    assert (read.details.state, len(read.details.tracks), read.details.complete) == (State.SUCCEEDED, 2, True)


def test_a_record_that_cannot_be_read_at_all_says_nothing_of_its_task(
    simulator: SimulatorServer, kie_of: Callable[..., Kie]
) -> None:
    task_id = simulator.control.make_music("Rain", form="unified")[0].task_id
    simulator.control.add_fault("details", "malformed", form="unified")
    read = kie_of("unified").details(task_kind("suno.music"), task_id)
    assert isinstance(read, Unreadable)
    assert (read.error.scope, read.error.remedy) == (Scope.SERVICE, Remedy.RETRY)  # it is read again


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({"prompt": "rain"}, {"style": "rain"}),
        ({"prompt": "r" * 3000}, {"style": "r" * 1000}),
        ({"prompt": "la la", "customMode": True, "title": "Rain"}, {"lyrics": "la la"}),
        ({"prompt": "la " * 1500, "customMode": True, "title": "Rain"}, {"lyrics": "la " * 1500}),
        ({"prompt": "rain", "style": "pop"}, {"style": "pop"}),
        ({"prompt": "rain", "image_urls": ["https://a/b.png"]}, {"image_urls": ["https://a/b.png"]}),
    ],
)
def test_a_prompt_alone_is_sent_so_that_the_unified_form_takes_it(body: dict[str, Any], sent: dict[str, Any]) -> None:
    request = create_request(task_kind("suno.music", Form.UNIFIED), body, "")
    given = dict(request.json or {})["input"]
    defaults = {"model": "V6", "custom_mode": body.get("customMode", False), "instrumental": False}
    assert given == defaults | {snake_case(name): value for name, value in body.items()} | sent


def test_a_request_goes_by_the_same_digest_in_either_form_s_spelling() -> None:
    asked = {"dag": "d", "run": "r", "task": "t"}
    for name, body in {
        "suno.music": {"prompt": "rain", "customMode": False, "negativeTags": "metal"},
        "suno.cover": {"taskId": "t-1"},
        "suno.stems": {"taskId": "t-1", "audioId": "a-1", "type": "split_stem"},
    }.items():
        unified = {snake_case(field): value for field, value in body.items()}
        assert unified != body
        digests = {
            request_digest(task_kind(name, form), fields, asked)
            for form in ("", *FORMS)
            for fields in (body, unified, {camel_case(field): value for field, value in unified.items()})
        }
        assert len(digests) == 1


@pytest.mark.parametrize("shape", ["data", "nested"])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_answered_at_once_is_read_in_either_form_and_shape(
    form: Form, shape: str, simulator: SimulatorServer, kie_of: Callable[..., Kie]
) -> None:
    """The song's form is not known: "does not exist" costs nothing, and the other one is asked."""
    simulator.control.set(ids_between_forms="separate", inline_shape=shape)
    song = simulator.control.make_music("Rain", form=form)[0].task_id
    read = kie_of().details(task_kind("suno.music"), song)
    assert isinstance(read, Read)
    row = OPERATIONS["suno.timestamped_lyrics"]
    assert isinstance(row, CallOperation)
    request = {"taskId": song, "audioId": read.details.tracks[0].audio_id}
    answered = kie_of().call(row, request)
    assert {"word", "startS", "endS"} <= set(answered["alignedWords"][0])
    with pytest.raises(KieInvalidRequest, match="does not exist"):
        kie_of(form.other.value).call(row, request)


def test_a_call_that_kie_makes_a_task_of_returns_what_that_has_made_or_why_it_has_failed(
    simulator: SimulatorServer, kie_of: Callable[..., Kie], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages leave open which of the two happens; two clients tell of an answer at once."""
    monkeypatch.setattr(api, "CALL_PAUSE", 0.01)
    simulator.control.set(inline_models=[], task_seconds=0)
    row, kie = OPERATIONS["style"], kie_of("unified")
    assert isinstance(row, CallOperation)
    assert kie.call(row, {"content": "rain"})["result"].startswith("rain: ")
    simulator.control.add_fault("task", "fail", kind="style")
    with pytest.raises(KieGenerationFailed):
        kie.call(row, {"content": "rain"})
    simulator.control.set(task_seconds=600)
    monkeypatch.setattr(api, "CALL_SECONDS", 0.05)
    with pytest.raises(KieBadAnswer) as late:
        kie.call(row, {"content": "snow"})
    assert simulator.control.ledger("style")[-1]["task_id"] in str(late.value)


@pytest.mark.parametrize(
    "data", [None, {}, {"taskId": "t-1", "recordId": "t-1"}, {"code": 200, "msg": "", "data": None}]
)
def test_an_answer_without_a_result_is_none(data: Any) -> None:
    with pytest.raises(KieBadAnswer):
        inline_answer("style", data)


def test_an_error_within_an_answer_is_that_error() -> None:
    with pytest.raises(KieOutOfCredits):
        inline_answer("style", {"code": 402, "msg": "no credits", "data": {}})


def test_calls_that_kie_allows_once_a_second_are_that_far_apart(
    simulator: SimulatorServer, kie_of: Callable[..., Kie]
) -> None:
    """The simulator refuses a quicker one, as KIE does."""
    row = OPERATIONS["models"]
    assert isinstance(row, CallOperation)
    first, second = (kie_of().call(row, {"q": "cover"})["total"] for _ in range(2))
    assert first == second > 0
