"""The simulated chat models: each dialect's answers, refusals and prices, as KIE's pages and recordings show them."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from kie_simulator.catalogue import models
from kie_simulator.chat.dialects import dialect_at
from kie_simulator.server import SimulatorServer
from kie_simulator_client import Kie

PATHS = {model.model: model.endpoint for model in models().values() if dialect_at(model.endpoint)}
CLAUDE, GEMINI, GPT = "claude-haiku-4-5", "gemini-3-flash-v1beta", "gpt-5-2"
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
ARGUMENTS = {"city": "simulated", "days": 1}


def request(model: str, **more: Any) -> dict[str, Any]:
    """Return a request in the words of the model's dialect."""
    path = PATHS[model]
    if path.endswith(":streamGenerateContent"):
        return {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **more}
    if path.endswith("/responses"):
        return {"model": model, "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}], **more}
    content = [{"type": "text", "text": "hi"}]
    return {"model": model, "messages": [{"role": "user", "content": content}], **more}


def ask(kie: Kie, server: SimulatorServer, model: str, **more: Any) -> httpx.Response:
    return kie.http.post(f"{server.url}{PATHS[model]}", json=request(model, **more))


def text_in(answer: dict[str, Any]) -> str:
    """Return the text of an answer in any dialect."""
    if "choices" in answer:
        return str(answer["choices"][0]["message"]["content"])
    if "output" in answer:
        return str(answer["output"][-1]["content"][0]["text"])
    if "content" in answer:
        return str(answer["content"][0]["text"])
    return str(answer["candidates"][0]["content"]["parts"][0]["text"])


@pytest.mark.parametrize("model", PATHS)
def test_every_chat_model_with_an_endpoint_answers_and_charges_what_it_says(
    simulator: SimulatorServer, kie: Kie, model: str
) -> None:
    answer = ask(kie, simulator, model, stream=False).json()
    assert text_in(answer).startswith(f"The simulated {model} has read ")
    (charge,) = simulator.control.ledger("chat")
    assert charge["request"]["model"] == model
    assert charge["credits"] == answer["credits_consumed"] > 0
    assert kie.get("/chat/credit")["data"] == 10_000 - charge["credits"]


@pytest.mark.parametrize("model", [GPT, "gpt-5-4", CLAUDE, GEMINI])
def test_an_answer_is_streamed_unless_the_request_says_otherwise(
    simulator: SimulatorServer, kie: Kie, model: str
) -> None:
    answer = ask(kie, simulator, model)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line for line in answer.text.splitlines() if line.startswith("data: {")]
    assert sum("credits_consumed" in event for event in events) == 1


@pytest.mark.parametrize(
    ("model", "tools", "path"),
    [
        (
            GPT,
            [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}],
            ("choices", 0, "message", "tool_calls", 0, "function", "arguments"),
        ),
        ("gpt-5-4", [{"type": "function", "name": "weather", "parameters": WEATHER}], ("output", 1, "arguments")),
        (CLAUDE, [{"name": "weather", "description": "", "input_schema": WEATHER}], ("content", 0, "input")),
        (
            GEMINI,
            [{"functionDeclarations": [{"name": "weather", "parameters": WEATHER}]}],
            ("candidates", 0, "content", "parts", 0, "functionCall", "args"),
        ),
    ],
)
def test_a_tool_is_called_with_what_its_schema_allows(
    simulator: SimulatorServer, kie: Kie, model: str, tools: list[Any], path: tuple[Any, ...]
) -> None:
    found = ask(kie, simulator, model, stream=False, tools=tools).json()
    for step in path:
        found = found[step]
    assert (json.loads(found) if isinstance(found, str) else found) == ARGUMENTS


def test_text_is_json_of_the_schema_that_is_asked_for(simulator: SimulatorServer, kie: Kie) -> None:
    asked = {"type": "json_schema", "json_schema": {"name": "structured_output", "schema": WEATHER}}
    answer = ask(kie, simulator, "gemini-3-pro", stream=False, response_format=asked).json()
    assert json.loads(text_in(answer)) == ARGUMENTS


@pytest.mark.parametrize(("model", "header"), [(CLAUDE, "x-api-key"), (GEMINI, "x-goog-api-key"), (GPT, "x-api-key")])
def test_the_key_may_be_in_the_header_that_the_models_page_names(
    simulator: SimulatorServer, kie: Kie, model: str, header: str
) -> None:
    keys = {header: simulator.api_key, "Authorization": ""}
    answer = kie.http.post(f"{simulator.url}{PATHS[model]}", json=request(model, stream=False), headers=keys)
    assert (answer.json().get("code") == 401) is (model == GPT)


def test_a_refusal_is_an_envelope_in_a_200_as_recorded(simulator: SimulatorServer, kie: Kie) -> None:
    unknown = kie.http.post(f"{simulator.url}{PATHS[CLAUDE]}", json=request(CLAUDE) | {"model": "claude-1"})
    empty = kie.http.post(f"{simulator.url}{PATHS[GPT]}", json={"messages": []})
    assert [(answer.status_code, answer.json()["code"]) for answer in (unknown, empty)] == [(200, 422)] * 2
    simulator.control.call("PATCH", "/credits", {"credits": 0})
    assert ask(kie, simulator, GPT).json()["code"] == 402
    assert simulator.control.ledger() == []


def test_a_refusal_may_be_as_the_pages_show_it(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(chat_errors="documented")
    answer = kie.http.post(f"{simulator.url}{PATHS[GPT]}", json=request(GPT), headers={"Authorization": "Bearer x"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
    assert ask(kie, simulator, GPT, stream=False).status_code == 200


def test_an_answer_may_come_without_a_content_type(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.add_fault("chat", "no_content_type", model=CLAUDE)
    answer = ask(kie, simulator, CLAUDE, stream=False)
    assert "content-type" not in answer.headers
    assert text_in(answer.json())


@pytest.mark.parametrize("action", ["code", "empty", "reset_before"])
def test_a_fault_instead_of_the_answer_costs_nothing_and_after_it_what_it_costs(
    simulator: SimulatorServer, kie: Kie, action: str
) -> None:
    for after in (False, True):
        simulator.control.add_fault("chat", action, after=after)
        if action == "reset_before":
            with pytest.raises(httpx.HTTPError):
                ask(kie, simulator, GPT, stream=False)
        else:
            ask(kie, simulator, GPT, stream=False)
        assert len(simulator.control.ledger("chat")) == int(after)
