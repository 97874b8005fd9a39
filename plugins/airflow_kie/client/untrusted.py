"""Values from outside, turned into what everything after them can store, count and write.

Python's JSON decoder takes more than that: NaN, numbers of four thousand digits, half an emoji, nesting that ends the
stack. A yes-or-no of a template, a form or an inbox object is a text.
"""

from __future__ import annotations

import json
import re
from typing import Any

DEEPEST = 64
"""Levels of nesting; KIE's answers have fewer than ten."""
NOTHING = "None"
"""What a template renders to whose value is None."""
_LARGEST = 2**63
_ECHO = re.compile(rb'"param(?:Json)?"\s*:\s*"')
_NEXT = re.compile(
    rb'"\s*,\s*(?="(?:param|paramJson|resultJson|response|state|successFlag|status|failCode|failMsg|costTime|createTime|'
    rb'completeTime|updateTime|creditsConsumed|operationType|type|parentMusicId|progress)"\s*:)'
)
"""The end of a member, before another one of a record."""
_ODD_TEXT = re.compile(r"[\x00\ud800-\udfff]")


def is_true(value: bool | str) -> bool:
    """Return a templated yes-or-no: templates render to text."""
    return value.strip().lower() in ("true", "1", "yes") if isinstance(value, str) else bool(value)


def decode_json(content: bytes | str) -> Any:
    """Return what a JSON text holds.

    Half an emoji and NUL, which no file and no database takes, become the replacement character.

    :param content: the text.
    :raises ValueError: when it is not JSON, holds numbers beyond 64 bits, or is nested more than 64 levels deep.
    """
    try:
        return _checked(json.loads(content), DEEPEST)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def decode_record(content: bytes) -> Any:
    """Return what a body of KIE's holds; where it is not JSON, without the request that it repeats.

    KIE has repeated requests without escaping their quotes (recorded 2026-09-27): the rest of the record is whole.

    :param content: the body.
    :raises ValueError: as :func:`decode_json`.
    """
    try:
        return decode_json(content)
    except ValueError:
        return decode_json(without_echo(content))


def without_echo(content: bytes) -> bytes:
    """Return a body without the two members that repeat a request; each is searched for once, however odd the body."""
    for _ in range(2):
        begin = _ECHO.search(content)
        end = _NEXT.search(content, begin.end()) if begin else None
        if begin is None or end is None:
            break
        content = content[: begin.start()] + content[end.end() :]
    return content


def _checked(value: Any, depth: int) -> Any:
    if depth < 0:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return _ODD_TEXT.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {_checked(key, depth): _checked(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_checked(item, depth - 1) for item in value]
    if isinstance(value, (int, float)) and not -_LARGEST <= value < _LARGEST:  # NaN is never within
        raise ValueError("a number beyond 64 bits")
    return value
