"""The table of KIE operations: every create endpoint is a row."""

from __future__ import annotations

from dataclasses import dataclass

from kie_simulator.covers import COVER
from kie_simulator.music import MUSIC
from kie_simulator.readings import Family


@dataclass(frozen=True)
class Source:
    """The task that an operation is made from.

    :param field: the request field with its id.
    :param kinds: the kinds of task that it may be.
    :param audio_field: the request field with one of its audio ids, if that is asked for too.
    :param missing: code and message when there is no such task.
    """

    field: str
    kinds: tuple[str, ...]
    missing: tuple[int, str]
    audio_field: str = ""


@dataclass(frozen=True)
class Operation:
    """One create endpoint.

    :param credits: what a task costs.
    :param callback_field: the request field with the callback URL.
    :param callback_refusal: what KIE says when it is missing; empty where it may be missing.
    :param once: code and message for a second task of the same source; None where it is charged again.
    """

    kind: str
    path: str
    details_path: str
    family: Family
    required: tuple[str, ...] = ()
    credits: float = 0.0
    callback_field: str = "callBackUrl"
    callback_refusal: str = "Please enter callBackUrl."
    source: Source | None = None
    once: tuple[int, str] | None = None
    names_record_id: bool = False


MUSIC_KINDS: tuple[str, ...] = (
    "music",
    "extend",
    "upload_cover",
    "upload_extend",
    "add_instrumental",
    "add_vocals",
    "replace_section",
    "mashup",
    "sounds",
)
_MUSIC_DETAILS = "/api/v1/generate/record-info"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        kind="music",
        path="/api/v1/generate",
        details_path=_MUSIC_DETAILS,
        family=MUSIC,
        required=("prompt", "customMode", "instrumental", "model"),
        credits=12.0,
    ),
    Operation(
        kind="cover",
        path="/api/v1/suno/cover/generate",
        details_path="/api/v1/suno/cover/record-info",
        family=COVER,
        required=("taskId",),
        # No source names the price of a cover; what matters is that a second one would show in the ledger.
        credits=4.0,
        callback_refusal="Please enter callBackUrl",
        source=Source("taskId", MUSIC_KINDS, (422, "Original music record does not exist")),
        once=(400, "The cover image has already been generated for this task"),
    ),
)
BY_KIND = {operation.kind: operation for operation in OPERATIONS}
