"""Errors: what happened, what is paid, what happens next, what a person can do; and no secret in any of it."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_kie.client import errors
from airflow_kie.client.errors import NEXT, KieError, Remedy, Scope, error_from_event
from airflow_kie.client.redact import quiet_http_loggers, without_query, without_urls

RETRY, READ, NEW, PERSON = Remedy.RETRY, Remedy.READ_AGAIN, Remedy.NEW_TASK, Remedy.PERSON
TASK, ACCOUNT, SERVICE = Scope.TASK, Scope.ACCOUNT, Scope.SERVICE

# What each error reaches and what helps: as docs.kie.ai describes the codes.
REACH: dict[type[KieError], tuple[str, Scope, Remedy]] = {
    errors.KieUnauthorized: ("unauthorized", ACCOUNT, PERSON),
    errors.KieOutOfCredits: ("out_of_credits", ACCOUNT, PERSON),
    errors.KieKeyLimit: ("key_limit", ACCOUNT, PERSON),
    errors.KieRateLimited: ("rate_limited", ACCOUNT, RETRY),
    errors.KieSpendingStopped: ("spending_stopped", ACCOUNT, RETRY),
    errors.KieThrottled: ("throttled", ACCOUNT, RETRY),
    errors.KieSpendingCap: ("spending_cap", ACCOUNT, PERSON),
    errors.KieConnectionInvalid: ("wrong_connection", ACCOUNT, PERSON),
    errors.KieMaintenance: ("maintenance", SERVICE, RETRY),
    errors.KieServerError: ("server_error", SERVICE, RETRY),
    errors.KieUnreachable: ("unreachable", SERVICE, RETRY),
    errors.KieNotSent: ("not_sent", SERVICE, RETRY),
    errors.KieLimiterUnavailable: ("limiter_unavailable", SERVICE, RETRY),
    errors.KieBadAnswer: ("bad_answer", SERVICE, RETRY),
    errors.KieInvalidRequest: ("invalid_request", TASK, PERSON),
    errors.KieNoRecord: ("no_record", TASK, PERSON),
    errors.KieFormGone: ("form_gone", TASK, PERSON),
    errors.KieContentRejected: ("content_rejected", TASK, PERSON),
    errors.KieOverCap: ("over_cap", TASK, PERSON),
    errors.KieBatchFailed: ("batch_failed", TASK, PERSON),
    errors.KieTaskUnknown: ("task_unknown", TASK, PERSON),
    errors.KieTaskNotShown: ("task_not_shown", TASK, READ),
    errors.KieGenerationFailed: ("generation_failed", TASK, NEW),
    errors.KieFailedForGood: ("failed_for_good", TASK, PERSON),
    errors.KieNoFiles: ("no_files", TASK, READ),
    errors.KieUnexpected: ("unexpected", TASK, READ),
    errors.KieWaitTimeout: ("timeout", TASK, READ),
    errors.KieDuplicateWithoutId: ("duplicate_without_id", TASK, PERSON),
    errors.KieSomeFailed: ("some_failed", TASK, PERSON),
    errors.KieCreateInDoubt: ("create_in_doubt", TASK, PERSON),
    errors.KieChatInDoubt: ("chat_in_doubt", TASK, PERSON),
    errors.KieWrongParent: ("wrong_parent", TASK, PERSON),
    errors.DownloadRefused: ("download_refused", TASK, PERSON),
    errors.FileUnreachable: ("file_unreachable", SERVICE, READ),
    errors.FileDamaged: ("file_damaged", TASK, READ),
    errors.FileTooLarge: ("file_too_large", TASK, PERSON),
    errors.FileGone: ("file_gone", TASK, PERSON),
    errors.KieResultsExpired: ("results_expired", TASK, PERSON),
    errors.NotArchived: ("not_archived", TASK, PERSON),
    errors.FileEmpty: ("file_empty", TASK, READ),
    errors.FileTruncated: ("file_truncated", TASK, READ),
    errors.FileWrongType: ("file_wrong_type", TASK, READ),
    errors.FileLinkDead: ("file_link_dead", TASK, READ),
}
CLASSES = list(REACH)
SECRET_URL = "https://h.example/a.mp3?token=s3cret&X-Amz-Signature=abc#frag"


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_has_its_lasting_reason_its_reach_and_its_remedy(error: type[KieError]) -> None:
    assert (error.reason, error.scope, error.remedy) == REACH[error]
    assert KieError.by_reason[error.reason] is error


def test_the_table_above_holds_every_error_of_the_module() -> None:
    named = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, KieError)}
    assert named - {KieError} == set(CLASSES)


@pytest.mark.parametrize("error", CLASSES)
def test_the_text_says_what_happened_what_is_next_and_what_to_do_in_this_order(error: type[KieError]) -> None:
    text = str(error("KIE's words.", kind="suno.cover", task_id="c1", source_id="m1", code=500, last_state="2"))
    parts = [error.what, "for m1", "(KIE task c1)", "KIE's words", "[code 500]", "Last state: 2.", NEXT[error.remedy]]
    places = [text.index(part) for part in [*parts, error.todo]]
    assert places == sorted(places)
    assert "\n" not in text
    assert ".." not in text


@pytest.mark.parametrize("error", CLASSES)
def test_the_text_is_whole_sentences_without_any_facts_too(error: type[KieError]) -> None:
    text = str(error())
    assert text.startswith(f"{error.what}.")
    assert text.endswith(f"{error.todo} {error.by_when}")
    assert "None" not in text


def test_the_paid_task_is_named_as_safe() -> None:
    text = str(errors.KieWaitTimeout(task_id="c1"))
    assert "KIE task c1 is kept and is not paid for again." in text


def test_a_refusal_without_a_task_says_that_nothing_was_paid() -> None:
    assert "Nothing was paid for this." in str(errors.KieOutOfCredits("no credits", code=402))


def test_what_the_caller_knows_about_the_payment_wins() -> None:
    assert "Two songs are paid. " in str(errors.KieServerError(paid="Two songs are paid", task_id="c1"))


def test_a_create_in_doubt_never_says_that_nothing_was_paid() -> None:
    text = str(errors.KieCreateInDoubt("timeout"))
    assert "KIE may have created and charged one task." in text
    assert "Nothing was paid" not in text
    assert "adopt_task_id" in text


def test_a_failed_task_is_not_called_kept() -> None:
    assert "is kept" not in str(errors.KieGenerationFailed("build failed", task_id="c1"))
    assert "is kept" not in str(errors.KieTaskUnknown(task_id="c1"))


def test_a_task_that_was_only_read_may_have_been_paid_for_elsewhere() -> None:
    text = str(errors.KieTaskUnknown(task_id="c1"))
    assert "Reading it costs nothing." in text and "Nothing was paid" not in text


def test_an_unsent_request_says_that_nothing_was_paid() -> None:
    assert "nothing was paid" in str(errors.KieNotSent("ConnectError"))


@pytest.mark.parametrize("error", CLASSES)
def test_an_error_survives_the_way_through_a_triggers_event(error: type[KieError]) -> None:
    before = error("words", kind="suno.cover", task_id="c1", code=500, retry_after=3.5, paid="one song")
    after = error_from_event(json.loads(json.dumps(before.to_event())))
    assert type(after) is error
    assert (after.facts, str(after)) == (before.facts, str(before))


def test_every_reason_is_known_to_a_process_that_never_sent_a_request() -> None:
    program = (
        "import sys; from airflow_kie.client.errors import KieError\n"
        "assert 'httpx' not in sys.modules; print(sorted(KieError.by_reason))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert eval(done.stdout) == sorted(reason for reason, _, _ in REACH.values())


def test_an_event_of_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    error = error_from_event({"reason": "from_the_future", "message": "words", "task_id": "c1", "colour": "blue"})
    assert type(error) is KieError
    assert (error.facts.message, error.facts.task_id) == ("words", "c1")
    assert error_from_event({}).facts.message == ""


def test_two_errors_cannot_share_a_reason() -> None:
    with pytest.raises(TypeError, match="timeout"):
        type("Another", (KieError,), {"reason": "timeout"})


def test_what_is_learnt_later_is_added_and_what_was_known_stays() -> None:
    cause = OSError("reset")
    error = errors.KieServerError("words", code=500, kind="suno.cover")
    error.__cause__ = cause
    known = error.with_facts(task_id="c1", kind="suno.music", source_id="m1")
    assert type(known) is errors.KieServerError
    assert known.facts.kind == "suno.cover"
    assert (known.facts.task_id, known.facts.source_id, known.facts.message) == ("c1", "m1", "words")
    assert known.__cause__ is cause


@pytest.mark.parametrize("error", CLASSES)
def test_no_part_of_a_url_but_its_host_reaches_a_text(error: type[KieError]) -> None:
    made = error(f"cannot fetch {SECRET_URL}, Authorization: Bearer k3y-s3cret")
    for text in (str(made), repr(made), json.dumps(made.to_event()), str(made.args)):
        assert "s3cret" not in text
        assert "a.mp3" not in text
    assert "h.example" in str(made)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        (f"see {SECRET_URL} now", "see <URL at h.example> now"),
        ("HTTP://USER:pw@H.example:8443/x", "<URL at h.example>"),
        ('"https://a.example/1"https://b.example/2', '"<URL at a.example>"<URL at b.example>'),
        ("[http://a.example]", "[<URL>"),
        ("http://[::1", "<URL>"),
        ("Bearer abc$d.e/f failed", "Bearer *** failed"),
        ("b'Bearer k3y\\n'", "b'Bearer ***'"),
        ("no address here", "no address here"),
        ("", ""),
    ],
)
def test_urls_and_bearer_tokens_are_cut_out_of_any_text(text: str, cut: str) -> None:
    assert without_urls(text) == cut


@pytest.mark.parametrize(
    ("url", "cut"),
    [
        (SECRET_URL, "https://h.example/a.mp3"),
        ("https://user:pw@h.example:8443/a", "https://h.example:8443/a"),
        ("http://[broken/a?token=s3cret", "<malformed URL>"),
    ],
)
def test_a_url_is_shown_without_user_query_and_fragment(url: str, cut: str) -> None:
    assert without_query(url) == cut


def test_the_http_librarys_info_lines_are_off_unless_somebody_wants_them() -> None:
    logger = logging.getLogger("httpx")
    was = logger.level
    try:
        logger.setLevel(logging.NOTSET)
        quiet_http_loggers()
        assert not logger.isEnabledFor(logging.INFO)
        logger.setLevel(logging.DEBUG)
        quiet_http_loggers()
        assert logger.isEnabledFor(logging.DEBUG)
    finally:
        logger.setLevel(was)


def test_every_reason_in_the_package_is_known_to_a_process_that_has_needed_none() -> None:
    """An event or a record names a reason whose class nothing may have imported yet."""
    package = Path(errors.__file__).parents[2]
    written = {
        reason
        for file in package.rglob("*.py")
        for reason in re.findall(r'\breason ?= ?"(\w+)"', file.read_text(encoding="utf-8"), re.M)
    }
    said = "from airflow_kie.client.errors import all_reasons; print(*all_reasons())"
    known = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout.split()
    assert written and written <= set(known)
