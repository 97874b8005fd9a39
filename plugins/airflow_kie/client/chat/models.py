"""Which chat models there are, where each is called, and in whose words (docs.kie.ai, market)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from airflow_kie.client.catalogue.models import Model, models
from airflow_kie.client.errors import KieInvalidRequest

_PATH = re.compile(r"/[\w.:/-]+")


class Dialect(StrEnum):
    """In whose words a chat model is asked and answers."""

    COMPLETIONS = "OpenAI chat completions"
    RESPONSES = "OpenAI responses"
    MESSAGES = "Anthropic messages"
    CONTENTS = "Google contents"


_ENDINGS: Mapping[str, Dialect] = {
    "/chat/completions": Dialect.COMPLETIONS,
    "/responses": Dialect.RESPONSES,
    "/messages": Dialect.MESSAGES,
    ":streamGenerateContent": Dialect.CONTENTS,
}


@dataclass(frozen=True)
class ChatModel:
    """One chat model.

    :param name: by which KIE knows it.
    :param path: where it is called, below KIE's host.
    :param dialect: in whose words.
    :param listed: its row of the catalogue; None for one that is newer.
    """

    name: str
    path: str
    dialect: Dialect
    listed: Model | None = None

    @property
    def base_path(self) -> str:
        """The part of the path to which the dialect's libraries add the rest."""
        ending = next(ending for ending, dialect in _ENDINGS.items() if dialect is self.dialect)
        return self.path.removesuffix(ending).removesuffix("/v1" if self.dialect is Dialect.MESSAGES else "")


def chat_model(name: str, endpoint: str = "") -> ChatModel:
    """Return the chat model of a name.

    :param name: such as ``claude-haiku-4-5``.
    :param endpoint: where it is called, of one that this version's catalogue does not know.
    :raises KieInvalidRequest: when it is none, or nobody knows where it is called; the message says what can be done.
    """
    listed = models().get(name)
    path = endpoint or (listed.endpoint if listed else "")
    dialect = next((dialect for ending, dialect in _ENDINGS.items() if path.endswith(ending)), None)
    if dialect and _PATH.fullmatch(path) and (endpoint or (listed and listed.is_chat)):
        return ChatModel(name, path, dialect, listed)
    raise KieInvalidRequest(f"{_problem(name, endpoint, listed)}; nothing was sent to KIE")


def _problem(name: str, endpoint: str, listed: Model | None) -> str:
    if endpoint:
        return f"the endpoint {endpoint[:80]!r} of {name} is not a path that ends in one of {', '.join(_ENDINGS)}"
    how = "set it in the connection's field endpoint, such as /codex/v1/responses"
    if listed and listed.endpoint == "?":
        return f"KIE's pages do not give the path of {name}; {how}"
    if listed:
        return f"{name} is not a chat model; use KieTaskOperator for it"
    known = ", ".join(model for model, row in models().items() if row.is_chat and row.endpoint != "?")
    return f"{name!r} is not a chat model of this version's catalogue ({known}); for a newer one, {how}"
