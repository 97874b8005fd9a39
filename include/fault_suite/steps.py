"""The steps of the chain at which a process is killed, and what holds a song there until it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    :param task_id: the task that stands there.
    :param state: ``running`` or ``deferred``.
    :param kie: phase and fields of a slow answer of KIE that holds the song there; ``{song}`` is its id.
    :param s3: regular expression, method and first matches to let pass of a slow answer of S3.
    :param music: how the song is made.
    :param with_doomed: the run gets a second song that fails, for the report to note.
    """

    name: str
    task_id: str
    state: str = "running"
    kie: tuple[str, Mapping[str, Any]] | None = None
    s3: tuple[str, str, int] | None = None
    music: Mapping[str, Any] = field(default_factory=dict)
    with_doomed: bool = False


_COVER = {"kind": "cover", "source_id": "{song}"}

STEPS = (
    Step("song list", "song_list", s3=(r"/_pending/{song}\.json", "GET", 0)),
    Step("music complete", "music_complete", kie=("details", {"kind": "music", "task_id": "{song}"})),
    Step("music complete, deferred", "music_complete", "deferred", music={"state": "PENDING"}),
    Step("cover, before the create", "generate_cover", s3=(r"/{song}/manifest\.json", "GET", 1)),
    Step("cover, create in flight", "generate_cover", kie=("create", _COVER)),
    Step("cover, id stored", "generate_cover", s3=(r"/_pending/{song}\.json", "PUT", 1)),
    Step("cover, deferred", "generate_cover", "deferred"),
    Step("cover details", "cover_details", kie=("details", _COVER)),
    Step("archive, download", "archive_to_s3", kie=("file", {**_COVER, "role": "image"})),
    Step("archive, upload", "archive_to_s3", s3=(r"/{song}/cover-", "PUT", 0)),
    Step("archive, before the manifest", "archive_to_s3", s3=(r"/{song}/manifest\.json", "PUT", 0)),
    Step("report", "report", s3=(r"/_pending/{doomed}\.json", "GET", 2), with_doomed=True),
)
