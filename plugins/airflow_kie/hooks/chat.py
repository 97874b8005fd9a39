"""KIE's chat models for Airflow's common.ai provider: ``@task.llm``, ``@task.agent`` and the like.

It adds a connection type to those of that provider, as Snowflake's does. Key, host, caps and spending switch are those
of the connection of type ``kie`` that it names.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowOptionalProviderFeatureException

from airflow_kie.client.chat.models import ChatModel, Dialect, chat_model
from airflow_kie.client.errors import KieError, KieInvalidRequest, Remedy
from airflow_kie.client.operations.operation import Host
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.tasks import current_caller

try:
    import httpx2
    from airflow.providers.common.ai.hooks.pydantic_ai import PydanticAIHook
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI
    from pydantic_ai.exceptions import ModelAPIError
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.models.wrapper import WrapperModel
    from pydantic_ai.profiles.openai import OpenAIModelProfile
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    from airflow_kie.hooks.chat_transport import CHAT_SECONDS, KieChatTransport
except ImportError as error:
    raise AirflowOptionalProviderFeatureException(
        "KIE's chat models need Airflow's common.ai provider: pip install 'airflow-provider-kie-ai[chat]'"
    ) from error

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
    from pydantic_ai.settings import ModelSettings

_ONCE: Mapping[str, Any] = {"api_key": "the transport has it", "max_retries": 0}
"""Arguments of the libraries' clients: they never see the key, and a try of theirs would be paid for again."""
_WITHOUT_FUNCTIONS = frozenset({"gpt-5-2"})
"""Models whose page knows no function calling but KIE's own search: JSON is requested in the prompt."""


class KieChatError(ModelAPIError):
    """A chat model did not answer, and a retry may help; with fallbacks, it counts as an outage.

    :param model_name: the model.
    :param message: what happened, what is paid, what happens next, what a person can do.
    """


class KieChatFailed(KieChatError, AirflowFailException):
    """A chat model did not answer, and a retry cannot help or could be charged twice: Airflow makes none."""


class KieChatHook(PydanticAIHook):
    """Provides KIE's chat models to the operators of common.ai.

    Fields of the connection, of type ``pydanticai_kie``: ``model``, ``kie_conn_id`` (the connection of type ``kie``
    whose account pays; default ``kie_default``), ``endpoint`` (the path of a model that this version's catalogue does
    not have) and ``fallback_conn_ids``.

    :param llm_conn_id: Airflow connection of type ``pydanticai_kie``.
    :param model_id: KIE's name of the model, such as ``claude-haiku-4-5``; overrides the connection's.
    :param fallback_conn_ids: connections to ask, in order, if this one does not answer.
    :param kie_conn_id: Airflow connection of type ``kie``; overrides the one that the connection names.
    """

    conn_type = "pydanticai_kie"
    default_conn_name = "kie_chat"
    hook_name = "KIE.ai chat models"

    def __init__(
        self,
        llm_conn_id: str | None = None,
        model_id: str | None = None,
        fallback_conn_ids: list[str] | None = None,
        *,
        kie_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(llm_conn_id, model_id, fallback_conn_ids, **kwargs)
        self.kie_conn_id = kie_conn_id

    # common.ai 1.0.0 makes each model of a chain of fallbacks with this method.
    def _resolve_own_model(self, *, forwarded_model_id: str | None = None, **forwarded: Any) -> Model:
        _, extra = self._get_conn_and_extra()
        name = self._get_configured_model_name() or forwarded_model_id
        with _explained(str(name)):
            if not name:
                raise KieInvalidRequest(
                    f"neither the task (model_id) nor connection {self.llm_conn_id} (its field model) names a chat "
                    "model; nothing was sent to KIE"
                )
            chat = chat_model(name, str(extra.get("endpoint") or "").strip())
            hook = self._account(extra)
            url = hook.account.url(Host.API, chat.base_path)
        client = httpx2.AsyncClient(transport=KieChatTransport(hook, chat), timeout=CHAT_SECONDS)
        return KieChatModel(_MODELS[chat.dialect](chat, {"base_url": url, "http_client": client, **_ONCE}))

    def _account(self, extra: Mapping[str, Any]) -> KieHook:
        return KieHook(self.kie_conn_id or str(extra.get("kie_conn_id") or KieHook.default_conn_name))

    def test_connection(self) -> tuple[bool, str]:
        """Check that the model exists and that the key works; both are free."""
        try:
            self.get_conn()
        except KieChatError as error:
            return False, error.message
        return self._account(self._get_conn_and_extra()[1]).test_connection()


class KieChatModel(WrapperModel):
    """A chat model whose failures say what happened in Airflow's words; parameters as pydantic-ai's."""

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Ask once and return the answer."""
        with _explained(self.model_name):
            return await super().request(messages, model_settings, model_request_parameters)

    @contextlib.asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: Any = None,
    ) -> AsyncIterator[StreamedResponse]:
        """Ask once and give the answer's events; the whole answer has come by then."""
        with _explained(self.model_name):
            async with super().request_stream(
                messages, model_settings, model_request_parameters, run_context
            ) as streamed:
                yield streamed


@contextlib.contextmanager
def _explained(model_name: str) -> Iterator[None]:
    """Raise what a KIE error within another one means to Airflow."""
    try:
        yield
    except Exception as raised:
        known = _kie_error_in(raised)
        if known is None:
            raise
        caller = current_caller()
        where = f"task {caller.task_id} of {caller.dag_id}" if caller.dag_id else caller.task_id
        kind = KieChatFailed if known.remedy is Remedy.PERSON else KieChatError
        message = f"{model_name}, asked by {where}: {known.without_deadline()}"
        raise kind(model_name, message, retry_after=known.facts.retry_after) from known


def _kie_error_in(raised: BaseException) -> KieError | None:
    seen: set[int] = set()
    current: BaseException | None = raised
    while current is not None and id(current) not in seen:
        if isinstance(current, KieError):
            return current
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return None


def _openai(chat: ChatModel, client: Mapping[str, Any]) -> OpenAICompatibleProvider:
    profile = OpenAIModelProfile(
        # The pages know tool_choice auto alone, and nothing of the rest.
        supports_forced_tool_choice=False,
        openai_supports_strict_tool_definition=False,
        openai_supports_encrypted_reasoning_content=False,
    )
    if chat.name in _WITHOUT_FUNCTIONS:
        profile["default_structured_output_mode"] = "prompted"
    return OpenAICompatibleProvider("kie", openai_client=AsyncOpenAI(**client), profile=profile)


def _completions(chat: ChatModel, client: Mapping[str, Any]) -> Model:
    return OpenAIChatModel(chat.name, provider=_openai(chat, client))


def _responses(chat: ChatModel, client: Mapping[str, Any]) -> Model:
    return OpenAIResponsesModel(chat.name, provider=_openai(chat, client))


def _messages(chat: ChatModel, client: Mapping[str, Any]) -> Model:
    return AnthropicModel(chat.name, provider=AnthropicProvider(anthropic_client=AsyncAnthropic(**client)))


_MODELS: Mapping[Dialect, Callable[[ChatModel, Mapping[str, Any]], Model]] = {
    Dialect.COMPLETIONS: _completions,
    Dialect.RESPONSES: _responses,
    Dialect.MESSAGES: _messages,
    Dialect.CONTENTS: _completions,
}
