"""The ledger of paid requests: who may send, what is adopted, when a request counts as in doubt."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_kie.lifecycle import crash_points
from airflow_kie.lifecycle.claims import (
    CLOCK_SKEW,
    REQUEST_SECONDS,
    SEND_WITHIN,
    AlreadyMade,
    BeingSent,
    Claimed,
    FailedTooOften,
    InDoubt,
    Intent,
    RequestId,
)
from airflow_kie.lifecycle.ledger import MOST_FAILED, Ledger, PaidRequest
from ledgers import MemoryLedgerStore

NOW = 1_776_862_600.0
SONG = RequestId("studio", "suno.music", "a" * 32)
UNTIL_IN_DOUBT = SEND_WITHIN + REQUEST_SECONDS + CLOCK_SKEW


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class CountingStore(MemoryLedgerStore):
    """A store that says what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def create(self, key: str, body: bytes) -> bool:
        self.asked.append(f"create {key.rpartition('/')[2]}")
        return super().create(key, body)

    def list(self, prefix: str) -> Any:
        self.asked.append("list")
        return super().list(prefix)

    def read(self, key: str) -> bytes | None:
        self.asked.append(f"read {key.rpartition('/')[2]}")
        return super().read(key)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def ledger(store: CountingStore, clock: Clock) -> Ledger:
    return Ledger(store, clock)


def intent(ledger: Ledger, **known: Any) -> Intent:
    return Intent.made_at(ledger.clock(), **known)


def claimed(ledger: Ledger, request: RequestId = SONG, **known: Any) -> Claimed:
    claim = ledger.claim(request, intent(ledger, **known))
    assert isinstance(claim, Claimed), claim
    return claim


def a_task(ledger: Ledger, task_id: str, *endings: str, request: RequestId = SONG) -> int:
    """Let a request be sent and answered; return its attempt."""
    number = claimed(ledger, request).number
    ledger.record_task(request, number, task_id)
    for ending in endings:
        assert ledger.record(request, number, ending)
    return number


# --- who may send ---


def test_whoever_creates_the_intent_may_send_and_nobody_else(ledger: Ledger) -> None:
    assert claimed(ledger).number == 1
    for _ in range(3):
        assert isinstance(ledger.claim(SONG, intent(ledger)), BeingSent)


def test_a_create_takes_two_writes_and_no_read(ledger: Ledger, store: CountingStore) -> None:
    a_task(ledger, "t-1")
    assert store.asked == ["create 1.intent", "create 1.task.t-1"]


def test_who_waits_for_the_sender_reads_the_intent_once(ledger: Ledger, store: CountingStore) -> None:
    claimed(ledger)
    store.asked.clear()
    assert isinstance(ledger.claim(SONG, intent(ledger)), BeingSent)
    assert store.asked == ["create 1.intent", "list", "read 1.intent"]


@pytest.mark.parametrize(
    "other",
    [replace(SONG, account="label"), replace(SONG, operation="suno.extend"), replace(SONG, digest="b" * 32)],
    ids=["account", "operation", "digest"],
)
def test_another_account_operation_or_digest_is_another_request(ledger: Ledger, other: RequestId) -> None:
    a_task(ledger, "t-1")
    assert ledger.find(other) is None
    assert claimed(ledger, other).number == 1


def test_what_made_the_intent_is_what_the_claim_returns(ledger: Ledger) -> None:
    written = intent(ledger, owner={"dag": "songs"}, callback_by=NOW + 60)
    assert ledger.claim(SONG, written) == Claimed(1, written)


def test_an_intent_holds_no_more_than_is_known(ledger: Ledger, store: CountingStore) -> None:
    claim = claimed(ledger, owner={"dag": "songs"}, key="ab12cd34")
    (body,) = store.objects.values()
    assert json.loads(body) == {
        "at": NOW,
        "not_after": NOW + SEND_WITHIN,
        "nonce": claim.intent.nonce,
        "owner": {"dag": "songs"},
        "key": "ab12cd34",
    }


def test_two_intents_have_nonces_of_their_own_that_no_repr_shows(ledger: Ledger) -> None:
    first, second = intent(ledger), intent(ledger)
    assert len({first.nonce, second.nonce}) == 2
    assert len(first.nonce) >= 20
    assert first.nonce not in repr(first)


class LosesAnswers(MemoryLedgerStore):
    """A store whose client repeats a write whose answer was lost: the object is there, and the repeat is refused."""

    def create(self, key: str, body: bytes) -> bool:
        super().create(key, body)
        return False


