"""What can be changed in the simulated KIE while it runs (``/_sim/settings``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

INLINE = tuple(
    f"ai-music-api/{name}" for name in ("timeStamped-lyrics", "boost-music-style", "generate-persona", "check-voice")
)
"""Answered at once in the dedicated form; in this one two clients report it of the first, the others are guesses."""


OF_ACCOUNT = frozenset({"ids_between_forms", "reads_across_forms", "missing_source"})
"""Settings that an account may have for itself: what the forms know of each other's tasks."""


class Duplicate(BaseModel):
    """How KIE answers a second cover for the same music task: no recording of it exists.

    Instead of one, the setting may be ``none``: KIE then makes, and charges, another task each time.
    """

    model_config = ConfigDict(extra="forbid")

    http: Literal[200, 400, 409] = 200
    code: Literal[400, 409] = 400
    data: Literal["object", "null", "string"] = "object"


class Settings(BaseModel):
    """The simulated KIE's habits; the defaults are what was observed or is documented."""

    model_config = ConfigDict(extra="forbid")

    speed: float = Field(default=1.0, gt=0, le=100_000)
    music_seconds: float | None = Field(default=None, ge=0)
    cover_seconds: float | None = Field(default=None, ge=0)
    task_seconds: float | None = Field(default=None, ge=0)
    tracks: int = Field(default=2, ge=1, le=8)
    cover_images: int = Field(default=2, ge=1, le=8)
    duplicate: Duplicate | Literal["none"] = Duplicate()
    failed_cover_blocks: bool = False
    unfinished_music: Literal["accept", "refuse"] = "accept"
    time_format: Literal["iso", "epoch"] = "iso"
    http_errors: bool = False
    rate_limit: int = Field(default=20, ge=1)
    rate_window: float = Field(default=10.0, gt=0)
    reads_per_second: int = Field(default=3, ge=1)
    refuse_excess_reads: bool = False
    out_of_credits_code: Literal[402, 500] = 402
    retention_days: float = Field(default=14.0, gt=0)
    upload_days: float = Field(default=3.0, gt=0)
    download_link_minutes: float = Field(default=20.0, gt=0)
    plain_images: bool = False
    refuse_default_user_agents: bool = True
    callback_timeout: float = Field(default=15.0, gt=0)
    callback_retries: int = Field(default=3, ge=0)
    callback_backoff: float = Field(default=1.0, ge=0)
    callback_signs_again: bool = True
    callback_hosts: list[str] = []
    ids_between_forms: Literal["shared", "separate"] = "shared"
    reads_across_forms: bool = False
    missing_source: Literal["refused", "failed_task"] = "refused"
    unified_duplicate: Literal["new_task", "same_id"] = "new_task"
    unified_callback: Literal["market", "staged"] = "market"
    unified_reads_per_second: int = Field(default=10, ge=1)
    first_reads_null: int = Field(default=0, ge=0)
    cover_result: Literal["resultUrls", "images", "nested"] = "resultUrls"
    prompt_only: Literal["refuse", "accept"] = "refuse"
    inline_models: list[str] = list(INLINE)
    inline_shape: Literal["data", "nested"] = "data"
    unsupported_models: list[str] = []
    newer_models: dict[str, dict[str, Any]] = {}
    dedicated_refused_versions: list[str] = []
    durations_honoured: bool = True
    chat_answer: str = ""
    chat_errors: Literal["envelope", "documented"] = "envelope"
    discovery_seconds: float = Field(default=1.0, ge=0)
    webhook_key: str | None = Field(default=None, repr=False)

    def changed(self, changes: Mapping[str, Any]) -> Settings:
        """Return these settings with some changed.

        :param changes: new values by name; ``duplicate`` may name only some of its fields.
        :raises pydantic.ValidationError: if a name or value is not known.
        """
        merged = self.model_dump() | dict(changes)
        if isinstance(changes.get("duplicate"), Mapping):
            before = self.duplicate.model_dump() if isinstance(self.duplicate, Duplicate) else {}
            merged["duplicate"] = before | dict(changes["duplicate"])
        return Settings.model_validate(merged)

    def shown(self) -> dict[str, Any]:
        """Return the settings for display: the webhook key only says whether there is one."""
        return self.model_dump() | {"webhook_key": "(set)" if self.webhook_key else None}
