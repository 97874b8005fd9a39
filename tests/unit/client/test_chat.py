"""Chat models without Airflow: Google's dialect from OpenAI's and back, what an answer costs, what is no answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.chat.contents import asked_in_contents, completion, completion_events
from airflow_kie.client.chat.cost import Used, quote_chat, used_by
from airflow_kie.client.chat.models import Dialect, chat_model
from airflow_kie.client.chat.reading import Answered, read_answer
from airflow_kie.client.errors import KieBadAnswer, KieChatInDoubt, KieContentRejected, KieOutOfCredits

GPT, GEMINI = chat_model("gpt-5-2"), chat_model("gemini-3-5-flash")
PNG = "data:image/png;base64,AAAA"


def chunk(**part: Any) -> dict[str, Any]:
    """Return one of Google's chunks."""
    return {"candidates": [{"content": {"parts": [part]}}]}


def test_turns_of_one_side_are_one_content_and_the_system_prompt_is_beside_them() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    messages = [
        {"role": "system", "content": "Be short."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": PNG}}],
        },
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "user", "content": "and?"},
    ]
    asked = asked_in_contents({"messages": messages, "max_completion_tokens": 9, "reasoning_effort": "low"})
    assert asked["systemInstruction"] == {"parts": [{"text": "Be short."}]}
    assert asked["contents"] == [
        {"role": "user", "parts": [{"text": "Look"}, {"inline_data": {"mime_type": "image/png", "data": "AAAA"}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}]},
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "weather", "response": {"result": "rain"}}},
                {"text": "and?"},
            ],
        },
    ]
    assert asked["generationConfig"] == {"maxOutputTokens": 9, "thinkingConfig": {"thinkingLevel": "low"}}
    assert asked["stream"] is False


def test_a_tools_schema_is_written_as_google_takes_it() -> None:
    schema = {
        "$defs": {"Unit": {"enum": ["c", "f"], "type": "string", "title": "Unit"}},
        "additionalProperties": False,
        "type": "object",
        "properties": {
            "unit": {"$ref": "#/$defs/Unit"},
            "days": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            "places": {"type": "array", "items": {"$ref": "#/$defs/Unit"}},
        },
        "required": ["unit"],
    }
    tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
    asked = asked_in_contents({"messages": [{"role": "user", "content": "hi"}], "tools": [tool]})
    (declared,) = asked["tools"][0]["functionDeclarations"]
    assert declared["parameters"] == {
        "type": "object",
        "properties": {
            "unit": {"enum": ["c", "f"], "type": "string"},
            "days": {"type": "integer", "nullable": True},
            "places": {"type": "array", "items": {"enum": ["c", "f"], "type": "string"}},
        },
        "required": ["unit"],
    }
    looped: dict[str, Any] = {"$ref": "#/$defs/Node", "$defs": {"Node": {"$ref": "#/$defs/Node"}}}
    tool["function"] = {"name": "loop", "parameters": looped}
    assert asked_in_contents({"messages": [], "tools": [tool]})["tools"]


