"""What a chat model's answer costs in credits: at most, before it is requested, and what KIE says afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_kie.client.catalogue.prices import UNKNOWN, Quote
from airflow_kie.client.chat.models import ChatModel, Dialect
from airflow_kie.client.chat.reading import Answered

Json = Mapping[str, Any]
_MOST = ("max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens")
"""Fields that bound the answer, in each dialect; Google's is within ``generationConfig``."""
_USAGE: Mapping[Dialect, tuple[str, str, str]] = {
    Dialect.COMPLETIONS: ("usage", "prompt_tokens", "completion_tokens"),
    Dialect.RESPONSES: ("usage", "input_tokens", "output_tokens"),
    Dialect.MESSAGES: ("usage", "input_tokens", "output_tokens"),
    Dialect.CONTENTS: ("usageMetadata", "promptTokenCount", "candidatesTokenCount"),
}
_SEVERAL = ("n", "candidateCount")
"""Fields that ask for several answers, each of which is paid."""
_KEPT = ("previous_response_id", "conversation", "cachedContent", "cached_content")
"""Fields that name earlier messages, of a length that nobody knows here."""
_LINKED = ('"http://', '"https://')


@dataclass(frozen=True)
class Used:
    """What an answer has used.

    :param read: tokens; None: KIE does not say.
    :param written: tokens, those of its thoughts included.
    :param credits: what KIE says, else what the price list makes of the tokens; None: not known.
    """

    read: int | None = None
    written: int | None = None
    credits: float | None = None


def quote_chat(chat: ChatModel, body: Json) -> Quote:
    """Return what an answer costs, at most; unknown where the request does not bound it, or names what is read.

    :param chat: the model.
    :param body: the request as KIE gets it.
    """
    price = _price(chat)
    fields = {**body, **(body.get("generationConfig") or {})}
    bounds = [fields[name] for name in _MOST if fields.get(name)]
    answers = [fields[name] for name in _SEVERAL if fields.get(name)] or [1]
    text = json.dumps(body, ensure_ascii=False)
    if not price:
        return UNKNOWN
    if not bounds or not all(isinstance(number, int) for number in (*bounds, *answers)):
        return Quote(why="the request does not say how many tokens an answer may have, such as max_tokens")
    if any(link in text for link in _LINKED) or any(fields.get(name) for name in _KEPT):
        return Quote(why="the request names files or an earlier answer, whose length is not known")
    most_read = len(text.encode(errors="surrogatepass"))  # a token is a byte at least
    read = max(price["input"], price.get("cache_write", 0.0))
    return Quote(0.0, round((most_read * read + max(bounds) * max(answers) * price["output"]) / 1e6, 4))


def used_by(chat: ChatModel, answer: Answered) -> Used:
    """Return what an answer has used."""
    group, first, second = _USAGE[chat.dialect]
    read = written = credits = None
    for part in answer.parts:
        for holder in (part, part.get("response"), part.get("message")):
            usage = holder.get(group) if isinstance(holder, dict) else None
            if isinstance(usage, dict):
                read = _number(usage.get(first)) or read
                thought = _number(usage.get("thoughtsTokenCount") or usage.get("thinkingTokenCount")) or 0
                written = (_number(usage.get(second)) or 0) + thought or written
            if isinstance(holder, dict) and isinstance(holder.get("credits_consumed"), int | float):
                credits = float(holder["credits_consumed"])
    price = _price(chat)
    if credits is None and price and read is not None and written is not None:
        credits = round((read * price["input"] + written * price["output"]) / 1e6, 4)
    return Used(read, written, credits)


def _price(chat: ChatModel) -> Mapping[str, float]:
    tiers = chat.listed.price.tiers if chat.listed and chat.listed.price else ()
    return {tier.name: tier.credits for tier in tiers}


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
