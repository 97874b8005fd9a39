"""The steps of the chain at which a process is killed, and what holds a song there until it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VICTIMS = ("task", "supervisor", "triggerer", "scheduler", "api-server", "dag-processor")
"""The processes that are killed: a task's own, the worker that supervises it, and the parts of Airflow."""
NO_PROCESS = frozenset({"task", "supervisor"})
"""Victims that a deferred task does not have."""
HOLD = 12
"""Seconds that a hold makes one request last."""


@dataclass(frozen=True)
class Step:
    """A step of the chain.

    :param name: what the report calls it.
    :param task_id: the task that is at the step.
    :param state: ``running`` or ``deferred``.
    :param kie: phase and fields of a slow answer of KIE that holds the song there; ``{song}`` is its id.
    :param s3: regular expression and method of a slow answer of S3; ``{request}`` is what the ledger calls the cover's
        request.
    :param done: S3 has done it, and its answer alone is slow.
    :param takes: the kind of KIE task that takes long until the kill is done.
    """

    name: str
    task_id: str
    state: str = "running"
    kie: tuple[str, Mapping[str, Any]] | None = None
    s3: tuple[str, str] | None = None
    done: bool = False
    takes: str | None = None


REPORT = "report"
"""The step that needs a second song in the run, one that fails: only then does the report ask S3 for something."""
_COVER = {"kind": "cover", "source_id": "{song}"}

STEPS = (
    Step("song list", "song_list", s3=(r"/_pending/{song}\.json", "GET")),
    Step("music complete", "music_complete", kie=("details", {"kind": "music", "task_id": "{song}"})),
    Step("music complete, deferred", "music_complete", "deferred", takes="music"),
    Step("cover, before the create", "generate_cover", s3=(r"/{request}/\d+\.intent", "PUT")),
    Step("cover, create in flight", "generate_cover", kie=("create", _COVER)),
    Step("cover, id stored", "generate_cover", s3=(r"/{request}/\d+\.task\.", "PUT"), done=True),
    Step("cover, deferred", "generate_cover", "deferred", takes="cover"),
    Step("cover details", "cover_details", kie=("details", _COVER)),
    Step("archive, download", "archive_to_s3", kie=("file", {**_COVER, "role": "image"})),
    Step("archive, upload", "archive_to_s3", s3=(r"/{song}/cover-", "PUT")),
    Step("archive, before the manifest", "archive_to_s3", s3=(r"/{song}/manifest\.json", "PUT")),
    Step("report", "report", s3=(r"/_pending/{doomed}\.json", "GET")),
)