def test_chunks_are_one_answer_without_the_thoughts() -> None:
    last = {**chunk(text="lo"), "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 2}}
    last["usageMetadata"]["thinkingTokenCount"] = 5  # as recorded; the page has thoughtsTokenCount
    last["candidates"][0]["finishReason"] = "MAX_TOKENS"
    whole = completion([chunk(text="hm", thought=True), chunk(text="hel"), last], "gemini-3-5-flash")
    assert whole["choices"][0]["message"]["content"] == "hello"
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"] == {"prompt_tokens": 7, "completion_tokens": 7, "total_tokens": 14}
    lines = completion_events(whole).decode().splitlines()
    assert [line for line in lines if line][-1] == "data: [DONE]"


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([{"promptFeedback": {"blockReason": "SAFETY"}}], KieContentRejected),
        ([{"candidates": [{"finishReason": "PROHIBITED_CONTENT"}]}], KieContentRejected),
        ([{"candidates": [{"finishReason": "STOP"}]}], KieChatInDoubt),
    ],
)
def test_an_answer_with_nothing_in_it_says_why(parts: list[Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        completion(parts, "gemini-3-5-flash")


def test_a_bounded_request_is_quoted_at_the_most_that_it_can_cost() -> None:
    body = {"messages": [{"role": "user", "content": "x" * 1000}], "max_completion_tokens": 1000}
    quoted = quote_chat(GPT, body)
    assert quoted.high == pytest.approx((len(json.dumps(body)) * 87.5 + 1000 * 700) / 1e6, abs=1e-4)
    assert quote_chat(GEMINI, {"contents": [], "generationConfig": {"maxOutputTokens": 1000}}).known
    assert not quote_chat(GPT, {"messages": []}).known
    linked = {"type": "image_url", "image_url": {"url": "https://files.example/big.png"}}
    assert not quote_chat(GPT, body | {"messages": [{"role": "user", "content": [linked]}]}).known
    assert not quote_chat(chat_model("gpt-5-4"), {"input": "hi", "max_output_tokens": 5}).known  # no price is listed


def test_several_answers_and_what_is_written_to_a_cache_are_quoted_at_what_they_can_cost() -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1000}
    one = quote_chat(GPT, body).high
    assert one is not None
    assert (quote_chat(GPT, body | {"n": 3}).high or 0.0) > 2.5 * one
    assert (quote_chat(GPT, body | {"max_tokens": 10, "max_completion_tokens": 1000}).high or 0.0) >= one
    cached, asks = chat_model("gpt-5-6-sol", "/codex/v1/responses"), {"input": "x" * 100_000, "max_output_tokens": 1}
    assert quote_chat(cached, asks).high == pytest.approx(100_000 * 350 / 1e6, rel=0.01)  # reading alone: 280
    assert not quote_chat(cached, asks | {"previous_response_id": "resp_1"}).known


def test_what_an_answer_has_used_is_what_kie_says_else_what_its_tokens_cost() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    assert used_by(GPT, Answered(({"choices": [], "usage": usage},))) == Used(1000, 100, 0.1575)
    assert used_by(GPT, Answered(({"choices": [], "usage": usage, "credits_consumed": 0.2},))) == Used(1000, 100, 0.2)
    counted = {"promptTokenCount": 1, "candidatesTokenCount": 2, "thoughtsTokenCount": 3}
    assert used_by(GEMINI, Answered(({"candidates": [], "usageMetadata": counted},))).written == 5
    events = ({"type": "response.completed", "response": {"usage": {"input_tokens": 3, "output_tokens": 4}}},)
    assert used_by(chat_model("gpt-5-4"), Answered(events, b"data: x")) == Used(3, 4, None)


ANSWERS: dict[str, tuple[Response, type[Exception] | None]] = {
    "whole": (Response(200, {}, b'{"choices": []}'), None),
    "events": (Response(200, {}, b'event: x\ndata: {"choices": []}\n\ndata: [DONE]\n\n'), None),
    "credits": (Response(200, {}, b'{"code": 402, "msg": "Credits insufficient"}'), KieOutOfCredits),
    "code in events": (Response(200, {}, b'data: {"code": 402, "msg": "Credits insufficient"}\n\n'), KieOutOfCredits),
    "nothing": (Response(200, {}, b""), KieChatInDoubt),
    "another object": (Response(200, {}, b'{"id": 7}'), KieChatInDoubt),
    "a list": (Response(200, {}, b"[1, 2]"), KieChatInDoubt),
    "a page": (Response(524, {}, b"<html>"), KieChatInDoubt),
    "a page of a proxy": (Response(404, {}, b"<html>"), KieBadAnswer),
    "overloaded": (Response(529, {}, b'{"error": {"type": "overloaded_error", "message": "later"}}'), KieChatInDoubt),
    "no number": (Response(200, {}, b'{"code": "x", "msg": null}'), KieChatInDoubt),
    "a number in events": (Response(200, {}, b"data: 5\n\n"), KieChatInDoubt),
    "neither yes nor no": (Response(200, {}, b'{"code": 201, "msg": "accepted"}'), KieChatInDoubt),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_the_body_decides_what_an_answer_is(case: str) -> None:
    response, error = ANSWERS[case]
    if error is None:
        assert read_answer(GPT, response).parts == ({"choices": []},)
    else:
        with pytest.raises(error) as raised:
            read_answer(GPT, response)
        assert type(raised.value) is error


def test_every_chat_model_of_the_catalogue_with_a_path_has_a_dialect() -> None:
    from airflow_kie.client.catalogue.models import models

    chat = [model for model in models().values() if model.is_chat and model.endpoint != "?"]
    assert {chat_model(model.model).dialect for model in chat} == set(Dialect)
    assert {chat_model(model.model).base_path + _ending(model.endpoint) for model in chat} == {m.endpoint for m in chat}


def _ending(path: str) -> str:
    known = ("/chat/completions", "/responses", "/v1/messages", ":streamGenerateContent")
    return next(ending for ending in known if path.endswith(ending))
