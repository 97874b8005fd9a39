"""KIE's chat models through Airflow's common.ai provider: each dialect, its failures, and what an answer may cost."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.ai.operators.llm import LLMOperator
from airflow.sdk.exceptions import AirflowFailException
from pydantic import BaseModel

from airflow_connections import kie_connection
from airflow_kie.client.chat.reading import Answered
from airflow_kie.durable.retry_policy import KieRetryPolicy
from airflow_kie.hooks.chat import KieChatError, KieChatFailed, KieChatHook
from airflow_kie.hooks.chat_transport import KieChatTransport
from airflow_kie.hooks.kie import KieHook
from airflow_task import TaskRun, Variables
from kie_simulator.server import SimulatorServer

pytestmark = pytest.mark.usefixtures("chat")
MODELS = ("gpt-5-2", "gemini-3-pro", "gpt-5-4", "claude-haiku-4-5", "gemini-3-flash-v1beta")
"""One of each of KIE's five ways to ask: the fifth is Google's."""


class Weather(BaseModel):
    city: str
    days: int = 1


def asked(model: str, prompt: str = "hello", output: Any = str, **settings: Any) -> Any:
    """Return what a model answers."""
    agent = KieChatHook("kie_chat", model).create_agent(output, instructions="Be short.", **settings)
    return agent.run_sync(prompt).output


@pytest.mark.parametrize("model", MODELS)
def test_a_model_of_each_dialect_answers_and_is_charged_once(kie: SimulatorServer, model: str) -> None:
    assert asked(model).startswith(f"The simulated {model} has read ")
    (charge,) = kie.control.ledger("chat")
    assert charge["request"]["model"] == model
    assert "stream" in charge["request"]  # KIE streams where it is left out


@pytest.mark.parametrize("model", MODELS)
def test_a_structured_answer_is_one_of_the_type(kie: SimulatorServer, model: str) -> None:
    if model == "gpt-5-2":  # its page knows no function calls, so it is asked in words
        kie.control.set(chat_answer='{"city": "simulated", "days": 1}')
    assert asked(model, output=Weather) == Weather(city="simulated", days=1)


@pytest.mark.parametrize("model", MODELS)
def test_an_agent_calls_its_tool_and_answers_with_what_came_of_it(kie: SimulatorServer, model: str) -> None:
    agent = KieChatHook("kie_chat", model).create_agent(instructions="Be short.")
    seen: list[str] = []

    @agent.tool_plain
    def forecast(city: str) -> str:
        """Return the weather."""
        seen.append(city)
        return "rain"

    assert agent.run_sync("hello").output.startswith("The simulated")
    assert seen == ["simulated"]
    assert "rain" in json.dumps(kie.control.ledger("chat")[1]["request"])


def test_google_gets_back_the_signature_that_its_call_came_with(kie: SimulatorServer) -> None:
    agent = KieChatHook("kie_chat", "gemini-3-flash-v1beta").create_agent(instructions="Be short.")
    agent.tool_plain(lambda city: "rain", name="forecast")
    agent.run_sync("hello")
    first, second = kie.control.ledger("chat")
    (call,) = [content["parts"][0] for content in second["request"]["contents"] if content["role"] == "model"]
    assert call["thoughtSignature"] == f"sig-{first['task_id']}"


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_may_be_streamed(kie: SimulatorServer, model: str) -> None:
    answer = KieChatHook("kie_chat", model).create_agent(instructions="").run_stream_sync("hello")
    assert str(answer.get_output()).startswith(f"The simulated {model}")


def test_messages_are_lists_of_parts_as_the_pages_show_them(kie: SimulatorServer) -> None:
    asked("gpt-5-2")
    asked("gpt-5-4")
    chat, responses = (charge["request"] for charge in kie.control.ledger("chat"))
    assert chat["messages"][-1] == {"role": "user", "content": [{"type": "text", "text": "hello"}]}
    assert responses["input"][-1]["content"] == [{"type": "input_text", "text": "hello"}]


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_without_a_content_type_is_read(kie: SimulatorServer, model: str) -> None:
    kie.control.add_fault("chat", "no_content_type")
    assert asked(model).startswith(f"The simulated {model}")


REFUSALS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "key": ({"code": 401, "msg": "Unauthorized"}, KieChatFailed, "KIE refused the API key: Unauthorized [code 401]"),
    "credits": (
        {"code": 402, "msg": "Credits insufficient"},
        KieChatFailed,
        "The KIE account has too few credits: Credits insufficient [code 402]",
    ),
    "invalid": ({"code": 422, "msg": "no such model"}, KieChatFailed, "KIE refused the request: no such model"),
    "rate": ({"code": 429, "msg": "too high"}, KieChatError, "A retry sends the same request later"),
    "maintenance": ({"code": 455, "msg": "later"}, KieChatError, "KIE is under maintenance"),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_within_http_200_says_what_happened_and_what_to_do(
    kie: SimulatorServer, caplog: pytest.LogCaptureFixture, case: str, model: str
) -> None:
    fault, kind, sentence = REFUSALS[case]
    kie.control.add_fault("chat", "code", **fault)
    with caplog.at_level(logging.DEBUG), pytest.raises(KieChatError) as raised:
        asked(model)
    assert type(raised.value) is kind
    assert str(raised.value).startswith(f"{model}, asked by KieHook: ")
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)
    assert kie.api_key not in caplog.text + repr(raised.value)
    assert kie.control.ledger() == []
    assert sum(kie.control.state()["requests"].values()) == 1


LOST: dict[str, dict[str, Any]] = {
    "reset_after": {},
    "empty": {"after": True},
    "malformed": {"after": True},
    "html": {"after": True, "http": 524},
    "http": {"after": True, "http": 500},
    "code": {"after": True, "code": 500},
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("action", LOST)
def test_an_answer_that_was_lost_is_not_asked_for_again(kie: SimulatorServer, action: str, model: str) -> None:
    kie.control.add_fault("chat", action, times=-1, **LOST[action])
    with pytest.raises(KieChatFailed, match=r"KIE may have charged for it\. No retry can help\. Check kie\.ai/logs"):
        asked(model)
    assert len(kie.control.ledger("chat")) == 1
    assert issubclass(KieChatFailed, AirflowFailException)  # Airflow makes no retry of it


def test_an_answer_of_an_unknown_structure_is_not_asked_for_again(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def odd(*_: Any) -> Answered:
        return Answered(({"candidates": {"first": 1}},))

    monkeypatch.setattr(KieChatTransport, "_send", odd)
    with pytest.raises(KieChatFailed, match="the answer has an unknown structure"):
        asked("gemini-3-flash-v1beta")


def test_a_refusal_as_the_pages_document_it_is_the_same(kie: SimulatorServer) -> None:
    kie.control.set(chat_errors="documented")
    kie.control.add_fault("chat", "code", code=401, msg="Invalid or missing API key")
    with pytest.raises(KieChatFailed, match=r"KIE refused the API key: Invalid or missing API key \[code 401\]"):
        asked("claude-haiku-4-5")


def test_the_retry_policy_knows_the_reason(kie: SimulatorServer) -> None:
    for code, reason in ((401, "unauthorized: no retry can help"), (455, "maintenance: retry 1 of 8")):
        kie.control.add_fault("chat", "code", code=code)
        with pytest.raises(KieChatError) as raised:
            asked("gpt-5-2")
        assert KieRetryPolicy().evaluate(raised.value, 1, 5).reason == reason


def test_a_fallback_answers_where_the_first_model_does_not(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"conn_type": "pydanticai_kie", "extra": {"model": "claude-haiku-4-5"}}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(other))
    kie.control.add_fault("chat", "code", code=455, model="gpt-5-2")
    agent = KieChatHook("kie_chat", "gpt-5-2", ["other"]).create_agent(instructions="")
    assert agent.run_sync("hello").output.startswith("The simulated claude-haiku-4-5")


def test_a_stopped_account_asks_nothing(kie: SimulatorServer, switch: Variables) -> None:
    from airflow_kie.hooks.spending_switch import key_of

    switch.set(key_of("kie_default"), '{"by": "ada", "at": "2026-11-29T10:00:00+00:00", "reason": ""}')
    with pytest.raises(KieChatError, match=r"ada has stopped new paid tasks"):
        asked("gpt-5-2")
    assert kie.control.state()["requests"] == {}


@pytest.fixture
def capped(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what gives the account caps."""

    def caps(**extra: Any) -> None:
        connection = kie_connection(kie, extra={"rate_limit": 1000, **extra})
        monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", connection)

    return caps


