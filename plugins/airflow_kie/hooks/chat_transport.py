"""How a chat model of KIE is asked: what OpenAI's and Anthropic's libraries send goes through here.

They bring the words; this brings the account: its key, switch, caps and rate, one try, a bound on the answer, and
KIE's refusals, which come within HTTP 200 and which those libraries take for answers.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

import httpx2

from airflow_kie.client.chat.cost import Used, quote_chat, used_by
from airflow_kie.client.chat.models import ChatModel
from airflow_kie.client.chat.reading import Answered, read_answer
from airflow_kie.client.chat.wording import HEADERS, KEY_HEADERS, answered, asked
from airflow_kie.client.errors import (
    KieChatInDoubt,
    KieConnectionInvalid,
    KieError,
    KieInvalidRequest,
    KieNotSent,
)
from airflow_kie.client.http.transport import KieAsyncTransport
from airflow_kie.client.requests import Request
from airflow_kie.hooks.calls import CHAT, record_chat
from airflow_kie.hooks.cost import permitted, quoted_cost
from airflow_kie.hooks.ledger import open_ledger
from airflow_kie.hooks.tasks import current_caller
from airflow_kie.threads import in_thread

if TYPE_CHECKING:
    from airflow_kie.client.catalogue.prices import Quote
    from airflow_kie.client.rate_limiter.limiter import CreateLimiter, Permit
    from airflow_kie.hooks.kie import KieHook

log = logging.getLogger(__name__)

CHAT_SECONDS = 660.0
"""Seconds for an answer: after ten minutes without a result KIE itself gives up (its pages, code 408)."""
_NOT_SENT = (KieNotSent, KieInvalidRequest, KieConnectionInvalid)


class KieChatTransport(httpx2.AsyncBaseTransport):
    """Sends the requests of one chat model, each once, to its one endpoint.

    :param hook: the account that pays.
    :param chat: the model.
    """

    def __init__(self, hook: KieHook, chat: ChatModel) -> None:
        self._hook, self._chat = hook, chat
        self._ledger = functools.cache(lambda: open_ledger(hook).ledger)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send what a library asks, and return KIE's answer as it expects one.

        :raises KieError: why there is none.
        """
        wanted = json.loads(await request.aread() or b"{}")
        if request.method != "POST" or not isinstance(wanted, dict):
            raise KieInvalidRequest(f"KIE has no endpoint {request.url.path}; nothing was sent to KIE")
        body = asked(self._chat, wanted)
        quoted = quote_chat(self._chat, body)
        limiter, permit, name = await in_thread(self._permit, quoted)
        record = functools.partial(record_chat, self._hook, self._ledger, name, time.time(), quoted, current_caller())
        try:
            answer = await self._send(body)
        except KieChatInDoubt:
            await in_thread(record)
            raise
        except KieError as error:
            await in_thread(limiter.give_back, permit, sent=not isinstance(error, _NOT_SENT))
            raise
        used = used_by(self._chat, answer)
        self._log(used)
        if used.credits is not None and used.credits != quoted.high:
            await in_thread(limiter.settle, f"{CHAT}/{name}", used.credits)
        await in_thread(record, answered=True, used=used.credits)
        try:
            content, content_type = answered(self._chat, answer, stream=bool(wanted.get("stream")))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as odd:  # another try would pay again
            raise KieChatInDoubt(f"the answer has an unknown structure ({type(odd).__name__})") from odd
        return httpx2.Response(200, headers={"Content-Type": content_type}, content=content, request=request)

    def _permit(self, quoted: Quote) -> tuple[CreateLimiter, Permit, str]:
        """Hold a request against the account's switch, caps and rate; this may block."""
        hook, chat, name = self._hook, self._chat, uuid.uuid4().hex
        hook.spending_switch.check()
        cost = quoted_cost(hook, quoted, f"this request to {chat.name}", current_caller())
        limiter, permit = permitted(hook, cost, chat.name)
        limiter.name(permit, f"{CHAT}/{name}")
        return limiter, permit, name

    async def _send(self, body: dict[str, Any]) -> Answered:
        chat, account = self._chat, self._hook.account
        headers = dict(HEADERS.get(chat.dialect, {}))
        if key_header := KEY_HEADERS.get(chat.dialect):
            headers[key_header] = account.api_key
        slow = dataclasses.replace(account, deadline=CHAT_SECONDS, timeout=CHAT_SECONDS)
        try:
            response = await KieAsyncTransport(slow).send(Request("POST", chat.path, json=body, headers=headers))
        except _NOT_SENT:
            raise
        except KieError as error:
            raise KieChatInDoubt(error.facts.message, code=error.facts.code) from error
        return read_answer(chat, response)

    def _log(self, used: Used) -> None:
        tokens = f"{used.read} tokens read, {used.written} written" if used.read is not None else "tokens not reported"
        credits = f"{used.credits:g} credits" if used.credits is not None else "credits not reported"
        log.info("KIE's %s has answered: %s, %s.", self._chat.name, tokens, credits)
