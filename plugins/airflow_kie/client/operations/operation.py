"""KIE's operations as data: the record types. The rows are in the module of their family, `registry` collects them.

What differs between operations is a field here, not a branch elsewhere: paths, spellings of the callback field, where
ids and results are, what a state word and a code mean, and whether KIE makes the thing once per source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from airflow_kie.client.errors import KieError
from airflow_kie.client.redact import storable

MEDIA_LIFETIME = timedelta(days=14)
"""docs.kie.ai getting-started: generated media are deleted after 14 days."""

CodeTable = Mapping[int, type[KieError]]


class Host(StrEnum):
    """KIE answers on two hosts, with the same key."""

    API = "api"
    UPLOAD = "upload"


class State(StrEnum):
    """What a state word of KIE comes to."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNDELIVERED = "undelivered"
    """KIE could not deliver its callback: says nothing of the files (``CALLBACK_EXCEPTION``)."""


@dataclass(frozen=True)
class Timing:
    """When a task of this kind usually ends; polling starts near it.

    :param first_read: seconds after the create at which a first read can find something.
    :param typical: seconds after which most tasks have ended.
    :param timeout: seconds after which waiting is given up, unless the user says otherwise.
    """

    first_read: float = 10
    typical: float = 60
    timeout: float = 30 * 60

    @property
    def callback_by(self) -> float:
        """Seconds after the create by which KIE's callback has come, if one comes."""
        return min(self.timeout, 3 * self.typical + 60)


class Medium(StrEnum):
    """What a result is; decides how its content is checked."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    JSON = "json"
    TEXT = "text"
    ANY = "any"
    """It depends on the model: only length and SHA-256 are known of it."""


@dataclass(frozen=True)
class ResultRow:
    """One kind of result of an operation.

    :param role: what it is to the task: cover, track, vocals, video; it names the archived files.
    :param path: where details have it; a list is several results.
    :param medium: what it is.
    :param inline: the value itself is the result; otherwise a link to it.
    :param required: a task that has succeeded has at least one.
    :param kept: how long KIE keeps it.
    """

    role: str
    path: str
    medium: Medium
    inline: bool = False
    required: bool = True
    kept: timedelta = MEDIA_LIFETIME


@dataclass(frozen=True)
class Parent:
    """The KIE task that a task is made from: its lineage, and the check that a result belongs to it.

    :param field: field of the request with its id, or with the id of one of its tracks.
    :param operation: name of the operation that made it.
    """

    field: str
    operation: str


@dataclass(frozen=True)
class TaskOperation:
    """An operation that makes a task: create → details → callback. Paths into answers are JMESPath (`json_path`).

    :param name: our name, fixed: it is stored (``suno.cover``).
    :param title: KIE's name.
    :param page: the documentation page at docs.kie.ai.
    :param create: path of the POST that makes a task; empty: reading its source's id asks for it.
    :param details: path of the GET that reads it.
    :param parent: what it is made from at KIE, None for nothing of KIE's.
    :param once_per: fields of the request that tell it from other tasks: requests that agree in them are the same. An
        address among them counts by its digest without query: a signed upload URL is a credential and not an id.
    :param by_request: the other fields of a request tell it from others too, such as what a video is extended with.
    :param required: fields that KIE refuses to do without.
    :param callback_field: spelling of the callback URL's field.
    :param id_path: where an answer names the task.
    :param state_path: where details say how the task is.
    :param states: state word or number → state. A word that is not among them counts as running.
    :param results: what the task makes. A link that an earlier row has named is not named again.
    :param shape_known: a success in which no result is found is an error, after two reads. Otherwise it is paid and
        finished all the same, and KIE's answer itself is the result.
    :param inputs: where details repeat the URL of what the task was made from: it is never a result.
    :param tracks: for music: where the tracks are, with the fields of :class:`~.answers.details.Track`.
    :param parent_path: where details name the parent; a task of another parent is refused.
    :param error_code_path: where details have an error code.
    :param error_message_path: where details have an error message.
    :param free: it costs no credits: a request whose answer was lost may be sent once more.
    :param duplicate_codes: codes with which KIE answers where it has made this for the source before.
    :param unknown_codes: codes with which details say that the task does not exist (yet); null data says it too.
    :param running_errors: an error code beside a running state announces a failure (music).
    :param create_errors: what a create's code means where it differs from the common table.
    :param details_errors: the same of a code of details.
    :param timing: when a task usually ends.
    """

    name: str
    title: str
    page: str
    create: str
    details: str
    parent: Parent | None = None
    once_per: tuple[str, ...] = ()
    by_request: bool = False
    required: tuple[str, ...] = ()
    callback_field: str = "callBackUrl"
    id_path: str = "taskId || task_id"
    state_path: str = "successFlag"
    states: Mapping[str | int, State] = field(default_factory=dict)
    results: tuple[ResultRow, ...] = ()
    shape_known: bool = False
    inputs: str = ""
    tracks: str = ""
    parent_path: str = ""
    error_code_path: str = "errorCode"
    error_message_path: str = "errorMessage || errorMsg"
    free: bool = False
    duplicate_codes: frozenset[int] = frozenset()
    unknown_codes: frozenset[int] = frozenset()
    running_errors: bool = False
    create_errors: CodeTable = field(default_factory=dict)
    details_errors: CodeTable = field(default_factory=dict)
    timing: Timing = Timing()

    @property
    def noun(self) -> str:
        """The operation without its family: ``cover``."""
        return self.name.rpartition(".")[2]

    def source_in(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a request is made from, as it may be stored and shown.

        :param body: the request's fields as KIE names them.
        """
        return {name: storable(body[name]) for name in self.once_per if body.get(name) not in (None, "")}


@dataclass(frozen=True)
class CallOperation:
    """An operation that answers at once: boost style, credits, download-url, an upload (a file lives 3 days).

    :param name: our name.
    :param title: KIE's name.
    :param page: the documentation page at docs.kie.ai.
    :param path: path below the host, with the leading slash.
    :param required: fields that KIE refuses to do without.
    :param method: GET or POST.
    :param host: which of KIE's hosts.
    :param file_field: the multipart field of a file's bytes; None: the body is JSON.
    """

    name: str
    title: str
    page: str
    path: str
    required: tuple[str, ...] = ()
    method: str = "POST"
    host: Host = Host.API
    file_field: str | None = None


Operation = TaskOperation | CallOperation
