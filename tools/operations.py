"""The table of docs/operations.md: one row for each of KIE's operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from airflow_kie.client.catalogue.listed import FREE_CALLS, listed_model
from airflow_kie.client.catalogue.models import models
from airflow_kie.client.catalogue.prices import prices
from airflow_kie.client.operations.operation import Operation, TaskOperation
from airflow_kie.client.operations.registry import OPERATIONS

SEEN: Mapping[str, str] = {
    "market": "to the end",
    "style": "answered",
    "credit": "answered",
    "download_url": "answered",
    "upload.base64": "answered",
    "upload.stream": "answered",
    "suno.music": "created",
    "suno.lyrics": "created",
    **dict.fromkeys(("suno.wav", "suno.stems", "suno.video", "suno.midi"), "refused"),
    **dict.fromkeys(("suno.extend", "suno.upload_cover", "suno.upload_extend"), "created"),
}
"""What the recordings in tests/data/kie-recordings show of an operation: how far somebody has seen it go."""


def operation_rows() -> Iterator[tuple[str, ...]]:
    """Yield the cells of each operation."""
    for name, row in sorted(OPERATIONS.items()):
        yield (
            f"`{name}`",
            f"[{row.title}](https://docs.kie.ai/{row.page})",
            ", ".join(f"`{field}`" for field in row.required) or "none",
            _results(row),
            _price(name),
            _kept(row),
            SEEN.get(name, "no"),
        )


def model_rows() -> Iterator[tuple[str, ...]]:
    """Yield the cells of each model of the market, chat models left out."""
    for model in models().values():
        if model.is_market:
            yield (
                f"`{model.model}`",
                f"{model.title}{' (discontinued)' if model.status == 'discontinued' else ''}",
                model.media,
                ", ".join(f"`{field}`" for field in model.required) or "none",
                "; ".join(prices(model)),
            )


def _results(row: Operation) -> str:
    if not isinstance(row, TaskOperation):
        return "answered at once"
    return ", ".join(
        f"`{result.role}` ({result.medium}{'' if result.required else ', optional'})" for result in row.results
    )


def _price(name: str) -> str:
    if name in FREE_CALLS:
        return "free"
    if name == "market":
        return "the model's"
    return "; ".join(prices(models()[listed_model(name)]))


def _kept(row: Operation) -> str:
    if not isinstance(row, TaskOperation):
        return "3 days" if row.name.startswith("upload.") else ""
    return f"{min(result.kept for result in row.results).days} days"
