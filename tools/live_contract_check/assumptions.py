"""What this provider assumes of covers, as a table, and how each assumption is held against what KIE answered.

No recording of a real cover exists. Each row is a sentence that rests on KIE's documentation alone, or on which its
pages contradict each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from airflow_kie.client.operations.json_path import value_at, values_at
from airflow_kie.client.operations.suno import COVER
from tools.live_contract_check.http_log import Exchange
from tools.live_contract_check.observations import Seen, Step
from tools.live_contract_check.verdicts import Assumption, Judged, held, unseen

DOCUMENTED_FILE_HOST = "tempfile.aiquickdraw.com"
DOCUMENTED_IMAGES = 2
LINK_MINUTES = 20
VISIBLE_WITHIN = 60.0
_BUSY = frozenset({429, 430, 455, 500})
"""Codes with which KIE refuses any create at the moment."""


Judge = Callable[[Seen], Judged]


def _callback_needed(seen: Seen) -> Judged:
    exchange = seen.one(Step.WITHOUT_CALLBACK)
    if exchange is None:
        return unseen("no answer came")
    code, msg = exchange.answer.get("code"), exchange.answer.get("msg")
    if value_at(exchange.answer.get("data"), COVER.id_path) and code != 200:
        return unseen(f"the song had a cover already: code {code}")
    return held(code == 422 and "callback" in str(msg).lower(), f"code {code}, {msg!r}")


def _accepted(seen: Seen) -> Judged:
    exchange = seen.created
    if exchange is None:
        return unseen("the song had a cover already, or the create was refused")
    where = "data.taskId" if value_at(exchange.answer.get("data"), "taskId") else "elsewhere"
    return held(
        (exchange.response.status, where) == (200, "data.taskId"),
        f"HTTP {exchange.response.status}, code 200, id at {where}",
    )


def _own_id(seen: Seen) -> Judged:
    if seen.task_id is None:
        return unseen("no cover task was named")
    hexadecimal = len(seen.task_id) == 32 and not set(seen.task_id) - set("0123456789abcdef")
    kind = "32 hexadecimal digits" if hexadecimal else f"{len(seen.task_id)} characters of another kind"
    return held(seen.task_id != seen.music_task_id and hexadecimal, kind)


def _repeat(judge: Callable[[Exchange, Seen], Judged]) -> Judge:
    def judged(seen: Seen) -> Judged:
        exchange = seen.one(Step.REPEAT)
        if exchange is None or exchange.response.status >= 500:
            return unseen("no answer came to the repeated create")
        busy = exchange.answer.get("code") in _BUSY
        return unseen(f"KIE was busy: code {exchange.answer.get('code')}") if busy else judge(exchange, seen)

    return judged


def _repeat_id(exchange: Exchange, seen: Seen) -> Judged:
    data = exchange.answer.get("data")
    named = value_at(data, COVER.id_path)
    if named:
        same = "the first cover's id" if named == seen.task_id else "another id: a second cover was made"
        where = "data.taskId" if value_at(data, "taskId") else "data.task_id"
        return held(named == seen.task_id and where == "data.taskId", f"{same}, at {where}")
    if isinstance(data, str) and data:
        return held(False, "the id is data itself, which is understood too")
    return held(False, "it names no id: a lost answer to a create needs a person, who adopts the id of kie.ai/logs")


def _repeat_free(seen: Seen) -> Judged:
    before, after = seen.balance(Step.BALANCE_CREATED), seen.balance(Step.BALANCE_REPEATED)
    if before is None or after is None or seen.one(Step.REPEAT) is None:
        return unseen("a balance is missing")
    return held(after >= before, f"{before - after:g} credits between the two balances")


def _visible(seen: Seen) -> Judged:
    reads = seen.all(Step.DETAILS)
    first = next((one for one in reads if isinstance(one.answer.get("data"), dict)), None)
    if first is None:
        return unseen("the details never showed it")
    hidden = sum(one.answer.get("data") is None for one in reads[: reads.index(first)])
    made = seen.created or seen.one(Step.CREATE) or first
    seconds = (first.ended - made.ended).total_seconds()
    return held(seconds <= VISIBLE_WITHIN, f"after {seconds:.1f} s, {hidden} reads with data: null before")


def _flags(seen: Seen) -> Judged:
    flags = list(dict.fromkeys(repr(data.get("successFlag")) for data in seen.details))
    if not flags:
        return unseen("the details never showed it")
    ended = "1" if seen.done else "3"
    known = set(flags) <= {"0", "2", ended} and flags[-1] == ended
    return held(known, f"{', '.join(flags)}, with {'files' if seen.done else 'no files'} at the last")


def _flag_two(seen: Seen) -> Judged:
    flags = [data.get("successFlag") for data in seen.details]
    if 2 not in flags:
        return unseen("no read fell into that time")
    return held(seen.done is not None, "2, then files" if seen.done else "2, and no files came")


def _of_done(judge: Callable[[dict[str, Any], Seen], Judged]) -> Judge:
    def judged(seen: Seen) -> Judged:
        return judge(seen.done, seen) if seen.done else unseen("the cover was not finished")

    return judged


def _error_code(done: dict[str, Any], _: Seen) -> Judged:
    code, message = done.get("errorCode"), done.get("errorMessage")
    return held((code, message) == (200, ""), f"errorCode {code!r}, errorMessage {message!r}")


def _times(done: dict[str, Any], _: Seen) -> Judged:
    times = [done.get("createTime"), done.get("completeTime")]
    iso = all(isinstance(time, str) and time.endswith("Z") and "T" in time for time in times)
    kinds = ["text" if isinstance(time, str) else type(time).__name__ for time in times]
    return held(iso, "ISO 8601 with Z" if iso else f"{' and '.join(kinds)}: epoch milliseconds are understood too")


def _images(done: dict[str, Any], _: Seen) -> Judged:
    images = values_at(done, COVER.results[0].path)
    is_list = isinstance(value_at(done, "response.images"), list)
    return held(is_list and len(images) == DOCUMENTED_IMAGES, f"{len(images)}, {'a list' if is_list else 'no list'}")


def _types(seen: Seen) -> Judged:
    if not seen.files:
        return unseen("no file was fetched")
    types = [file.content_type or file.description for file in seen.files]
    return held(set(types) == {"image/png"}, ", ".join(types))


def _fetched(seen: Seen) -> Judged:
    if not seen.files:
        return unseen("no file was fetched")
    return held(all(file.content_type for file in seen.files), "; ".join(file.description for file in seen.files))


def _hosts(seen: Seen) -> Judged:
    hosts = list(dict.fromkeys(file.host for file in seen.files))
    return held(hosts == [DOCUMENTED_FILE_HOST], ", ".join(hosts)) if hosts else unseen("no file was named")


def _link(seen: Seen) -> Judged:
    exchange = seen.one(Step.LINK)
    if exchange is None:
        return unseen("no file was named")
    url = exchange.answer.get("data")
    if exchange.answer.get("code") != 200 or not isinstance(url, str):
        return held(False, f"code {exchange.answer.get('code')}, {exchange.answer.get('msg')!r}")
    minutes = _lifetime(url, exchange.ended.timestamp())
    if minutes is None:
        return unseen("a link came, which does not say how long it lives")
    return held(round(minutes) == LINK_MINUTES, f"{minutes:.0f} minutes by its own parameters")


def _lifetime(url: str, now: float) -> float | None:
    """Return the minutes that a signed link lives, as its query says in S3's or CloudFront's way."""
    query = {name.lower(): values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    for name, since in (("x-amz-expires", 0.0), ("expires", now)):
        if query.get(name, "").isdigit():
            return (float(query[name]) - since) / 60
    return None


def _statuses(seen: Seen) -> Judged:
    statuses = sorted({exchange.response.status for exchange in seen.exchanges})
    return held(statuses == [200], ", ".join(map(str, statuses)))


def _price(seen: Seen) -> Judged:
    before, after = seen.balance(Step.BALANCE_BEFORE), seen.balance(Step.BALANCE_AFTER)
    if before is None or after is None:
        return unseen("a balance is missing")
    return held(before - after <= seen.price, f"{before - after:g} credits, if nothing else used the account meanwhile")


def _duration(seen: Seen) -> Judged:
    made, last = seen.created, seen.one(Step.DETAILS)
    if seen.done is None or made is None or last is None:
        return unseen("the cover was not made now")
    seconds = (last.ended - made.ended).total_seconds()
    return held(seconds <= COVER.timing.timeout, f"{seconds:.0f} s")


ASSUMPTIONS: tuple[Assumption[Seen], ...] = (
    Assumption("Every answer comes with HTTP 200; the code in the body decides.", _statuses),
    Assumption("A create without callBackUrl is refused with code 422 and makes nothing.", _callback_needed),
    Assumption("An accepted create has code 200 and names the cover task at data.taskId.", _accepted),
    Assumption("A cover task's id has 32 hexadecimal digits and is not the song's.", _own_id),
    Assumption(
        "A second create for a song comes with HTTP 200.",
        _repeat(lambda one, _: held(one.response.status == 200, f"HTTP {one.response.status}")),
    ),
    Assumption(
        "A second create for a song is refused with code 400.",
        _repeat(lambda one, _: held(one.answer.get("code") == 400, f"code {one.answer.get('code')}")),
    ),
    Assumption("A second create for a song names the first cover at data.taskId.", _repeat(_repeat_id)),
    Assumption("A second create for a song costs nothing.", _repeat_free),
    Assumption(f"The details show a new cover within {VISIBLE_WITHIN:.0f} s.", _visible),
    Assumption("successFlag is a whole number: 0 and 2 while it runs, 1 when it is done, 3 when it failed.", _flags),
    Assumption("successFlag 2 means that the cover is being generated.", _flag_two),
    Assumption("A finished cover has errorCode 200 and an empty errorMessage.", _of_done(_error_code)),
    Assumption("A cover's times are ISO texts in UTC.", _of_done(_times)),
    Assumption(
        "A cover's parentTaskId is the song.",
        _of_done(lambda done, seen: held(done.get("parentTaskId") == seen.music_task_id, "compared with the song")),
    ),
    Assumption(
        "The details spell the callback URL callbackUrl.",
        _of_done(lambda done, _: held("callbackUrl" in done, ", ".join(key for key in done if "back" in key.lower()))),
    ),
    Assumption(f"response.images is a list of {DOCUMENTED_IMAGES} links.", _of_done(_images)),
    Assumption("The images are PNG.", _types),
    Assumption(f"The images are on {DOCUMENTED_FILE_HOST}.", _hosts),
    Assumption("The images come whole, without the key, for a browser's User-Agent.", _fetched),
    Assumption(f"KIE makes a fresh link for a file, which lives {LINK_MINUTES} minutes.", _link),
    Assumption(f"A cover is done within {COVER.timing.timeout / 60:.0f} minutes.", _duration),
    Assumption("A cover costs what KIE's price list says: nothing.", _price),
)