@pytest.mark.parametrize("before", [(), ("t-1",)])
def test_an_intent_of_ones_own_whose_write_was_not_confirmed_may_be_sent(clock: Clock, before: tuple[str, ...]) -> None:
    store = MemoryLedgerStore()
    for task_id in before:
        a_task(Ledger(store, clock), task_id, "failed")
    losing = Ledger(LosesAnswers(store.objects), clock)
    mine = intent(losing)
    assert losing.claim(SONG, mine) == Claimed(1 + len(before), mine, before)
    assert isinstance(losing.claim(SONG, intent(losing)), BeingSent)


# --- adopting ---


def test_a_task_that_was_made_is_adopted_by_everybody(ledger: Ledger) -> None:
    number = claimed(ledger, owner={"run": "monday"}).number
    ledger.record_task(SONG, number, "t-1")
    made = AlreadyMade(1, "t-1", {"run": "monday"})
    assert (ledger.claim(SONG, intent(ledger)), ledger.find(SONG)) == (made, made)


def test_it_is_adopted_however_long_ago_it_was_made(ledger: Ledger, clock: Clock) -> None:
    a_task(ledger, "t-1")
    clock.now += 300 * 86_400
    assert isinstance(ledger.claim(SONG, intent(ledger)), AlreadyMade)


def test_a_person_gives_the_task_of_a_request_in_doubt(ledger: Ledger, clock: Clock) -> None:
    claimed(ledger)
    clock.now += UNTIL_IN_DOUBT
    assert ledger.adopt(SONG, "t-1", by="anna") == 1
    assert ledger.find(SONG) == AlreadyMade(1, "t-1")


def test_a_task_is_adopted_for_a_request_that_nobody_has_made(ledger: Ledger) -> None:
    assert ledger.adopt(SONG, "t-1", by="anna") == 1
    assert ledger.find(SONG) == AlreadyMade(1, "t-1", {"by": "anna"})
    assert ledger.adopt(SONG, "t-1") == 1


def test_a_task_that_is_adopted_after_a_failure_is_the_next_attempt(ledger: Ledger) -> None:
    a_task(ledger, "t-1", "failed")
    assert ledger.adopt(SONG, "t-2") == 2
    assert ledger.find(SONG) == AlreadyMade(2, "t-2", {})


def test_a_failed_task_that_is_given_again_stays_failed(ledger: Ledger) -> None:
    a_task(ledger, "t-1", "failed")
    assert ledger.adopt(SONG, "t-1") == 1
    assert ledger.find(SONG) is None


def test_a_person_corrects_a_task(ledger: Ledger) -> None:
    a_task(ledger, "t-1")
    assert ledger.adopt(SONG, "t-2") == 2
    assert ledger.find(SONG) == AlreadyMade(2, "t-2", {})


def test_the_same_id_from_two_sides_is_one_task(ledger: Ledger, store: CountingStore) -> None:
    number = a_task(ledger, "t-1")
    ledger.record_task(SONG, number, "t-1", by="callback")
    assert [attempt.task_ids for attempt in ledger.attempts(SONG)] == [("t-1",)]
    assert len(store.objects) == 2


def test_a_task_has_the_form_of_its_request_unless_somebody_has_named_another_one(ledger: Ledger) -> None:
    number = claimed(ledger, form="unified").number
    ledger.record_task(SONG, number, "t-1")
    assert ledger.find(SONG) == AlreadyMade(1, "t-1", {}, "unified")
    ledger.record_task(SONG, number, "t-0", by="a person")
    assert ledger.find(SONG) == AlreadyMade(1, "t-0", {}, "")


def test_two_ids_for_one_attempt_lead_to_one_of_them_and_never_to_a_new_task(ledger: Ledger) -> None:
    number = a_task(ledger, "t-2")
    ledger.record_task(SONG, number, "t-1", by="callback")
    (attempt,) = ledger.attempts(SONG)
    assert attempt.task_ids == ("t-1", "t-2")
    assert ledger.find(SONG) == ledger.claim(SONG, intent(ledger)) == AlreadyMade(1, "t-1", {})


@pytest.mark.parametrize("task_id", ["a/b", "a.b", "../x", "ü", "a b", "%2F", "a" * 200])
def test_every_id_of_kies_is_one_object_below_its_request(ledger: Ledger, store: CountingStore, task_id: str) -> None:
    a_task(ledger, task_id)
    assert ledger.find(SONG) == AlreadyMade(1, task_id, {})
    for key in store.objects:
        assert key.startswith(SONG.folder)
        assert "/" not in key.removeprefix(SONG.folder)


