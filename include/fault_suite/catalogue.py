"""The faults that a song can meet, as data: where each strikes, what it does, and what a song must make of it.

A slot is a place in the life of a song; a song meets at most one kind per slot, so that it can still succeed. The
codes and oddities are those of KIE's pages and recorded traffic; include/kie_simulator/README.md lists the actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fault_suite.s3_proxy import Rule


@dataclass(frozen=True)
class KieFault:
    """A kind of wrong answer of KIE.

    :param slot: the place in the song's life.
    :param name: what the report calls it.
    :param phase: phase of the simulator's fault.
    :param action: its action.
    :param options: its parameters.
    """

    slot: str
    name: str
    phase: str
    action: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def strikes(self) -> int:
        """How often it strikes at most."""
        return int(self.options.get("times", 1))


@dataclass(frozen=True)
class S3Fault:
    """A kind of error of S3.

    :param slot: the place in the song's life.
    :param name: what the report calls it.
    :param path: regular expression for ``/bucket/key``, with ``{song}``.
    :param methods: HTTP methods.
    :param action: what the proxy does.
    :param options: further fields of :class:`~fault_suite.s3_proxy.Rule`.
    """

    slot: str
    name: str
    path: str
    methods: tuple[str, ...]
    action: Any
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def strikes(self) -> int:
        """How often it strikes at most."""
        return int(self.options.get("times", 1))

    def rule(self, song: str) -> Rule:
        """Return the proxy's rule for a song."""
        return Rule(self.action, self.path.format(song=song), self.methods, **self.options)


SongFault = KieFault | S3Fault
_TARGETS: Mapping[str, Mapping[str, str]] = {
    "create": {"kind": "cover", "source_id": "{song}"},
    "generate": {"kind": "music", "title": "{song}"},  # it has no id before KIE has made it
    "music": {"kind": "music", "task_id": "{song}"},
    "cover": {"kind": "cover", "source_id": "{song}"},
    "callback": {"kind": "cover", "source_id": "{song}"},
    "ending": {"kind": "cover", "source_id": "{song}"},
    "file": {"kind": "cover", "source_id": "{song}"},
    "balance": {},  # these name no song: the next one that asks meets them
    "link": {},
}


def target(fault: KieFault, song: str) -> dict[str, str]:
    """Return the fields by which the simulator knows the song's requests."""
    return {name: text.format(song=song) for name, text in _TARGETS[fault.slot].items()}


def _codes(slot: str, phase: str, *codes: int) -> list[KieFault]:
    return [KieFault(slot, f"{slot} code {code}", phase, "code", {"code": code, "msg": "A fault"}) for code in codes]


def _answers(slot: str, phase: str, *, after: bool = False) -> list[KieFault]:
    """Return the ways in which any answer can be spoilt."""
    more = {"after": True} if after else {}
    words = " after it took effect" if after else ""
    plain = [
        KieFault(slot, f"{slot} {action}{words}", phase, action, more) for action in ("html", "malformed", "empty")
    ]
    http = [
        KieFault(slot, f"{slot} HTTP {status}{words}", phase, "http", {"http": status, "msg": "A fault", **more})
        for status in (500, 503)
    ]
    return plain + http


def _any_answer(slot: str, phase: str) -> list[KieFault]:
    return [
        *_answers(slot, phase),
        KieFault(slot, f"{slot} missing fields", phase, "missing_fields", {"fields": ["code"]}),
        KieFault(slot, f"{slot} reset", phase, "reset_before"),
        KieFault(slot, f"{slot} slow", phase, "slow", {"seconds": 3}),
    ]


REFUSED_READS = (400, 404, 422, 451, 505)
"""Codes with which KIE refuses a request for good: one read of a paid task that gets one must not be final."""


def _details(slot: str) -> list[KieFault]:
    return [
        *_codes(slot, "details", 429, 430, 455, 500, 550),
        *_codes(slot, "details", *REFUSED_READS),
        *_any_answer(slot, "details"),
        # Reported twice, a minute apart, it would be believed by a sensor, which has not made the task itself.
        KieFault(slot, f"{slot} no data yet", "details", "data_null"),
        KieFault(slot, f"{slot} unknown state", "details", "unknown_state", {"times": 2}),
        KieFault(slot, f"{slot} pending with an error", "details", "pending_error"),
        *[
            KieFault(slot, f"{slot} success without files ({shape})", "details", "without_files", {"shape": shape})
            for shape in ("empty", "null", "no_response")
        ],
    ]


