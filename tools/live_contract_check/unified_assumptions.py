"""What this project assumes of the unified API variant, as a table, and how KIE's answers bear each assumption out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tools.live_contract_check.http_log import Exchange
from tools.live_contract_check.unified_experiment import PAID
from tools.live_contract_check.unified_seen import UnifiedSeen, UnifiedStep, data_of, result_of, state_of
from tools.live_contract_check.verdicts import Assumption, Judged, held, unseen

Judge = Callable[[UnifiedSeen], Judged]
_STATES = frozenset({"waiting", "queuing", "generating", "success", "fail"})
_FLAGS = {"success": 1, "fail": 3}
_READS = (UnifiedStep.DETAILS, *(f"details of {name}" for name in PAID))


def _answer(step: str, judge: Callable[[Exchange], Judged]) -> Judge:
    def judged(seen: UnifiedSeen) -> Judged:
        exchange = seen.one(step)
        return judge(exchange) if exchange else unseen("it was not asked")

    return judged


def _code(step: str, code: int, word: str = "") -> Judge:
    def judge(exchange: Exchange) -> Judged:
        told = exchange.answer.get("code"), str(exchange.answer.get("msg"))
        return held(told[0] == code and word in told[1], f"code {told[0]}, {told[1]!r}")

    return _answer(step, judge)


def _reads(seen: UnifiedSeen) -> list[Exchange]:
    return [exchange for step in _READS for exchange in seen.all(step)]


def _of_reads(judge: Callable[[list[Exchange]], Judged]) -> Judge:
    def judged(seen: UnifiedSeen) -> Judged:
        reads = _reads(seen)
        return judge(reads) if reads else unseen("no task was read")

    return judged


def _json(reads: list[Exchange]) -> Judged:
    broken = sum(not exchange.answer for exchange in reads)
    return held(not broken, f"{broken} of {len(reads)} bodies are no JSON")


def _visible(reads: list[Exchange]) -> Judged:
    hidden = sum(exchange.answer.get("code") == 422 for exchange in reads)
    return held(not hidden, f"{hidden} of {len(reads)} reads were answered with code 422")


def _states(reads: list[Exchange]) -> Judged:
    states = {state_of(exchange) for exchange in reads} - {""}
    return held(states <= _STATES, ", ".join(sorted(states)))


def _flags(reads: list[Exchange]) -> Judged:
    told = {(state_of(read), data_of(read).get("successFlag")) for read in reads if data_of(read)}
    wrong = sorted(f"{state}: {flag}" for state, flag in told if flag != _FLAGS.get(state, 0))
    return held(not wrong, ", ".join(wrong) or f"{len(told)} pairs")


def _done(name: str, judge: Callable[[Exchange], Judged]) -> Judge:
    step = f"details of {name}" if name else UnifiedStep.DETAILS

    def judged(seen: UnifiedSeen) -> Judged:
        done = seen.done(step)
        return judge(done) if done else unseen("no such task was finished")

    return judged


def _links(exchange: Exchange, wanted: int) -> Judged:
    result = result_of(exchange)
    urls = result.get("resultUrls") if isinstance(result, dict) else None
    members = ", ".join(result) if isinstance(result, dict) else type(result).__name__
    return held(isinstance(urls, list) and len(urls) == wanted, f"members {members}; {len(urls or ())} links")


def _member(exchange: Exchange, *path: str) -> Judged:
    value: Any = result_of(exchange)
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return held(isinstance(value, list) and bool(value), f"{'.'.join(path)}: {type(value).__name__}")


def _same_result(exchange: Exchange) -> Judged:
    same = result_of(exchange) == data_of(exchange).get("response")
    return held(same, "they are equal" if same else "they differ")


def _seconds(exchange: Exchange) -> Judged:
    data = data_of(exchange)
    try:
        real = (data["completeTime"] - data["createTime"]) / 1000
        return held(
            abs(float(data["costTime"]) - real) <= 1, f"costTime {data['costTime']}, {real:.0f} s between its times"
        )
    except (KeyError, TypeError, ValueError):
        return unseen("a time is missing")


def _consumed(name: str) -> Judge:
    price = PAID[name].credits if name else 0

    def judge(exchange: Exchange) -> Judged:
        consumed = data_of(exchange).get("creditsConsumed")
        return held(consumed == price, f"creditsConsumed {consumed!r}")

    return _done(name, judge)


def _created(seen: UnifiedSeen) -> Judged:
    exchange = seen.one(UnifiedStep.COVER)
    data = data_of(exchange)
    if exchange is None:
        return unseen("no cover was asked for")
    return held(bool(data.get("taskId")) and data.get("taskId") == data.get("recordId"), f"members {', '.join(data)}")


def _repeat(seen: UnifiedSeen) -> Judged:
    first, second = (data_of(seen.one(step)).get("taskId") for step in (UnifiedStep.COVER, UnifiedStep.REPEAT))
    exchange = seen.one(UnifiedStep.REPEAT)
    if not first or exchange is None:
        return unseen("no cover was made")
    named = "the same id" if second == first else "another id" if second else "no id"
    return held(bool(second) and second != first, f"code {exchange.answer.get('code')}, {named}")


def _cost(seen: UnifiedSeen) -> Judged:
    before, after = seen.balance(UnifiedStep.BALANCE_BEFORE), seen.balance(UnifiedStep.BALANCE_AFTER)
    if before is None or after is None:
        return unseen("a balance is missing")
    return held(before == after, f"{before - after:g} credits, if nothing else used the account meanwhile")


def _one_variant(seen: UnifiedSeen) -> Judged:
    old, new = seen.one(UnifiedStep.SONG_DEDICATED), seen.one(UnifiedStep.SONG_UNIFIED)
    if old is None or new is None:
        return unseen("the song was not read")
    variants = [name for name, read in (("dedicated", old), ("unified", new)) if data_of(read)]
    return held(len(variants) == 1, f"shown by: {', '.join(variants) or 'none'}")


def _crossing(seen: UnifiedSeen) -> Judged:
    old, new = data_of(seen.one(UnifiedStep.SONG_DEDICATED)), data_of(seen.one(UnifiedStep.SONG_UNIFIED))
    exchange = seen.one(UnifiedStep.COVER)
    if exchange is None or not old or new:
        return unseen("the song is not one of the dedicated API variant alone")
    return held(bool(seen.done()), f"code {exchange.answer.get('code')}, {exchange.answer.get('msg')!r}")


def _unknown_song(seen: UnifiedSeen) -> Judged:
    exchange = seen.one(UnifiedStep.UNKNOWN_SONG)
    if exchange is None:
        return unseen("it was not asked")
    made = data_of(exchange).get("taskId")
    return held(
        exchange.answer.get("code") == 422 and not made, f"code {exchange.answer.get('code')}, id: {bool(made)}"
    )


def _files(seen: UnifiedSeen) -> Judged:
    if not seen.files:
        return unseen("no file was named")
    return held(
        all(file.content_type == "image/png" for file in seen.files),
        "; ".join(f"{file.host} {file.description}" for file in seen.files),
    )


def _prompt_alone(seen: UnifiedSeen) -> Judged:
    asked = seen.all("pay song")
    return held(len(asked) == 1, f"code {asked[0].answer.get('code')}") if asked else unseen("no song was paid for")


def _inline(seen: UnifiedSeen) -> Judged:
    exchange = seen.one("pay words")
    if exchange is None:
        return unseen("they were not paid for")
    data = data_of(exchange)
    return held("alignedWords" in data and "taskId" not in data, f"members {', '.join(data)}")


def _statuses(seen: UnifiedSeen) -> Judged:
    statuses = sorted({exchange.response.status for exchange in seen.exchanges})
    return held(statuses == [200], ", ".join(map(str, statuses)))


UNIFIED_ASSUMPTIONS: tuple[Assumption[UnifiedSeen], ...] = (
    Assumption("Every answer comes with HTTP 200; the code in the body decides.", _statuses),
    Assumption("The details of an unknown id are code 422.", _code(UnifiedStep.UNKNOWN_ID, 422, "recordInfo is null")),
    Assumption("An unknown model is refused with code 422.", _code(UnifiedStep.UNKNOWN_MODEL, 422, "not supported")),
    Assumption("A cover of an unknown song is refused with code 422 and makes nothing.", _unknown_song),
    Assumption("The details of one API variant do not show the songs of the other.", _one_variant),
    Assumption("A song of the dedicated API variant gets its cover in this one.", _crossing),
    Assumption("A create without callBackUrl is accepted and names one id, as taskId and as recordId.", _created),
    Assumption("A second cover of a song is another task.", _repeat),
    Assumption("Covers cost nothing.", _cost),
    Assumption("Every body of recordInfo is JSON.", _of_reads(_json)),
    Assumption("A new task is shown at once.", _of_reads(_visible)),
    Assumption("state is waiting, queuing, generating, success or fail.", _of_reads(_states)),
    Assumption("successFlag is 0 while a task runs, 1 for a success, 3 for a failure.", _of_reads(_flags)),
    Assumption("A finished cover is two links in resultUrls.", _done("", lambda done: _links(done, 2))),
    Assumption("response is what resultJson holds.", _done("", _same_result)),
    Assumption("costTime is in seconds.", _done("", _seconds)),
    Assumption("A cover's creditsConsumed is 0.", _consumed("")),
    Assumption("The images are PNG and come whole, without the key.", _files),
    Assumption("A prompt alone makes a song.", _prompt_alone),
    Assumption("A finished song is a list of tracks in data.", _done("song", lambda done: _member(done, "data"))),
    Assumption("A song's creditsConsumed is that of KIE's list.", _consumed("song")),
    Assumption(
        "Finished lyrics are in resultObject.lyricsData.",
        _done("lyrics", lambda done: _member(done, "resultObject", "lyricsData")),
    ),
    Assumption("Timestamped lyrics are in the answer to their create.", _inline),
    Assumption("A finished WAV is one link in resultUrls.", _done("wav", lambda done: _links(done, 1))),
    Assumption("Finished stems are two links in resultUrls.", _done("stems", lambda done: _links(done, 2))),
)
