"""What can go wrong with KIE: one class per reason, each knowing how far it reaches and what helps.

A reader of an error needs four things, and `str(error)` gives them in this order on one line: what happened (KIE's
own words), what is already paid and safe, what happens next by itself, what a person can do.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar

from airflow_kie.client.redact import without_urls


class Scope(StrEnum):
    """How far an error reaches."""

    TASK = "task"
    """Only this task or file: other songs are not touched."""
    ACCOUNT = "account"
    """Every request with this account's key."""
    SERVICE = "service"
    """Everybody: KIE, its CDN, the network or the bucket."""


class Remedy(StrEnum):
    """What helps."""

    READ_AGAIN = "read_again"
    """Nothing new is sent: the next attempt reads the same task or file again."""
    RETRY = "retry"
    """The same request later. It was refused before it took effect, so it costs nothing."""
    NEW_TASK = "new_task"
    """A new paid task: KIE says that this one failed for good."""
    PERSON = "person"
    """Only a person: no retry can succeed."""


@dataclass(frozen=True)
class Facts:
    """What is known of a failure, besides its reason. Plain values, so that it fits into a trigger's event.

    :param message: KIE's own words, or what was seen; URLs are cut out of it (they can carry tokens).
    :param code: the `code` in KIE's envelope, or the HTTP status where there was no envelope.
    :param kind: the operation, such as ``suno.cover``.
    :param task_id: the KIE task that this is about.
    :param source_id: what the task was made from: the music task of a cover.
    :param last_state: the last state that KIE's details showed, in KIE's word.
    :param retry_after: seconds after which KIE asks to be tried again.
    :param paid: what is paid and safe, as a sentence without a full stop.
    :param until: ISO time at which KIE deletes the song's files: until then a person can act.
    """

    message: str = ""
    code: int | None = None
    kind: str | None = None
    task_id: str | None = None
    source_id: str | None = None
    last_state: str | None = None
    retry_after: float | None = None
    paid: str | None = None
    until: str | None = None