@pytest.mark.parametrize("account", ["a/b", "..", "studio eins", "kie_default", "%"])
def test_every_account_has_one_folder(account: str) -> None:
    folder = replace(SONG, account=account).folder
    assert len(folder.split("/")) == 4
    assert folder.isascii()
    assert " " not in folder


# --- after an end ---


@pytest.mark.parametrize("ending", ["refused", "released"])
def test_what_was_refused_or_released_may_be_sent_again(ledger: Ledger, ending: str) -> None:
    assert ledger.record(SONG, claimed(ledger).number, ending, by="anna")
    assert ledger.find(SONG) is None
    assert ledger.claim(SONG, second := intent(ledger)) == Claimed(2, second)


def test_a_released_task_is_left_alone(ledger: Ledger) -> None:
    a_task(ledger, "t-1", "released")
    assert claimed(ledger).number == 2


def test_a_failed_task_is_replaced_and_named_to_the_next_sender(ledger: Ledger) -> None:
    a_task(ledger, "t-1", "failed")
    assert ledger.find(SONG) is None
    assert claimed(ledger).failed_ids == ("t-1",)


def test_an_end_is_recorded_once(ledger: Ledger) -> None:
    number = a_task(ledger, "t-1", "failed")
    assert not ledger.record(SONG, number, "failed")


def test_only_one_of_two_that_replace_a_failed_task_may_send(ledger: Ledger) -> None:
    a_task(ledger, "t-1", "failed")
    claimed(ledger)
    assert isinstance(ledger.claim(SONG, intent(ledger)), BeingSent)


def test_after_three_failed_tasks_over_all_runs_a_person_decides(ledger: Ledger) -> None:
    for number in range(1, MOST_FAILED + 1):
        a_task(ledger, f"t-{number}", "failed")
    often = FailedTooOften(("t-1", "t-2", "t-3"))
    assert (ledger.find(SONG), ledger.claim(SONG, intent(ledger))) == (often, often)


def test_refused_attempts_are_no_failed_ones(ledger: Ledger) -> None:
    for _ in range(10):
        ledger.record(SONG, claimed(ledger).number, "refused")
    assert claimed(ledger).number == 11


def test_a_person_who_releases_a_failed_attempt_allows_another_one(ledger: Ledger) -> None:
    for number in range(1, MOST_FAILED + 1):
        a_task(ledger, f"t-{number}", "failed")
    assert ledger.record(SONG, 3, "released", by="anna")
    assert claimed(ledger).number == 4


def test_ten_attempts_are_counted_as_numbers_and_not_as_words(ledger: Ledger) -> None:
    for _ in range(10):
        ledger.record(SONG, claimed(ledger).number, "refused")
    assert [attempt.number for attempt in ledger.attempts(SONG)] == list(range(1, 11))


# --- doubt ---


def test_a_sender_has_two_minutes_half_a_minute_of_which_is_for_clocks_that_differ() -> None:
    assert (SEND_WITHIN, REQUEST_SECONDS, UNTIL_IN_DOUBT) == (30.0, 60.0, 120.0)


def test_an_intent_alone_is_in_doubt_when_nobody_can_be_sending_any_more(ledger: Ledger, clock: Clock) -> None:
    claim = claimed(ledger)
    assert ledger.find(SONG) == BeingSent(NOW + UNTIL_IN_DOUBT)
    clock.now += UNTIL_IN_DOUBT - 0.1
    assert isinstance(ledger.find(SONG), BeingSent)
    clock.now += 0.1
    assert ledger.find(SONG) == ledger.claim(SONG, intent(ledger)) == InDoubt(1, claim.intent)


def test_what_another_one_sends_shows_nothing_of_its_intent(ledger: Ledger, clock: Clock) -> None:
    nonce = claimed(ledger).intent.nonce
    assert nonce not in repr(ledger.find(SONG)) and "Intent" not in repr(ledger.find(SONG))


def test_a_lost_answer_is_in_doubt_sooner(ledger: Ledger, clock: Clock) -> None:
    claim = claimed(ledger)
    ledger.record(SONG, 1, "unanswered", reason="unreachable")
    assert ledger.find(SONG) == BeingSent(NOW + 30)
    clock.now += 30
    assert ledger.find(SONG) == InDoubt(1, claim.intent)


