"""Requests to the market's models are compared with the catalogue before anything is sent."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_kie.client.catalogue import checks
from airflow_kie.client.catalogue.checks import request_errors
from airflow_kie.client.catalogue.models import models
from airflow_kie.client.operations.registry import OPERATIONS
from catalogue_requests import request_for

MARKET = OPERATIONS["market"]
IMAGE = {"prompt": "fox", "aspect_ratio": "1:1"}
EDIT = {"prompt": "a fox", "image_urls": ["https://files.example/in.png"], "aspect_ratio": "1:1", "quality": "basic"}
STEMS = {"type": "split_stem", "task_id": "t", "audio_id": "a"}
SECRET = "https://files.example/in.png?Signature=planted"
TTS = {"speakers": [{"speaker_id": "1", "voice_name": "Achird", "accent": "x"}]}


def errors(model: str, given: Any) -> list[str]:
    return request_errors(MARKET, {"model": model, "input": given})


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        ("z-image", {"prompt": "fox"}, "z-image needs aspect_ratio (1:1, 4:3, 3:4, 16:9, 9:16)"),
        ("z-image", IMAGE | {"aspect_ratio": "5:7"}, "must be one of 1:1, 4:3, 3:4, 16:9, 9:16, not '5:7'"),
        ("z-image", IMAGE | {"prompt": "x" * 6000}, "characters long, not 6000"),
        ("z-image", "a fox", "input is not an object"),
        ("seedream/5-pro-image-to-image", EDIT | {"prompt": "x"}, "must be 3 to 5000 characters long, not 1"),
        ("seedream/5-pro-image-to-image", EDIT | {"image_urls": [SECRET] * 11}, "a list of at most 10 items, not 11"),
        ("seedream/5-pro-image-to-image", EDIT | {"image_urls": SECRET}, "image_urls must be a list, not"),
        ("seedream/5-pro-image-to-image", EDIT | {"image_urls": ["in.png"]}, "an http(s) address, not 'in.png'"),
        ("seedream/5-pro-image-to-image", EDIT | {"nsfw_checker": "yes"}, "true or false, not 'yes'"),
        ("ai-music-api/sounds", {"prompt": "rain", "model": "V6", "sound_tempo": 301}, "must be 1 to 300, not 301"),
        ("ai-music-api/separate-vocals", {"type": "split_stem"}, "needs task_id and audio_id or audio_url"),
        ("ai-music-api/separate-vocals", STEMS | {"type": "split_stem_advanced"}, "needs stem_name if type is"),
        ("google/gemini-2-5-pro-tts", TTS | {"dialogue_turns": [{"text": "hi"}]}, "an object with speaker_id"),
        ("claude-haiku-4-5", {"prompt": "hi"}, "is a chat model, which makes no task"),
        ("veo3_fast", {"prompt": "hi"}, "is called at /api/v1/veo/generate"),
    ],
)
def test_what_kie_would_refuse_is_named_in_kies_words_with_what_is_allowed(
    model: str, given: Any, message: str
) -> None:
    (error,) = errors(model, given)
    assert message in error
    assert "planted" not in error


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("z-image", IMAGE),
        ("seedream/5-pro-image-to-image", EDIT | {"quality": "High", "nsfw_checker": None}),
        ("ai-music-api/separate-vocals", STEMS),
        ("wan/2-7-text-to-video", {"prompt": "fox", "duration": "7"}),  # a template makes a text of a number
    ],
)
def test_what_kie_takes_is_not_refused(model: str, given: dict[str, Any]) -> None:
    assert errors(model, given) == []


def test_what_the_catalogue_does_not_know_is_sent_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    checks._warn.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert errors("z-image", IMAGE | {"seed_mode": "fixed"}) == errors("z-image-2", {"anything": 1}) == []
    assert [record.getMessage().count("unchecked") for record in caplog.records] == [1, 1]


@pytest.mark.parametrize("name", ["suno.upload_cover", "suno.add_vocals"])
def test_the_unified_form_takes_a_voice_or_a_cover_without_a_prompt(name: str) -> None:
    about = {"title": "Rain", "style": "pop", "negativeTags": "metal", "lyrics": "la la", "instrumental": False}
    assert request_errors(OPERATIONS[name], {"uploadUrl": "https://files.example/in.mp3", **about}) == []


def test_only_required_fields_are_checked_where_the_catalogue_is_not_asked() -> None:
    body = {"model": "z-image", "input": {"aspect_ratio": "5:7"}}
    assert request_errors(MARKET, body, by_catalogue=False) == []
    assert request_errors(MARKET, {"model": "z-image"}, by_catalogue=False) == ["Market: Create Task lacks input"]


def test_every_model_of_the_market_has_a_request_that_passes() -> None:
    """No rule of the catalogue contradicts another one."""
    for model in models().values():
        if model.is_market:
            assert errors(model.model, request_for(model)) == [], model.model


def test_an_operation_of_a_dedicated_endpoint_is_checked_in_its_own_spelling() -> None:
    veo = {"prompt": "a fox", "generationType": "TEXT", "model": "veo3", "seeds": 10_000}
    (error,) = request_errors(OPERATIONS["veo.generate"], veo)
    assert error.startswith("Generate Veo3.1 Video: generationType must be one of TEXT_2_VIDEO, FIRST_AND")
    assert request_errors(OPERATIONS["gpt4o.image"], {"size": "1:1"}) == ["Generate 4o Image needs prompt or files_url"]
    assert request_errors(OPERATIONS["suno.stems"], {"taskId": "m", "audioId": "a"}) == []


@pytest.mark.parametrize("given", ['{"prompt": "fox"}', ["fox"], 7])
def test_what_is_no_map_is_told_with_what_one_looks_like(given: Any) -> None:
    (problem,) = request_errors(OPERATIONS["veo.generate"], given)
    assert problem == f'a {type(given).__name__} was given, not a map such as {{"prompt": "{{{{ params.prompt }}}}"}}'
