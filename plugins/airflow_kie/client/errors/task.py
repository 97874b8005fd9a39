"""Errors of one KIE task, or of one request for it."""

from __future__ import annotations

from airflow_kie.client.errors.base import NOTHING_EXPIRES, KieError, Remedy, Scope


class KieInvalidRequest(KieError, reason="invalid_request"):
    """KIE refuses the request as it is (400, 404, 422, 451, 505)."""

    what = "KIE refused the request"
    todo = "Correct what KIE names and start the song again; an unknown id may belong to another account."


class KieNoRecord(KieInvalidRequest, reason="no_record"):
    """KIE does not know the task that this is made from, in the form in which it was asked, or in both."""

    what = "KIE does not know what this is made from"
    todo = (
        "Check the id at kie.ai/logs of the account whose key the connection holds; the song may be another account's."
    )


class KieFormGone(KieInvalidRequest, reason="form_gone"):
    """The address at which KIE was asked in one of its two forms is gone (404, 405, 505), or its model."""

    what = "KIE does not answer at this address any more"
    todo = (
        "If KIE has ended this form of its API, set the field `api` of the connection to the other one (dedicated or "
        "unified) and clear the task; what is paid for is read in the form in which it was made."
    )


class KieContentRejected(KieError, reason="content_rejected"):
    """The content is not allowed: sensitive words, moderation, copyrighted lyrics or audio (400, 413)."""

    what = "KIE rejected the content"
    paid = "Rejected content gives no files; KIE usually gives its credits back (kie.ai/logs shows it)."
    todo = "Change the text that KIE names and generate a new song; unchanged it is refused again."
    by_when = NOTHING_EXPIRES


class KieOverCap(KieError, reason="over_cap"):
    """A request exceeds a cap in credits for one request or one run, or its price is not known and a cap holds."""

    what = "A cap on credits does not allow this request"
    paid = "Nothing was sent, so nothing was paid for by this."
    todo = "Ask for less, or raise the cap that is named in the connection; then clear the task."
    by_when = NOTHING_EXPIRES


class KieTaskUnknown(KieError, reason="task_unknown"):
    """KIE knows no task with this id, still after the time in which a new task can be invisible."""

    what = "KIE knows no such task under this connection"
    todo = (
        "Wrong id or wrong account? Check the id at kie.ai/logs of the account whose key the connection holds; "
        "it is the task id that is needed, not an audio id."
    )
    paid = "Nothing was paid for by this."


class KieTaskNotShown(KieError, reason="task_not_shown", remedy=Remedy.READ_AGAIN):
    """KIE named this task when it was created here, and does not show it: it is paid for, so nobody gives it up."""

    what = "KIE made this task and does not show it"
    todo = "Clear the task later; if KIE goes on hiding it, search for its id at kie.ai/logs."


class KieGenerationFailed(KieError, reason="generation_failed", remedy=Remedy.NEW_TASK):
    """KIE worked on the task and failed (501, 531, 408, CREATE_TASK_FAILED, GENERATE_…_FAILED)."""

    what = "KIE could not generate this"
    paid = "KIE usually gives the credits of failed tasks back (kie.ai/logs shows it)."
    todo = "If the retries end without files, start the song again later."


class KieFailedForGood(KieError, reason="failed_for_good"):
    """The task failed, and a new one does not help: KIE names the failed one again, or the budget is used up."""

    what = "Asking again does not help: KIE could not generate this"
    paid = "KIE usually gives the credits of failed tasks back (kie.ai/logs shows it)."
    todo = "Ask support@kie.ai with the task ids, or generate the song again."


class KieNoFiles(KieError, reason="no_files", remedy=Remedy.READ_AGAIN):
    """KIE ended the task and names not all of its files, in two reads (success, or an undelivered callback)."""

    what = "KIE says that the task has ended but does not name its files"
    todo = "Check kie.ai/logs; if the files are there, clear the task."


class KieUnexpected(KieError, reason="unexpected", remedy=Remedy.READ_AGAIN):
    """Something that this package did not foresee."""

    what = "Something unforeseen happened while waiting for KIE"
    todo = "Report it with the log, if the retry does not help."


class KieWaitTimeout(KieError, reason="timeout", remedy=Remedy.READ_AGAIN):
    """The task did not end before the deadline of the wait. It may still end."""

    what = "The task did not end before the deadline"
    todo = "Clear the task to wait again: it goes on with the same KIE task."


class KieDuplicateWithoutId(KieError, reason="duplicate_without_id"):
    """KIE says that it made this before (400, 409) and does not name the task."""

    what = "KIE says that this exists already and does not name its task"
    todo = (
        "Find the task id at kie.ai/logs and name it: as adopt_task_id of the operator, or in DAG music_cover as "
        "cover_task_id of the song in the field for programs."
    )


class KieSomeFailed(KieError, reason="some_failed"):
    """Requests of a list failed; the others are done."""

    what = "Not every request of the list has its files"
    paid = "What was paid for before is kept and is not paid for again."
    todo = "Read the XCom results, which has a row for each, and clear the task: only what failed is asked for again."


class KieBatchFailed(KieError, reason="batch_failed"):
    """Every song of a batch has left it."""

    what = "No song of this batch can go on"
    paid = "What was paid for before is kept and is not paid for again."
    todo = "The table in this log says why of each song. Clear the task to try all of them again."


class KieCreateInDoubt(KieError, reason="create_in_doubt"):
    """A create was sent, and no answer came, or one that says nothing of a task (code 500): it may be paid for."""

    what = "A create was sent, and it is not known whether KIE has made its task"
    paid = "KIE may have made and charged one task."
    todo = (
        "Check kie.ai/logs. If the task is there: `airflow kie adopt REQUEST TASK_ID`, or adopt_task_id of the "
        "operator. If it is not: `airflow kie release REQUEST`. Then clear the task."
    )


class KieChatInDoubt(KieError, reason="chat_in_doubt"):
    """A chat model was asked and no readable answer came: it may have been charged, and KIE cannot be asked."""

    what = "A chat model was asked and its answer was lost"
    paid = "KIE may have charged for it."
    todo = "Check kie.ai/logs, then clear the task: it asks again, and that is paid for."
    by_when = NOTHING_EXPIRES


class KieWrongParent(KieError, reason="wrong_parent"):
    """The details name another song as parent than the one that was asked for."""

    what = "This task belongs to another song and is not used"
    todo = "Check the task id; nothing of it was archived."


class KieConnectionInvalid(KieError, reason="wrong_connection", scope=Scope.ACCOUNT):
    """The connection cannot be used for this."""

    what = "The connection cannot be used"
    todo = "Add or correct the connection (Admin, Connections), then clear the failed task."