@pytest.mark.parametrize("unanswered", [True, False])
def test_no_doubt_before_the_time_of_the_callback_is_over(ledger: Ledger, clock: Clock, unanswered: bool) -> None:
    claimed(ledger, callback_by=NOW + 420)
    if unanswered:
        ledger.record(SONG, 1, "unanswered")
    assert ledger.find(SONG) == BeingSent(NOW + 420)
    clock.now += 420
    assert isinstance(ledger.find(SONG), InDoubt)


def test_a_callback_that_names_the_task_ends_the_doubt(ledger: Ledger, clock: Clock) -> None:
    claimed(ledger, callback_by=NOW + 420)
    ledger.record(SONG, 1, "unanswered")
    clock.now += 9_000
    assert isinstance(ledger.find(SONG), InDoubt)
    ledger.record_task(SONG, 1, "t-1", by="callback")
    assert ledger.find(SONG) == AlreadyMade(1, "t-1", {})


def test_a_kept_answer_ends_the_doubt_although_its_sender_died_before_it_named_it(ledger: Ledger, clock: Clock) -> None:
    claimed(ledger, form="unified")
    name = ledger.kept_answers.keep(SONG, 1, {"data": []}, form="unified", at=NOW)
    clock.now += UNTIL_IN_DOUBT
    assert ledger.find(SONG) == AlreadyMade(1, name, {}, "unified")
    assert ledger.attempts(SONG)[0].task_ids == (name,)


@pytest.mark.parametrize(("before", "after"), [(100.0, 88.0), (None, 88.0), (100.0, None)])
def test_a_doubt_names_the_balances_where_both_are_known(before: float | None, after: float | None) -> None:
    hint = InDoubt(1, Intent.made_at(NOW, balance=before), balance=after).hint
    said = "; the balance was 100 credits before it and 88 after it, including other tasks"
    assert hint == (said if before and after else "")


def test_a_doubt_is_listed_with_the_balance_at_which_it_was_recorded(ledger: Ledger, clock: Clock) -> None:
    claim = claimed(ledger)
    clock.now += 9_000
    ledger.record_doubt(SONG, InDoubt(1, claim.intent, balance=88.0))
    assert ledger.doubts(SONG.account) == [(SONG, InDoubt(1, claim.intent, balance=88.0))]


@pytest.mark.parametrize(("written", "code"), [({"code": 500}, 500), ({"code": "x"}, None), ({}, None)])
def test_a_doubt_names_the_code_of_an_answer_that_did_not_say_whether_a_task_was_made(
    ledger: Ledger, clock: Clock, written: dict[str, Any], code: int | None
) -> None:
    claim = claimed(ledger)
    ledger.record(SONG, 1, "unanswered", reason="server_error", **written)
    clock.now += ledger.settle_seconds
    doubt = ledger.find(SONG)
    assert doubt == InDoubt(1, claim.intent, code=code)
    assert doubt.hint == ("; KIE answered with code 500, which does not settle this" if code else "")


def test_a_doubt_after_a_repeat_says_that_it_was_repeated(ledger: Ledger, clock: Clock) -> None:
    claimed(ledger)
    ledger.record(SONG, 1, "unanswered")
    ledger.record(SONG, 1, "repeated")
    second = claimed(ledger)
    ledger.record(SONG, 2, "unanswered")
    clock.now += ledger.settle_seconds
    assert ledger.find(SONG) == InDoubt(2, second.intent, repeated=True)


def test_the_id_of_the_first_attempt_still_counts_after_a_repeat(ledger: Ledger) -> None:
    claimed(ledger)
    ledger.record(SONG, 1, "unanswered")
    ledger.record(SONG, 1, "repeated")
    claimed(ledger)
    ledger.record_task(SONG, 1, "t-1", by="callback")
    assert ledger.find(SONG) == AlreadyMade(1, "t-1", {})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"{}", b"\xff", b'{"at": 1}', b'{"not_after": 5}'])
def test_a_damaged_intent_is_in_doubt_at_once_and_never_sent(ledger: Ledger, store: CountingStore, body: bytes) -> None:
    store.objects[f"{SONG.folder}1.intent"] = body
    assert isinstance(ledger.find(SONG), InDoubt)
    assert isinstance(ledger.claim(SONG, intent(ledger)), InDoubt)


