"""The model of the catalogue that an operation of a dedicated endpoint is listed as, and a request to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_kie.client.catalogue.models import Model, models
from airflow_kie.client.operations.operation import Operation, TaskOperation, snake_case
from airflow_kie.client.operations.registry import OPERATIONS

_LISTED: Mapping[str, str] = {
    name: model
    for name, row in OPERATIONS.items()
    if (model := row.unified.model if isinstance(row, TaskOperation) and row.unified else row.model)
} | {
    "suno.recovery": "ai-music-api/suno-recovery-audio",
    "voice.validate": "ai-music-api/validation-phrase",
    "voice.regenerate": "ai-music-api/regenerate-phrase",
    "voice.generate": "ai-music-api/create-voice",
    "veo.generate": "veo-3-1",
    "veo.extend": "veo/extend",
    "veo.1080p": "veo/get-1080p-video",
    "veo.4k": "veo/get-4k-video",
    "runway.generate": "runway",
    "runway.extend": "runway/extend-ai-video",
    "runway.aleph": "runway/gen4-aleph",
    "gpt4o.image": "4o-image-api",
    "flux.kontext": "flux1-kontext",
}
"""Operation → the model under which KIE's catalogue has it."""
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "veo.generate": {"model": "veo3_fast"},
    "veo.extend": {"model": "fast"},
    "flux.kontext": {"model": "flux-kontext-pro"},
}
"""Defaults of the dedicated API variant, in fields that the catalogue's models do not have."""
FREE_CALLS = frozenset({"credit", "download_url", "models", "upload.base64", "upload.stream", "upload.url"}) | {
    "gpt4o.download_url"
}
"""Operations that no price list has: reads and uploads."""


@dataclass(frozen=True)
class Asked:
    """A request as the catalogue sees it.

    :param model: the model.
    :param given: its fields, in the catalogue's spelling.
    :param names: how the request spells them.
    """

    model: Model
    given: Mapping[str, Any] = field(repr=False)
    names: Mapping[str, str]


def asked_model(
    operation: Operation, body: Mapping[str, Any], known: Mapping[str, Model] | None = None
) -> Asked | None:
    """Return the model that a request asks, None where the catalogue has none.

    :param operation: the row.
    :param body: the request's fields as KIE names them.
    :param known: the catalogue; None: the package's.
    """
    market = operation.name == "market"
    name, fields = (body.get("model"), body.get("input")) if market else (_LISTED.get(operation.name), body)
    model = (models() if known is None else known).get(name) if isinstance(name, str) else None
    if model is None or not isinstance(fields, Mapping):
        return None
    given = {key: value for key, value in fields.items() if value is not None}
    names = {key if market else snake_case(key): key for key in map(str, given)}
    named = {name: given[key] for name, key in names.items()}
    return Asked(model, {**_DEFAULTS.get(operation.name, {}), **named}, names)


def listed_model(operation: str) -> str:
    """Return the model that an operation of a dedicated endpoint is listed as.

    :raises KeyError: for one that no price list has.
    """
    return _LISTED[operation]


def operation_of(model: str) -> str | None:
    """Return the operation of a dedicated endpoint that makes what a model makes, None where only the market does."""
    return next((operation for operation, name in _LISTED.items() if name == model), None)
