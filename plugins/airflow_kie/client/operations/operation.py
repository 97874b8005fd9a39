"""KIE's operations as data: the record types. The rows are in the module of their family, `registry` collects them.

What differs between operations is a field here, not a branch elsewhere: paths, spellings of the callback field, where
ids and results are, what a state word and a code mean, and whether KIE makes the thing once per source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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


class Form(StrEnum):
    """KIE's two ways of being asked for the same thing."""

    DEDICATED = "dedicated"
    """An endpoint of its own for each operation (docs.kie.ai old-model)."""
    UNIFIED = "unified"
    """``jobs/createTask`` with a model, such as ``ai-music-api/generate``."""

    @property
    def other(self) -> Form:
        """The other one."""
        return Form.UNIFIED if self is Form.DEDICATED else Form.DEDICATED


class State(StrEnum):
    """What a state word of KIE means."""

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
    :param readable: the field holds the id of a task, which can be read, and not that of a track.
    """

    field: str
    operation: str
    readable: bool = True


@dataclass(frozen=True)
class Minimum:
    """What KIE asks of a request besides its required fields: one of some, for which the prompt can be taken.

    :param one_of: the fields.
    :param prompt_as: the field that the prompt is repeated in where none of them is given, and the characters that it
        takes, by ``customMode``.
    """

    one_of: tuple[str, ...]
    prompt_as: Mapping[bool, tuple[str, int]]

    def met(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields with what is missing of the minimum."""
        prompt = fields.get("prompt")
        if not prompt or any(fields.get(name) for name in self.one_of):
            return dict(fields)
        name, longest = self.prompt_as[fields.get("customMode") is True]
        return {**fields, name: str(prompt)[:longest]}


@dataclass(frozen=True)
class TaskOperation:
    """An operation that makes a task: create → details → callback. Paths into answers are JMESPath (`json_path`).

    A row says how KIE is asked in one API variant. For an operation that exists in both, the row of the dedicated
    variant holds that of the unified one; requests, digests and records use the dedicated variant's field names.

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
    :param form: the API variant that the row is for.
    :param unified: the same operation in the unified API variant; None if there is only one, or the variant is known.
    :param both_forms: it can be requested in both: a field's name is the same in either spelling.
    :param default: the API variant in which it is requested, unless its source or the connection sets another.
    :param model: of the unified API variant: the model; the fields are its ``input``, in snake_case.
    :param reads: models whose tasks are read as this operation's; empty: the own one.
    :param unsent: fields that this API variant does not have.
    :param defaults: fields that are sent unless the request has them.
    :param minimum: what else this API variant asks of a request.
    :param discontinued: versions that KIE's pages call discontinued.
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
    form: Form = Form.DEDICATED
    unified: TaskOperation | None = field(default=None, repr=False)
    both_forms: bool = False
    default: Form = Form.DEDICATED
    model: str = ""
    reads: frozenset[str] = frozenset()
    unsent: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    minimum: Minimum | None = None
    discontinued: frozenset[str] = frozenset()
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

    def in_form(self, form: str) -> TaskOperation:
        """Return the row of one API variant; this one if it has no other, or if no variant is given."""
        if self.unified is None or not form:
            return self
        return self.unified if form == Form.UNIFIED else replace(self, unified=None)

    def readings(self, api: str = "") -> tuple[TaskOperation, ...]:
        """Return the rows by which a task may be read: several while its API variant is unknown.

        :param api: the API variant that the connection names; empty: none.
        """
        if self.unified is None or api:
            return (self.in_form(api),)
        return self.in_form(self.default), self.in_form(self.default.other)

    def named(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request's fields under their one name, in whichever variant's spelling; nulls are left out.

        :param body: the request's fields as KIE names them in either API variant.
        """
        return {camel_case(key) if self.both_forms else key: value for key, value in body.items() if value is not None}

    def fields(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request's fields as this API variant sends them, still under their one name."""
        fields = {**self.defaults, **self.named(body)}
        fields = self.minimum.met(fields) if self.minimum else fields
        return {name: value for name, value in fields.items() if name not in self.unsent}

    def missing(self, body: Mapping[str, Any]) -> list[str]:
        """Return the required fields that a request lacks in its form, or in the one in which it is usually sent."""
        row = self.in_form(self.default)
        fields = row.fields(body)
        return [name for name in row.required if fields.get(name) in (None, "")]

    def source_in(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a request is made from, as it may be stored and shown.

        :param body: the request's fields as KIE names them.
        """
        fields = self.named(body)
        return {name: storable(fields[name]) for name in self.once_per if fields.get(name) not in (None, "")}


def camel_case(name: str) -> str:
    """Return a field's name as the dedicated API variant spells it: ``task_id`` is ``taskId``."""
    return re.sub("_([a-z0-9])", lambda found: found.group(1).upper(), name)


def snake_case(name: str) -> str:
    """Return a field's name as the unified API variant spells it."""
    return re.sub("(?<!^)([A-Z])", r"_\1", name).lower()


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
    :param model: its model in the unified API variant, answered directly by ``createTask``; empty: it has none.
    :param once_per: fields of the request that tell it from others: KIE answers the same again, or refuses.
    :param pace: seconds that KIE wants between two such calls of an account.
    :param file_field: the multipart field of a file's bytes; None: the body is JSON.
    """

    name: str
    title: str
    page: str
    path: str
    required: tuple[str, ...] = ()
    method: str = "POST"
    host: Host = Host.API
    model: str = ""
    once_per: tuple[str, ...] = ()
    pace: float = 0.0
    file_field: str | None = None

    def missing(self, body: Mapping[str, Any]) -> list[str]:
        """Return the required fields that a request lacks."""
        return [name for name in self.required if body.get(name) in (None, "")]


Operation = TaskOperation | CallOperation