@pytest.mark.parametrize(
    "wrong",
    [
        {"at": "noon"},
        {"not_after": None},
        {"callback_by": "later"},
        {"owner": 7},
        {"at": [1]},
        {"not_after": 10**400},
        {"not_after": float("inf")},
        {"form": 1},
        {"balance": "much"},
        {"longer": "a while"},
        {"quoted": 12},
        {"quoted": "ab"},
        {"quoted": [1]},
        {"quoted": ["a", "b"]},
    ],
)
def test_an_intent_with_values_of_other_types_is_in_doubt_and_never_sent(
    ledger: Ledger, store: CountingStore, wrong: dict[str, Any]
) -> None:
    body = {"at": NOW, "not_after": NOW + 30, "nonce": "n"} | wrong
    store.objects[f"{SONG.folder}1.intent"] = json.dumps(body).encode()
    assert isinstance(ledger.find(SONG), InDoubt)
    assert isinstance(ledger.claim(SONG, intent(ledger)), InDoubt)


def test_an_intent_that_holds_more_than_is_known_here_is_read(ledger: Ledger, store: CountingStore) -> None:
    body = {"at": NOW, "not_after": NOW + 30, "nonce": "n", "colour": "blue"}
    store.objects[f"{SONG.folder}1.intent"] = json.dumps(body).encode()
    assert ledger.find(SONG) == BeingSent(NOW + UNTIL_IN_DOUBT)


def test_a_task_without_an_intent_is_a_task(ledger: Ledger) -> None:
    ledger.record_task(SONG, 1, "t-1")
    assert ledger.find(SONG) == AlreadyMade(1, "t-1", {})


@pytest.mark.parametrize("name", ["README", "x.intent", ".intent", "1", "².intent", "-1.intent", "1.task.", "1.note"])
def test_objects_of_others_in_the_folder_make_nothing_be_sent_twice(
    ledger: Ledger, store: CountingStore, name: str
) -> None:
    a_task(ledger, "t-1")
    store.objects[SONG.folder + name] = b"{}"
    assert ledger.find(SONG) == ledger.claim(SONG, intent(ledger)) == AlreadyMade(1, "t-1", {})


@pytest.mark.parametrize("name", ["README", "x.intent", "².intent", "-1.intent"])
def test_objects_of_others_do_not_keep_a_request_from_being_sent(
    ledger: Ledger, store: CountingStore, name: str
) -> None:
    store.objects[SONG.folder + name] = b"{}"
    assert claimed(ledger).number == 1


# --- crashes ---


class Killed(BaseException):
    """The process ends here."""


def _die() -> None:
    raise Killed


@pytest.mark.parametrize("point", ["before intent", "after intent", "before task", "after task"])
def test_a_sender_that_dies_leaves_no_second_right_to_send(ledger: Ledger, clock: Clock, point: str) -> None:
    crash_points.at(point, _die)
    try:
        with pytest.raises(Killed):
            a_task(ledger, "t-1")
    finally:
        crash_points.at(point, None)
    clock.now += UNTIL_IN_DOUBT
    found = ledger.claim(SONG, intent(ledger))
    assert type(found) is {"before intent": Claimed, "after task": AlreadyMade}.get(point, InDoubt)


@given(st.lists(st.sampled_from(["refused", "failed", "released", "unanswered", "repeated", "task.a", "task.b"])))
def test_whatever_is_in_a_folder_only_one_of_two_may_send(endings: list[str]) -> None:
    store = MemoryLedgerStore()
    ledger = Ledger(store, lambda: NOW)
    for number, ending in enumerate(endings, 1):
        store.objects[f"{SONG.folder}{number}.intent"] = b"{}"
        store.objects[f"{SONG.folder}{number}.{ending}"] = b"{}"
    claims = [ledger.claim(SONG, intent(ledger)) for _ in range(2)]
    assert sum(isinstance(claim, Claimed) for claim in claims) <= 1
    tasks = {key.rpartition(".")[2] for key in store.objects if ".task." in key}
    if tasks:
        assert not any(isinstance(claim, Claimed) for claim in claims)


# --- one request as its sender works with it ---


def test_a_paid_request_makes_its_intent_when_it_is_claimed(ledger: Ledger, clock: Clock) -> None:
    paid = PaidRequest(lambda: ledger, SONG, Intent.made_at)
    assert paid.find() is None
    clock.now += 50
    claim = paid.claim()
    assert isinstance(claim, Claimed)
    assert (claim.intent.at, claim.intent.not_after) == (NOW + 50, NOW + 50 + SEND_WITHIN)
    paid.record_task(1, "t-1")
    assert paid.find() == AlreadyMade(1, "t-1", {})
    assert paid.record(1, "failed", reason="generation_failed")
    assert paid.adopt("t-2") == 2
