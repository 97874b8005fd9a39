"""KIE's operations as data: the three record types. The rows stand in `registry`.

What differs between operations is a field here, not a branch elsewhere: paths, spellings of the callback field, where
ids and results stand, what a state word and a code mean in which phase, whether KIE makes the thing once per source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from airflow_kie.client.errors import KieError
from airflow_kie.client.operations.json_path import Path, Step
from airflow_kie.client.redact import storable


class Host(StrEnum):
    """KIE answers on two hosts, with the same key."""

    API = "api"
    UPLOAD = "upload"


class Phase(StrEnum):
    """A code means different things when a task is made and when it is read."""

    CREATE = "create"
    DETAILS = "details"


class State(StrEnum):
    """What a state word of KIE comes to."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNDELIVERED = "undelivered"
    """KIE could not deliver its callback: says nothing of the files (``CALLBACK_EXCEPTION``)."""


@dataclass(frozen=True)
class Endpoint:
    """One URL of KIE.

    :param method: GET or POST.
    :param path: path below the host, with the leading slash.
    :param host: which of KIE's hosts.
    """

    method: str
    path: str
    host: Host = Host.API


@dataclass(frozen=True)
class Timing:
    """When a task of this kind usually ends; polling starts near it.

    :param first_read: seconds after the create at which a first read can find something.
    :param typical: seconds after which most tasks have ended.
    :param timeout: seconds after which waiting is given up, unless the user says otherwise.
    """

    first_read: float
    typical: float
    timeout: float

    @property
    def callback_by(self) -> float:
        """Seconds after the create by which KIE's callback has come, if one comes."""
        return min(self.timeout, 3 * self.typical + 60)


@dataclass(frozen=True)
class Tracks:
    """Where the tracks of a music task stand and how their fields are spelled.

    :param path: path to the track objects.
    :param fields: our field → KIE's field.
    """

    path: Path
    fields: Mapping[str, str]


CodeTable = Mapping[int, type[KieError]]


def frozen(table: Mapping[Any, State] | None = None) -> Mapping[str | int, State]:
    """Return the table as one that nobody can change."""
    return MappingProxyType(dict(table or {}))


@dataclass(frozen=True)
class TaskOperation:
    """An operation that makes a task: create → details → callback.

    :param name: our name, fixed: it is stored (``suno.cover``).
    :param title: KIE's name.
    :param page: the documentation page at docs.kie.ai.
    :param create: where a task is made.
    :param details: where it is read; None: by sending its create again (Veo 4K).
    :param parent_fields: fields of the request with the ids of what it is made from at KIE.
    :param identity_fields: further fields that tell it from other tasks of the same parent, or of none. An address
        among them counts by its digest without query: a signed upload URL is a credential and no id.
    :param required: fields that KIE refuses to do without.
    :param callback_field: spelling of the callback URL's field; None: KIE calls nobody back.
    :param details_field: spelling of the id's field when details are read.
    :param id_paths: where a create's answer names the task.
    :param state_path: where details say how the task is; None: it has ended when the results are there.
    :param states: state word or number → state. A word that stands nowhere counts as running.
    :param result_paths: where the URLs of the result files stand; all of them are results.
    :param input_paths: where details repeat the URL of what the task was made from: it is never a result.
    :param tracks: for music: where the tracks stand.
    :param parent_path: where details name the source; a task of another source is refused.
    :param error_code_path: where details carry an error code.
    :param error_message_paths: where details carry an error message.
    :param free: it costs no credits: a request whose answer was lost may be sent once more.
    :param duplicate_codes: codes with which KIE answers where it has made this for the source before.
    :param id_is_source: the task has no id of its own but goes by that of its source (Veo 4K).
    :param unknown_codes: codes with which details say that there is no such task (yet); null data says it too.
    :param running_errors: an error code beside a running state announces a failure (music).
    :param readable_codes: codes of a details answer that carry data although they are not 200.
    :param code_errors: per phase, what a code means where it differs from the common table.
    :param timing: when a task usually ends.
    """

    name: str
    title: str
    page: str
    create: Endpoint
    details: Endpoint | None
    parent_fields: tuple[str, ...] = ()
    identity_fields: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    callback_field: str | None = "callBackUrl"
    details_field: str = "taskId"
    id_paths: tuple[Path, ...] = (("taskId",), ("task_id",))
    state_path: Path | None = ("successFlag",)
    states: Mapping[str | int, State] = field(default_factory=frozen)
    result_paths: tuple[Path, ...] = ()
    input_paths: tuple[Path, ...] = ()
    tracks: Tracks | None = None
    parent_path: Path | None = None
    error_code_path: Path = ("errorCode",)
    error_message_paths: tuple[Path, ...] = (("errorMessage",), ("errorMsg",))
    free: bool = False
    duplicate_codes: frozenset[int] = frozenset()
    id_is_source: bool = False
    unknown_codes: frozenset[int] = frozenset()
    running_errors: bool = False
    readable_codes: frozenset[int] = frozenset({200})
    code_errors: Mapping[Phase, CodeTable] = field(default_factory=lambda: MappingProxyType({}))
    timing: Timing = Timing(first_read=10, typical=60, timeout=30 * 60)

    @property
    def noun(self) -> str:
        """The operation without its family: ``cover``."""
        return self.name.rpartition(".")[2]

    def source_in(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a request is made from, as it may be stored and shown.

        :param body: the request's fields as KIE names them.
        """
        names = (*self.parent_fields, *self.identity_fields)
        return {name: storable(body[name]) for name in names if body.get(name) not in (None, "")}


@dataclass(frozen=True)
class CallOperation:
    """An operation that answers at once: boost style, persona, timestamped lyrics, credits, download-url.

    :param name: our name.
    :param title: KIE's name.
    :param page: the documentation page at docs.kie.ai.
    :param endpoint: where it is.
    :param required: fields that KIE refuses to do without.
    :param code_errors: as in :class:`TaskOperation`, for the create phase.
    """

    name: str
    title: str
    page: str
    endpoint: Endpoint
    required: tuple[str, ...] = ()
    code_errors: Mapping[Phase, CodeTable] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class UploadOperation:
    """An operation that gives KIE a file, on the upload host; the file lives 3 days and costs nothing.

    :param name: our name.
    :param title: KIE's name.
    :param page: the documentation page at docs.kie.ai.
    :param endpoint: where it is.
    :param required: fields that KIE refuses to do without.
    :param file_field: the multipart field of the bytes; None: the body is JSON.
    """

    name: str
    title: str
    page: str
    endpoint: Endpoint
    required: tuple[str, ...] = ("uploadPath",)
    file_field: str | None = None


Operation = TaskOperation | CallOperation | UploadOperation

__all__ = [
    "CallOperation",
    "CodeTable",
    "Endpoint",
    "Host",
    "Operation",
    "Path",
    "Phase",
    "State",
    "Step",
    "TaskOperation",
    "Timing",
    "Tracks",
    "UploadOperation",
    "frozen",
]