def test_a_cap_allows_only_answers_whose_length_is_bounded(kie: SimulatorServer, capped: Callable[..., None]) -> None:
    capped(max_credits_per_request=1)
    with pytest.raises(KieChatFailed, match="the price of this request to gpt-5-2 is not known"):
        asked("gpt-5-2")
    with pytest.raises(KieChatFailed, match="max_credits_per_request of kie_default allows fewer"):
        asked("gpt-5-2", model_settings={"max_tokens": 100_000})
    assert kie.control.state()["requests"] == {}
    assert asked("gpt-5-2", model_settings={"max_tokens": 1000})


def test_a_daily_cap_counts_what_an_answer_has_used(kie: SimulatorServer, capped: Callable[..., None]) -> None:
    capped(max_credits_per_day=1)
    for _ in range(3):  # each is quoted at more than a third
        asked("gpt-5-2", model_settings={"max_tokens": 1000})
    assert KieHook().limiter().spent(86_400_000) == sum(charge["credits"] for charge in kie.control.ledger())


def test_without_caps_too_an_answer_counts_with_what_it_has_used(
    kie: SimulatorServer, capped: Callable[..., None]
) -> None:
    capped()
    asked("gpt-5-2", model_settings={"max_tokens": 1000})
    asked("gpt-5-2")  # nobody knows beforehand what it costs
    used = sum(charge["credits"] for charge in kie.control.ledger())
    assert KieHook().limiter().spent(86_400_000) == pytest.approx(used)


