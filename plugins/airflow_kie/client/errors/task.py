"""Errors of one KIE task, or of one request for it."""

from __future__ import annotations

from airflow_kie.client.errors.base import NOTHING_EXPIRES, KieError, Remedy, Scope


class KieInvalidRequest(KieError, reason="invalid_request"):
    """KIE refuses the request (400, 404, 422, 451, 505)."""

    what = "KIE refused the request"
    todo = "Correct what KIE's message names, and start the song again; an unknown id may belong to another account."


class KieNoRecord(KieInvalidRequest, reason="no_record"):
    """KIE does not know the source task, in the API variant that was used or in both."""

    what = "KIE does not know the source task"
    todo = (
        "Check the id at kie.ai/logs, in the account of the connection's key; the song may belong to another account."
    )


class KieFormGone(KieInvalidRequest, reason="form_gone"):
    """The endpoint or model of one of KIE's two API variants is gone (404, 405, 505)."""

    what = "KIE no longer serves this address"
    todo = (
        "If KIE has ended this API variant, set the connection's field `api` to the other one (dedicated or unified) "
        "and clear the task. Paid tasks are still read in the variant in which they were created."
    )


class KieContentRejected(KieError, reason="content_rejected"):
    """The content is not allowed: sensitive words, moderation, copyrighted lyrics or audio (400, 413)."""

    what = "KIE rejected the content"
    paid = "Rejected content produces no files; KIE usually refunds its credits (kie.ai/logs shows it)."
    todo = "Change the text that KIE names and generate a new song; the same text is rejected again."
    by_when = NOTHING_EXPIRES


class KieOverCap(KieError, reason="over_cap"):
    """The request exceeds the cap for one request or one run, or alone exceeds any cap; or its price is not known."""

    what = "A cap on credits does not allow this request"
    paid = "Nothing was sent, so nothing was paid for this."
    todo = "Request less, or raise the named cap in the connection; then clear the task."
    by_when = NOTHING_EXPIRES


class KieTaskUnknown(KieError, reason="task_unknown"):
    """KIE knows no task with this id, even after the time in which a new task can be invisible."""

    what = "KIE knows no such task under this connection"
    todo = (
        "Wrong id or wrong account? Check the id at kie.ai/logs, in the account that the connection's key belongs to. "
        "The task id is needed, not an audio id."
    )
    paid = "Reading it costs nothing."


class KieTaskNotShown(KieError, reason="task_not_shown", remedy=Remedy.READ_AGAIN):
    """KIE returned this task's id when it was created, and does not show it now. It is paid for, so it is kept."""

    what = "KIE created this task but does not show it"
    todo = "Clear the task later. If KIE still does not show it, search for its id at kie.ai/logs."


class KieGenerationFailed(KieError, reason="generation_failed", remedy=Remedy.NEW_TASK):
    """KIE worked on the task and failed (501, 531, 408, CREATE_TASK_FAILED, GENERATE_…_FAILED)."""

    what = "KIE could not generate this"
    paid = "KIE usually refunds the credits of failed tasks (kie.ai/logs shows it)."
    todo = "If the retries end without files, start the song again later."


class KieFailedForGood(KieError, reason="failed_for_good"):
    """The task failed, and a new one does not help: KIE returns the failed one again, or all attempts are used up."""

    what = "KIE could not generate this, and another attempt does not help"
    paid = "KIE usually refunds the credits of failed tasks (kie.ai/logs shows it)."
    todo = (
        "Send the task ids to support@kie.ai, or generate the song again. To try once more, run `airflow kie release "
        "REQUEST`, then clear the task."
    )


class KieNoFiles(KieError, reason="no_files", remedy=Remedy.READ_AGAIN):
    """KIE ended the task, but two reads did not name all of its files (success, or an undelivered callback)."""

    what = "KIE says that the task has ended but does not name its files"
    todo = "Check kie.ai/logs; if the files are there, clear the task."


class KieUnexpected(KieError, reason="unexpected", remedy=Remedy.READ_AGAIN):
    """An error that this package does not know."""

    what = "An unexpected error occurred while waiting for KIE"
    todo = "If the retry does not help, report it with the log."


class KieWaitTimeout(KieError, reason="timeout", remedy=Remedy.READ_AGAIN):
    """The task did not end before the deadline of the wait. It may still end."""

    what = "The task did not end before the deadline"
    todo = "Clear the task to wait again: it continues with the same KIE task."


class KieDuplicateWithoutId(KieError, reason="duplicate_without_id"):
    """KIE says that this exists already (400, 409), without naming the task."""

    what = "KIE says that this already exists but does not name its task"
    todo = (
        "Find the task id at kie.ai/logs. Pass it as the operator's adopt_task_id, or in DAG music_cover as the song's "
        "cover_task_id, in the field for programs."
    )


class KieSomeFailed(KieError, reason="some_failed"):
    """Some requests of the list failed; the others have their files."""

    what = "Some requests of the list failed"
    paid = "Anything already paid for is kept and is not paid for again."
    todo = "Read the XCom `results`, which has a row for each, and clear the task: only failed requests are sent again."


class KieBatchFailed(KieError, reason="batch_failed"):
    """Every song of a batch has failed or was removed from it."""

    what = "Every song of this batch has failed or was removed from it"
    paid = "Anything already paid for is kept and is not paid for again."
    todo = "The table in this log gives each song's reason. Clear the task to try all of them again."


class KieCreateInDoubt(KieError, reason="create_in_doubt"):
    """A create was sent, and no answer arrived, or one without a task id (code 500). It may be paid for."""

    what = "A create was sent, but it is not known whether KIE created a task"
    paid = "KIE may have created and charged one task."
    todo = (
        "Check kie.ai/logs. If the task is there: `airflow kie adopt REQUEST TASK_ID`, or the operator's "
        "adopt_task_id. If it is not: `airflow kie release REQUEST`. Then clear the task."
    )


class KieChatInDoubt(KieError, reason="chat_in_doubt"):
    """A chat model was called and no readable answer arrived. It may have been charged, and KIE cannot be asked."""

    what = "A chat model was called and its answer was lost"
    paid = "KIE may have charged for it."
    todo = "Check kie.ai/logs, then clear the task: it sends the request again, which is charged."
    by_when = NOTHING_EXPIRES


class KieWrongParent(KieError, reason="wrong_parent"):
    """The details name another song as the parent."""

    what = "This task belongs to another song and is not used"
    todo = "Check the task id; nothing was archived from it."


class KieConnectionInvalid(KieError, reason="wrong_connection", scope=Scope.ACCOUNT):
    """The connection cannot be used for this."""

    what = "The connection cannot be used"
    todo = "Add or correct the connection (Admin, Connections), then clear the failed task."
