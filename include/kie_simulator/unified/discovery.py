"""What KIE says of its models: the list, a model's schema and its price (KIE's skill text of September 2026)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kie_simulator.answers import TOO_FREQUENT, Answer, refusal
from kie_simulator.api import Api
from kie_simulator.catalogue import Model, with_newer
from kie_simulator.faults import Moment
from kie_simulator.tasks import Json
from kie_simulator.unified.rules import unsupported

_BASE = "/api/v1/models"


def _task_types(model: Model) -> list[str]:
    name = model.model.partition("/")[2] or model.model
    return [name if "-to-" in name else model.media]


def _price(model: Model) -> str:
    if model.credits == 0:
        return f"{model.title} is free."
    if model.credits is not None:
        return f"{model.credits:g} credits per {model.unit}."
    return (
        ", ".join(f"{name}: {credits:g} credits" for name, credits in model.tiers.items()) or "No price is published."
    )


def _entry(model: Model) -> Json:
    return {
        "model": model.model,
        "slug": model.model.replace("/", "-"),
        "title": model.title,
        "provider": model.provider,
        "taskType": _task_types(model),
        "description": model.title,
        "pricingDesc": _price(model),
    }


def _listed(query: Mapping[str, str], known: Mapping[str, Model]) -> Answer:
    entries = [_entry(model) for model in known.values() if model.live]
    wanted = query.get("q", "").lower()
    found = [
        entry
        for entry in entries
        if query.get("taskType", entry["taskType"][0]) in entry["taskType"]
        and query.get("provider", entry["provider"]) == entry["provider"]
        and wanted in f"{entry['model']} {entry['title']}".lower()
    ]
    return Answer(data={"total": len(found), "models": found})


def _property(rule: Mapping[str, Any]) -> Json:
    names = {"max_length": "maxLength", "min_length": "minLength", "max_items": "maxItems", "min_items": "minItems"}
    names |= {"min": "minimum", "max": "maximum"}
    return {names.get(name, name): value for name, value in rule.items()}


def _openapi(model: Model) -> Json:
    fields = {name: _property(rule) for name, rule in model.fields.items()}
    given: Json = {"type": "object", "properties": fields, "required": list(model.required)}
    if model.one_of:
        given["oneOf"] = [{"required": list(names)} for names in model.one_of]
    body = {
        "type": "object",
        "required": ["model", "input"],
        "properties": {
            "model": {"type": "string", "enum": [model.model], "default": model.model},
            "callBackUrl": {"type": "string", "format": "uri"},
            "input": given,
        },
    }
    operation = {"requestBody": {"content": {"application/json": {"schema": body}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": model.title, "version": "1.0.0"},
        "paths": {"/api/v1/jobs/createTask": {"post": operation}},
    }


def _schema(model: Model) -> Json:
    # Models that are called elsewhere have none.
    elsewhere = model.endpoint or model.status == "discontinued"
    return {"model": model.model, "openapi": None if elsewhere else _openapi(model)}


def _priced(model: Model) -> Json:
    return {"model": model.model, "pricingDesc": _price(model)}


def _success(model: Model) -> list[Json]:
    """Return a day in steps of ten minutes; the rates are null where nothing was asked for."""
    step, day = 600, 86_400
    first = int(time.time()) // step * step - day
    quiet: Json = {"successRate": None, "errorRate": None, "isNormal": True}
    busy: Json = {"successRate": 0.98, "errorRate": 0.02, "isNormal": True}
    return [
        {"start": start, "end": start + step, **(quiet if start // step % 6 else busy)}
        for start in range(first, first + day, step)
    ]


def _about(request: Request, known: Mapping[str, Model], tell: Callable[[Model], Any]) -> Answer:
    model = known.get(request.path_params["model"])
    return Answer(data=tell(model)) if model else refusal(404, unsupported().msg)


_ENDPOINTS: Mapping[str, Callable[[Request, Mapping[str, Model]], Answer]] = {
    _BASE: lambda request, known: _listed(request.query_params, known),
    # The slash within a model's name stays as it is in the path.
    _BASE + "/{model:path}/schema": lambda request, known: _about(request, known, _schema),
    _BASE + "/{model:path}/price": lambda request, known: _about(request, known, _priced),
    _BASE + "/{model:path}/success-rate": lambda request, known: _about(request, known, _success),
}


def add_discovery(api: Api) -> None:
    """Add the endpoints about models to the API."""
    for path, tell in _ENDPOINTS.items():
        api.add("GET", path, _endpoint(api, tell))


def _endpoint(api: Api, tell: Callable[[Request, Mapping[str, Model]], Answer]) -> Any:
    async def endpoint(request: Request) -> Response:
        account = api.enter(request)
        if account is None:
            return await api.answer([], api.unauthorized)
        moment = Moment("call", kind="models", path=request.url.path, account=account.name)

        async def answer() -> Answer:
            if not account.may_ask(api.sim.settings.discovery_seconds):
                return refusal(429, TOO_FREQUENT)
            return tell(request, with_newer(api.sim.settings.newer_models))

        return await api.answer(api.sim.faults.strike(moment), answer)

    return endpoint