def test_a_refused_request_is_not_counted(kie: SimulatorServer, capped: Callable[..., None]) -> None:
    capped(max_credits_per_day=1)
    kie.control.add_fault("chat", "code", code=422)
    with pytest.raises(KieChatFailed):
        asked("gpt-5-2", model_settings={"max_tokens": 1000})
    assert KieHook().limiter().spent(86_400_000) == 0


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            "gpt-9",
            "'gpt-9' is not a chat model of this version's catalogue .*set it in the connection's field endpoint",
        ),
        ("z-image", "z-image is not a chat model; use KieTaskOperator for it"),
        ("gpt-6-sol", "KIE's pages do not give the path of gpt-6-sol"),
        (None, "neither the task .* nor connection kie_chat .* names a chat model"),
    ],
)
def test_a_name_that_is_no_chat_model_is_refused_with_what_can_be_done(model: str | None, sentence: str) -> None:
    with pytest.raises(KieChatFailed, match=f"{sentence}.*nothing was sent to KIE"):
        KieChatHook("kie_chat", model).get_conn()


def test_a_model_that_is_newer_is_asked_where_the_connection_says(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"model": "gpt-9", "endpoint": "/codex/v1/responses"}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_CHAT", json.dumps({"conn_type": "pydanticai_kie", "extra": extra}))
    with pytest.raises(KieChatFailed, match="The model name you specified is not supported"):
        asked("")
    assert kie.control.state()["requests"] == {"POST /codex/v1/responses": 1}


def test_the_connection_is_tested_for_free(kie: SimulatorServer) -> None:
    assert KieChatHook("kie_chat", "gpt-5-2").test_connection() == (True, "The key works: 10000 credits are left.")
    assert KieChatHook("kie_chat", "gpt-9").test_connection()[0] is False
    assert kie.control.ledger() == []


def test_the_operator_of_common_ai_returns_the_answer(kie: SimulatorServer) -> None:
    run = TaskRun(lambda: LLMOperator(task_id="ask", prompt="hi", llm_conn_id="kie_chat", model_id="claude-haiku-4-5"))
    run.extra["task_instance"] = run.ti
    assert run.execute().startswith("The simulated claude-haiku-4-5")


@pytest.mark.parametrize(
    ("model", "path"), [("openai-chat:gpt-5-2", "/gpt-5-2/v1"), ("anthropic:claude-haiku-4-5", "/claude")]
)
def test_common_ais_own_connection_type_reaches_the_models_too(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, model: str, path: str
) -> None:
    from airflow.providers.common.ai.hooks.pydantic_ai import PydanticAIHook

    connection = {"conn_type": "pydanticai", "host": f"{kie.url}{path}", "password": kie.api_key}
    monkeypatch.setenv("AIRFLOW_CONN_PLAIN", json.dumps(connection))
    hook = PydanticAIHook("plain", model)
    client: Any = hook.get_conn()
    assert hook.create_agent(instructions="").run_sync("hello").output.startswith("The simulated")
    loop = asyncio.get_event_loop()
    loop.run_until_complete(client.client.close())  # pydantic-ai keeps its connections open
    loop.run_until_complete(asyncio.sleep(0.05))


def test_without_the_provider_airflow_is_told_what_to_install() -> None:
    program = (
        "import sys; sys.modules['pydantic_ai'] = None\n"
        "from airflow.sdk.exceptions import AirflowOptionalProviderFeatureException as Missing\n"
        "try:\n    import airflow_kie.hooks.chat\nexcept Missing as error:\n    print(error, file=sys.__stdout__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'airflow-provider-kie-ai[chat]'" in done.stdout
