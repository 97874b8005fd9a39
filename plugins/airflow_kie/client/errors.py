"""What can go wrong with KIE: one class per reason, each knowing how far it reaches and what helps."""

from __future__ import annotations

from airflow_kie.client.kie_error import NEXT as NEXT
from airflow_kie.client.kie_error import NOTHING_EXPIRES as NOTHING_EXPIRES
from airflow_kie.client.kie_error import Facts as Facts
from airflow_kie.client.kie_error import KieError as KieError
from airflow_kie.client.kie_error import Remedy as Remedy
from airflow_kie.client.kie_error import Scope as Scope
from airflow_kie.client.kie_error import all_reasons as all_reasons
from airflow_kie.client.kie_error import error_class as error_class
from airflow_kie.client.kie_error import error_from_event as error_from_event

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
    by_when = NOTHING_EXPIRES


class KieTaskUnknown(KieError):
    """KIE knows no task with this id, still after the time in which a new task can be invisible."""

    reason = "task_unknown"
    what = "KIE knows no such task under this connection"
    todo = (
        "Wrong id or wrong account? Check the id at kie.ai/logs of the account whose key the connection holds; "
        "it is the task id that is needed, not an audio id."
    )
    paid = "Nothing was paid for by this."


class KieTaskNotShown(KieError):
    """KIE named this task when it was created here, and does not show it: it is paid for, so nobody gives it up."""

    reason = "task_not_shown"
    remedy = Remedy.READ_AGAIN
    what = "KIE made this task and does not show it"
    todo = "Clear the task later; if KIE goes on hiding it, look for its id at kie.ai/logs."


class KieGenerationFailed(KieError):
    """KIE worked on the task and failed (501, 531, 408, CREATE_TASK_FAILED, GENERATE_…_FAILED)."""

    reason = "generation_failed"
    remedy = Remedy.NEW_TASK
    what = "KIE could not generate this"
    paid = "KIE usually gives the credits of failed tasks back (kie.ai/logs shows it)."
    todo = "If the retries end without files, start the song again later."


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
    todo = (
        "Report the host: KIE's files come from public https addresses. "
        "Only a simulator's do not; for one on this machine there is allow_loopback_files in the [kie] configuration."
    )


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
    by_when = "It is too late to save it: the 14 days are over."


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