class KieError(Exception):
    """Base of everything that this package raises about KIE, its files and the archive.

    :param message: what happened, in KIE's own words where there are any.
    :param facts: the other fields of :class:`Facts`.
    """

    reason: ClassVar[str] = "error"
    scope: ClassVar[Scope] = Scope.TASK
    remedy: ClassVar[Remedy] = Remedy.PERSON
    what: ClassVar[str] = "The KIE job failed"
    todo: ClassVar[str] = "Read KIE's words above and the task log."
    paid: ClassVar[str | None] = None
    """What is paid and safe, where the reason alone says it; None: it depends on whether there is a task."""

    by_reason: ClassVar[dict[str, type[KieError]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.reason in KieError.by_reason:
            raise TypeError(f"Two error classes share the reason {cls.reason!r}.")
        KieError.by_reason[cls.reason] = cls

    def __init__(self, message: str = "", **facts: Any) -> None:
        self.facts = Facts(message=without_urls(message), **facts)
        super().__init__(self.facts.message)

    def __str__(self) -> str:
        parts = [self._happened(), self._paid(), NEXT[self.remedy], self.todo, self._by_when()]
        return " ".join(part for part in parts if part)

    def _happened(self) -> str:
        facts = self.facts
        about = f" (KIE task {facts.task_id})" if facts.task_id else ""
        source = f" for {facts.source_id}" if facts.source_id and facts.source_id != facts.task_id else ""
        said = f": {facts.message.rstrip('. ')}" if facts.message else ""
        code = f" [code {facts.code}]" if facts.code is not None else ""
        state = f" Last state: {facts.last_state}." if facts.last_state else ""
        return f"{self.what}{source}{about}{said}{code}.{state}"

    def _paid(self) -> str:
        if self.facts.paid:
            return f"{self.facts.paid.rstrip('.')}."
        if self.paid is not None:
            return self.paid
        if self.facts.task_id:
            return f"KIE task {self.facts.task_id} is kept and is not paid for again."
        return "" if self.scope is Scope.SERVICE else "Nothing was paid for by this."

    def _by_when(self) -> str:
        return f"KIE deletes its files on {self.facts.until[:10]}." if self.facts.until else ""

    def with_facts(self, **facts: Any) -> KieError:
        """Return the same error with further facts where they were unknown (a decoder does not know the task)."""
        known = {f.name: getattr(self.facts, f.name) for f in fields(self.facts)}
        merged = {**facts, **{k: v for k, v in known.items() if v is not None and k != "message"}}
        error = type(self)(self.facts.message, **merged)
        error.__cause__ = self.__cause__
        return error

    def to_event(self) -> dict[str, Any]:
        """Return the error as plain values, for a trigger's event or a store: see :func:`error_from_event`."""
        known = {f.name: getattr(self.facts, f.name) for f in fields(self.facts)}
        return {"reason": self.reason, **{k: v for k, v in known.items() if v is not None}}


NEXT: dict[Remedy, str] = {
    Remedy.READ_AGAIN: "A retry reads it again and pays nothing.",
    Remedy.RETRY: "A retry sends the same request later.",
    Remedy.NEW_TASK: "A retry may start a new task, a limited number of times.",
    Remedy.PERSON: "No retry can help.",
}


def error_from_event(event: dict[str, Any]) -> KieError:
    """Rebuild the typed error that :meth:`KieError.to_event` described; what a newer version added is ignored."""
    known = {f.name for f in fields(Facts)}
    facts = {k: v for k, v in event.items() if k in known}
    message = facts.pop("message", "")
    return KieError.by_reason.get(event.get("reason", ""), KieError)(message, **facts)


# --- the account ------------------------------------------------------------------------------------------------


class KieUnauthorized(KieError):
    """KIE did not accept the API key (code 401, or HTTP 401 or 403)."""

    reason = "unauthorized"
    scope = Scope.ACCOUNT
    what = "KIE refused the API key"
    todo = (
        "Put the API key of kie.ai/api-key into the connection's API key field (the webhook secret is another key); "
        "if the key has an IP whitelist, add this machine. Then clear the task."
    )


class KieOutOfCredits(KieError):
    """The balance does not cover the request (402, or the credits text under 429 or 500)."""

    reason = "out_of_credits"
    scope = Scope.ACCOUNT
    what = "The KIE account has too few credits"
    todo = "Top up at kie.ai and clear the task: it goes on where it stopped."


class KieKeyLimit(KieError):
    """The key's own hourly, daily or total cap is used up (433)."""

    reason = "key_limit"
    scope = Scope.ACCOUNT
    what = "This API key has reached its own usage limit at KIE"
    todo = "Raise the key's limit at kie.ai/api-key or wait until its window ends, then clear the task."


class KieRateLimited(KieError):
    """Too many requests in the account's window of 10 seconds (429, 430, 550); KIE rejects, it does not queue."""

    reason = "rate_limited"
    scope = Scope.ACCOUNT
    remedy = Remedy.RETRY
    what = "KIE's rate limit was hit (20 new tasks in 10 seconds for an account)"
    todo = "Nothing, unless other programs use the same account: then lower the connection's rate limit."


class KieThrottled(KieRateLimited):
    """Our own limiter holds this create back, so that KIE does not have to refuse it."""

    reason = "throttled"
    what = "This account's other tasks use up KIE's rate at the moment"
    todo = "Nothing: it is sent when its turn comes."


class KieDailyCap(KieError):
    """The connection's own cap of new tasks in 24 hours is reached; nothing was sent."""

    reason = "daily_cap"
    scope = Scope.ACCOUNT
    what = "The connection's max_creates_per_day is reached"
    todo = "Raise max_creates_per_day in the connection, or wait: songs that are paid are still finished."


# --- the service ------------------------------------------------------------------------------------------------


class KieMaintenance(KieError):
    """KIE is under maintenance (455)."""

    reason = "maintenance"
    scope = Scope.SERVICE
    remedy = Remedy.RETRY
    what = "KIE is under maintenance"
    todo = "Nothing: it ends by itself."


class KieServerError(KieError):
    """KIE or a gateway before it answered with an error of its own (5xx, an HTML page)."""

    reason = "server_error"
    scope = Scope.SERVICE
    remedy = Remedy.RETRY
    what = "KIE answered with a server error"
    todo = "If it goes on for longer than an hour, look at kie.ai/logs and ask support@kie.ai."


class KieUnreachable(KieError):
    """No answer came: name resolution, connection, TLS, or a timeout."""

    reason = "unreachable"
    scope = Scope.SERVICE
    remedy = Remedy.RETRY
    what = "KIE could not be reached"
    todo = "Check this machine's network, its proxy settings and the host in the connection."


class KieNotSent(KieUnreachable):
    """No connection came about: the request certainly never reached KIE."""

    reason = "not_sent"
    paid = "Nothing was sent, so nothing was paid for by this."


class KieLimiterUnavailable(KieError):
    """The store in which the account's creates are counted cannot be used, so nothing may be sent."""

    reason = "limiter_unavailable"
    scope = Scope.SERVICE
    remedy = Remedy.RETRY
    what = "The store that counts this account's new tasks cannot be used"
    todo = "Start or free the store, or name another one in the connection; a file needs a folder that can be written."
    paid = "Nothing was sent, so nothing was paid for by this."


class KieBadAnswer(KieError):
    """An answer that is no KIE envelope: no JSON, no code, fields missing."""

    reason = "bad_answer"
    scope = Scope.SERVICE
    remedy = Remedy.RETRY
    what = "KIE's answer could not be understood"
    todo = "Check the host in the connection; report the answer if the host is right."


# --- the task ---------------------------------------------------------------------------------------------------


class KieInvalidRequest(KieError):
    """KIE refuses the request as it is (400, 404, 422, 451, 505)."""

    reason = "invalid_request"
    what = "KIE refused the request"
    todo = "Correct what KIE names and start the song again; an unknown id may belong to another account."


class KieContentRejected(KieError):
    """The content is not allowed: sensitive words, moderation, copyrighted lyrics or audio (400, 413)."""

    reason = "content_rejected"
    what = "KIE rejected the content"
    paid = "Rejected content gives no files; KIE usually gives its credits back (kie.ai/logs shows it)."
    todo = "Change the text that KIE names and generate a new song; unchanged it is refused again."


class KieTaskUnknown(KieError):
    """KIE knows no task with this id, still after the time in which a new task can be invisible."""

    reason = "task_unknown"
    what = "KIE knows no such task under this connection"
    todo = "Wrong id or wrong account? Check the id at kie.ai/logs of the account whose key the connection holds."
    paid = "Nothing was paid for by this."


class KieGenerationFailed(KieError):
    """KIE worked on the task and failed (501, 531, 408, CREATE_TASK_FAILED, GENERATE_…_FAILED)."""

    reason = "generation_failed"
    remedy = Remedy.NEW_TASK
    what = "KIE could not generate this"
    paid = ""
    todo = "KIE usually gives the credits back (kie.ai/logs shows it); start the song again later."


class KieFailedForGood(KieError):
    """The task failed, and a new one does not help: KIE names the failed one again, or the budget is used up."""

    reason = "failed_for_good"
    what = "Asking again does not help: KIE could not generate this"
    paid = "KIE usually gives the credits of failed tasks back (kie.ai/logs shows it)."
    todo = "Ask support@kie.ai with the task ids, or generate the song anew."


class KieNoFiles(KieError):
    """KIE ended the task and names not all of its files, in two reads (success, or an undelivered callback)."""

    reason = "no_files"
    remedy = Remedy.READ_AGAIN
    what = "KIE says that the task has ended but does not name its files"
    todo = "Look at kie.ai/logs; if the files are there, clear the task."


class KieUnexpected(KieError):
    """Something that this package did not foresee."""

    reason = "unexpected"
    remedy = Remedy.READ_AGAIN
    what = "Something unforeseen happened while waiting for KIE"
    todo = "Report it with the log, if the retry does not help."


class KieWaitTimeout(KieError):
    """The task did not end before the deadline of the wait. It may still end."""

    reason = "timeout"
    remedy = Remedy.READ_AGAIN
    what = "The task did not end before the deadline"
    todo = "Clear the task to wait again: it goes on with the same KIE task."


class KieDuplicateWithoutId(KieError):
    """KIE says that it made this before (400, 409) and does not name the task."""

    reason = "duplicate_without_id"
    what = "KIE says that this exists already and does not name its task"
    todo = (
        "Find the task id at kie.ai/logs and name it: as adopt_task_id of the operator, or in DAG music_cover as "
        "cover_task_id of the song in the field for programs."
    )


class KieCreateInDoubt(KieError):
    """A create was sent and no answer came: it may have been paid for, and KIE cannot be asked."""

    reason = "create_in_doubt"
    what = "A create was sent and its answer was lost"
    paid = "KIE may have made and charged one task."
    todo = (
        "Look at kie.ai/logs: if the task is there, give its id as adopt_task_id; "
        "if it is not, change force_new to a text that was not used before, and clear the task."
    )


class KieWrongParent(KieError):
    """The details name another song as parent than the one that was asked for."""

    reason = "wrong_parent"
    what = "This task belongs to another song and is not used"
    todo = "Check the task id; nothing of it was archived."


class KieConnectionInvalid(KieError):
    """The connection cannot be used for this."""

    reason = "wrong_connection"
    scope = Scope.ACCOUNT
    what = "The connection cannot be used"
    todo = "Correct the connection (Admin, Connections) and clear the task."


# --- files ------------------------------------------------------------------------------------------------------


class DownloadRefused(KieError):
    """The address of a file is not one that we fetch from: not https, not public, too many redirects."""

    reason = "download_refused"
    what = "A file's address was refused"
    todo = "Report the host: KIE's files come from public https addresses."


class FileUnreachable(KieError):
    """The file's host gave no or a failing answer."""

    reason = "file_unreachable"
    scope = Scope.SERVICE
    remedy = Remedy.READ_AGAIN
    what = "A file could not be downloaded"
    todo = "Nothing, unless it goes on: KIE keeps files for 14 days."


class FileDamaged(KieError):
    """The file came truncated, empty, or is not what it should be."""

    reason = "file_damaged"
    remedy = Remedy.READ_AGAIN
    what = "A file came damaged and was not archived"
    todo = "Open the file at kie.ai/logs: if it is damaged there too, ask support@kie.ai."


class FileTooLarge(KieError):
    """The file is larger than the cap."""

    reason = "file_too_large"
    what = "A file is larger than allowed and was not archived"
    todo = "If this size is right, raise max_file_mb in the [kie] configuration (max_file_bytes of the operator)."


class FileGone(KieError):
    """KIE has deleted the file: media live 14 days."""

    reason = "file_gone"
    what = "KIE no longer has this file (files live 14 days)"
    todo = "Generate the song anew if it is needed; what was archived before is untouched."


class FileEmpty(FileDamaged):
    """The file came with 0 bytes (musicfile.kie.ai answered so with HTTP 200)."""

    reason = "file_empty"
    what = "A file came with 0 bytes and was not archived"


class FileTruncated(FileDamaged):
    """The file ends before its announced length, or before its own structure does."""

    reason = "file_truncated"
    what = "A file came incomplete and was not archived"


class FileWrongType(FileDamaged):
    """The content is something else than its place asks for: a web page, JSON, SVG, audio where an image belongs."""

    reason = "file_wrong_type"
    what = "A file is not of the kind that belongs here and was not archived"


class FileLinkDead(KieError):
    """The file's link answered 403, 404 or 410; a fresh link may still work."""

    reason = "file_link_dead"
    remedy = Remedy.READ_AGAIN
    what = "A file's link no longer works"
    todo = "Look at kie.ai/logs: if the file opens there, clear the task."
