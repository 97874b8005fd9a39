"""The chat models' endpoints: who may enter, what is refused, what an answer costs."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kie_simulator.accounts import Account
from kie_simulator.answers import OUT_OF_CREDITS, UNAUTHORIZED, Answer, Spoken, refusal
from kie_simulator.api import Api, read_json
from kie_simulator.catalogue import Model, models
from kie_simulator.chat.dialects import CHAT, GEMINI, Dialect, dialect_at
from kie_simulator.chat.inventing import Json, Said, reply
from kie_simulator.faults import Moment
from kie_simulator.spoiling import answered

_UNKNOWN_PRICE: Mapping[str, float] = {"input": 100.0, "output": 700.0}
"""Credits of a million tokens of a model that no price list names."""
_SMALLEST = 0.01
_UNSUPPORTED = (
    "The model name you specified is not supported. Please verify your input and use one of the supported models "
    "provided by KIE."
)
_ERROR_TYPES: Mapping[int, str] = {401: "authentication_error", 429: "rate_limit_error"}


def add_chat(api: Api) -> None:
    """Add every chat endpoint that KIE's catalogue names to the API."""
    paths: dict[str, list[Model]] = {}
    for model in models().values():
        if dialect_at(model.endpoint):
            paths.setdefault(model.endpoint, []).append(model)
    for path, served in paths.items():
        api.add("POST", path, _Endpoint(api, path, {model.model: model for model in served}).respond)


class _Endpoint:
    """One path, with the models that it serves.

    :param served: by their names; where the path names the model, there is one.
    """

    def __init__(self, api: Api, path: str, served: Mapping[str, Model]) -> None:
        found = dialect_at(path)
        assert found is not None  # noqa: S101 - add_chat has asked
        self._api, self._path, self._served = api, path, served
        self._dialect: Dialect = found

    async def respond(self, request: Request) -> Response:
        """Answer a request."""
        sim = self._api.sim
        account = self._entered(request)
        body = await read_json(request)
        model = self._model(body or {})
        moment = Moment(
            "chat",
            kind="chat",
            path=self._path,
            account=account.name if account else "",
            model=model.model if model else "",
        )

        async def effect() -> Answer:
            if account is None:
                return refusal(401, UNAUTHORIZED)
            return self._answer(account, body, model)

        response = await answered(sim.faults.strike(moment), effect, http_errors=sim.settings.http_errors)
        return response if sim.settings.chat_errors == "envelope" else _as_documented(response)

    def _entered(self, request: Request) -> Account | None:
        key = request.headers.get(self._dialect.key_header or "-", "")
        account = self._api.enter(request)
        return account or (self._api.sim.accounts.of(f"Bearer {key.removeprefix('Bearer ')}") if key else None)

    def _model(self, body: Json) -> Model | None:
        if self._dialect in (CHAT, GEMINI):  # the path names it
            return next(iter(self._served.values()))
        return self._served.get(str(body.get("model")))

    def _answer(self, account: Account, body: Json | None, model: Model | None) -> Answer:
        sim, dialect = self._api.sim, self._dialect
        if body is None:
            return refusal(400, "The request parameters are not valid JSON")
        if model is None:
            return refusal(422, _UNSUPPORTED)
        if not body.get(dialect.asked):
            return refusal(422, f"{dialect.asked} cannot be blank")
        if account.credits <= 0:
            return refusal(sim.settings.out_of_credits_code, OUT_OF_CREDITS)
        said = self._said(body, model)
        sim.charge_call(account, "chat", said.id, "", said.credits, {**body, "model": model.model})
        if body.get("stream", True):
            return Spoken(text=dialect.stream(said), media_type="text/event-stream")
        return Spoken(text=json.dumps(dialect.answer(said), ensure_ascii=False))

    def _said(self, body: Json, model: Model) -> Said:
        sim = self._api.sim
        asked = json.dumps(body, ensure_ascii=False)
        read = len(asked) // 4 + 1
        text, call, arguments = reply(self._dialect.heard(body), read, model.model, sim.settings.chat_answer)
        written = len(text or json.dumps(arguments)) // 4 + 1
        price = model.tiers or _UNKNOWN_PRICE
        credits = (read * price["input"] + written * price["output"]) / 1e6
        return Said(
            id=sim.new_id(),
            model=model.model,
            text=text,
            call=call,
            arguments=arguments,
            read=read,
            written=written,
            credits=max(_SMALLEST, round(credits, 2)),
            at=sim.clock.now(),
        )


def _as_documented(response: Response) -> Response:
    """Return a refusal as KIE's pages show it: an HTTP status, and OpenAI's error object."""
    if not isinstance(response, JSONResponse):
        return response
    refused = json.loads(bytes(response.body))
    code = int(refused["code"])
    error = {"message": refused["msg"], "type": _ERROR_TYPES.get(code, "invalid_request_error")}
    return JSONResponse({"error": error}, code if 400 <= code <= 599 else 500)