CREATE = [
    *_codes("create", "create", 408, 429, 430, 455, 500, 501, 531, 550),
    *_any_answer("create", "create"),
    *_answers("create", "create", after=True),
    KieFault("create", "create reset after it took effect", "create", "reset_after"),
    KieFault("create", "create code 500 after it took effect", "create", "http", {"http": 500, "after": True}),
    KieFault("create", "create HTTP 429, Retry-After", "create", "http", {"http": 429, "retry_after": 3}),
]
UNHEARD = (
    KieFault("create", "create reset after it took effect, and no callback", "create", "reset_after"),
    KieFault("callback", "callback lost", "callback", "lost"),
)
"""A cover whose id is lost: it is requested once more, and made twice if KIE does not report duplicates."""
GENERATE = [
    KieFault("generate", "song reset after it took effect", "create", "reset_after"),
    *_answers("generate", "create", after=True),
]
"""A song that costs credits, and whose id a callback has to bring."""
ENDING = [
    *[
        KieFault("ending", f"cover fails ({code})", "task", "fail", {"error_code": code, "error_message": "A fault"})
        for code in (500, 501, 531)
    ],
    KieFault("ending", "CALLBACK_EXCEPTION with files", "task", "callback_exception"),
    KieFault("ending", "cover takes long", "task", "takes", {"seconds": 120}),
]
FILE = [
    *[
        KieFault("file", f"file {action}", "file", action, {"role": "image", "times": times})
        for action in ("truncated", "zero_bytes", "html", "reset_before")
        for times in (1, 2)
    ],
    *[
        KieFault("file", f"file {action}", "file", action, {"role": "image"})
        for action in ("forbidden", "not_found", "expired", "content_type")
    ],
    *[KieFault("file", f"file HTTP {code}", "file", "http", {"role": "image", "http": code}) for code in (500, 503)],
    KieFault("file", "file slow", "file", "slow", {"role": "image", "seconds": 3}),
    KieFault(
        "file", "file redirected into nothing", "file", "redirect", {"role": "image", "url": "http://127.0.0.1:9/"}
    ),
]
BALANCE = [*_codes("balance", "credit", 455, 500), *_answers("balance", "credit")]
LINK = [*_codes("link", "download_url", 429, 500), *_answers("link", "download_url")]

# botocore tries five times by itself: six errors in a row reach the task.
_SPOILT_S3: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("500", "error", {"status": 500, "code": "InternalError", "times": 2}),
    ("500, six times", "error", {"status": 500, "code": "InternalError", "times": 6}),
    ("SlowDown", "error", {"status": 503, "code": "SlowDown", "times": 2}),
    ("SlowDown, six times", "error", {"status": 503, "code": "SlowDown", "times": 6}),
    ("slow", "slow", {"seconds": 3}),
    ("reset", "reset", {"times": 2}),
)
_REFUSED_S3: tuple[tuple[str, int, str], ...] = (
    ("AccessDenied", 403, "AccessDenied"),
    ("ExpiredToken", 400, "ExpiredToken"),
    ("KMS", 400, "KMS.DisabledException"),
    ("InvalidAccessKeyId", 403, "InvalidAccessKeyId"),
    ("NoSuchBucket", 404, "NoSuchBucket"),
)


def _s3(slot: str, path: str, *methods: str, refused: bool = False) -> list[S3Fault]:
    found = [S3Fault(slot, f"S3 {slot} {name}", path, methods, do, options) for name, do, options in _SPOILT_S3]
    if "PUT" in methods:
        found.append(S3Fault(slot, f"S3 {slot} reset in the middle", path, methods, "reset_mid_upload"))
    for name, status, code in _REFUSED_S3 if refused else ():
        options = {"status": status, "code": code}
        found.append(S3Fault(slot, f"S3 {slot} {name}", path, methods, "error", options))
    return found


def refused_reads() -> tuple[KieFault, ...]:
    """Return the refusals of a read of a paid cover, one for each code."""
    return tuple(_codes("cover", "details", *REFUSED_READS))


SLOTS: Mapping[str, list[Any]] = {
    "create": CREATE,
    "music": _details("music"),
    "cover": [
        *_details("cover"),
        KieFault("cover", "cover flag 2 with a message", "details", "flag_message", {"times": 2}),
    ],
    "ending": ENDING,
    "file": FILE,
    "balance": BALANCE,
    "link": LINK,
    "pending": _s3("pending", r"/_pending/{song}\.json", "PUT", "GET"),
    "upload": _s3("upload", r"/{song}/cover-", "PUT", refused=True),
    "manifest": _s3("manifest", r"/{song}/manifest\.json", "PUT", refused=True),
    "manifest_read": _s3("manifest_read", r"/{song}/manifest\.json", "GET"),
}
"""Slot → the kinds of faults in it."""


@dataclass(frozen=True)
class Doom:
    """What no retry can fix: the song fails, with at most one create that KIE did not fail itself.

    :param name: what the report calls it.
    :param fault: the fault; None: the song itself is at fault.
    :param music: how the song is made on the simulator.
    :param creates: how many creates may reach KIE.
    """

    name: str
    fault: KieFault | None
    creates: int
    music: Mapping[str, Any] = field(default_factory=dict)
    once: bool = False


DOOMS = (
    *[
        Doom(
            f"create refused for good ({code})",
            KieFault("create", f"create code {code}", "create", "code", {"code": code, "msg": "A fault", "times": -1}),
            creates=0,
            once=True,
        )
        for code in (400, 404, 409, 413, 422, 451, 505)
    ],
    Doom("wrong parent", KieFault("cover", "wrong parent", "details", "wrong_parent", {"times": -1}), creates=1),
    Doom("cover fails again and again", KieFault("ending", "cover fails", "task", "fail", {"times": -1}), creates=3),
    Doom("sensitive words", None, creates=0, music={"state": "SENSITIVE_WORD_ERROR", "error_message": "Not allowed"}),
)
