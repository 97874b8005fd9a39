"""The unified API variant, asked on purpose: what costs nothing, a cover too, then what a person agrees to pay for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_kie.client.errors import KieError, KieInvalidRequest
from airflow_kie.client.requests import Request
from airflow_kie.hooks.kie import KieHook
from tools.live_contract_check import experiment
from tools.live_contract_check.http_log import Exchange, RecordingTransport
from tools.live_contract_check.observations import SeenFile
from tools.live_contract_check.sending import send_create
from tools.live_contract_check.unified_seen import UnifiedSeen, UnifiedStep, data_of, result_of, state_of

COVER = "ai-music-api/cover-generate"
UNKNOWN = "0" * 32
TIMEOUT = 900.0
"""Seconds after which a task is left to itself."""
_REFUSED = 422
Given = dict[str, Any]
_PROMPT: Given = {"custom_mode": False, "instrumental": False, "model": "V6", "prompt": "A quiet evening by the sea"}


@dataclass(frozen=True)
class Paid:
    """One thing that can be paid for.

    :param credits: its price by KIE's list of October 2026.
    :param given: the input, of the song's ids.
    :param otherwise: the input to try if KIE refuses that one, which costs nothing.
    """

    model: str
    credits: float
    given: Callable[[Given], Given]
    otherwise: Given | None = None


PAID: Mapping[str, Paid] = {
    "song": Paid("ai-music-api/generate", 12, lambda ids: _PROMPT, _PROMPT | {"style": "acoustic, calm"}),
    "lyrics": Paid("ai-music-api/generate-lyrics", 0.4, lambda ids: {"prompt": "A quiet evening by the sea"}),
    "words": Paid("ai-music-api/timeStamped-lyrics", 0.5, lambda ids: ids),
    "wav": Paid("ai-music-api/convert-to-wav-format", 0.4, lambda ids: ids),
    "stems": Paid("ai-music-api/separate-vocals", 10, lambda ids: ids | {"type": "separate_vocal"}),
}


@dataclass
class UnifiedExperiment:
    """Asks KIE in the unified API variant.

    :param hook: the account.
    :param music_task_id: a finished song, of either variant.
    :param say: receives what happens.
    """

    hook: KieHook
    music_task_id: str
    say: Callable[[str], None]
    files: list[SeenFile] = field(default_factory=list, init=False)
    tasks: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.transport = RecordingTransport(self.hook.account)

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    @property
    def seen(self) -> UnifiedSeen:
        """Everything that was seen so far."""
        return UnifiedSeen(tuple(self.transport.exchanges), tuple(self.files))

    def questions(self) -> None:
        """Ask what costs nothing and makes nothing.

        :raises KieError: when KIE does not answer, or no variant knows the song.
        """
        self.balance(UnifiedStep.BALANCE_BEFORE)
        self._get(UnifiedStep.PRICE, f"/api/v1/models/{COVER}/price")
        self._read(UnifiedStep.UNKNOWN_ID, UNKNOWN)
        self._create(UnifiedStep.UNKNOWN_MODEL, "no/such-model", {})
        self._get(UnifiedStep.SONG_DEDICATED, "/api/v1/generate/record-info", taskId=self.music_task_id)
        self._read(UnifiedStep.SONG_UNIFIED, self.music_task_id)
        if not self._tracks():
            raise KieInvalidRequest("Neither API variant knows this song as a finished one; nothing was made")

    def cover_is_free(self) -> bool:
        """Return whether KIE's own price text says so."""
        return "free" in str(data_of(self.seen.one(UnifiedStep.PRICE)).get("pricingDesc")).lower()

    def cover(self) -> None:
        """Make a cover, wait for it, look at its files, and ask for it a second time.

        :raises KieError: when KIE does not answer.
        """
        self._create(UnifiedStep.UNKNOWN_SONG, COVER, {"task_id": UNKNOWN})
        task_id = self._create(UnifiedStep.COVER, COVER, {"task_id": self.music_task_id})
        with contextlib.suppress(KieError):
            self.balance(UnifiedStep.BALANCE_CREATED)
        if task_id:
            result = result_of(self._followed(UnifiedStep.DETAILS, task_id)) or {}
            urls = result.get("resultUrls") if isinstance(result, dict) else None
            self.files = [experiment.seen_file(str(url)) for url in urls or ()]
        self._create(UnifiedStep.REPEAT, COVER, {"task_id": self.music_task_id})
        with contextlib.suppress(KieError):
            self.balance(UnifiedStep.BALANCE_AFTER)

    def pay(self, name: str) -> None:
        """Make one thing that is paid for, and wait for it.

        :param name: a name of :data:`PAID`.
        :raises KieError: when KIE does not answer.
        """
        paid, step = PAID[name], f"pay {name}"
        ids = {"task_id": self.music_task_id, "audio_id": self._tracks()[0]}
        task_id = self._create(step, paid.model, paid.given(ids))
        last = self.seen.one(step)
        if last and last.answer.get("code") == _REFUSED and paid.otherwise:
            task_id = self._create(step, paid.model, paid.otherwise)
        if task_id:
            self._followed(f"details of {name}", task_id)
        with contextlib.suppress(KieError):
            self.balance(f"balance after {name}")

    def balance(self, step: str) -> float | None:
        """Ask for the balance, which is free."""
        self._get(step, "/api/v1/chat/credit")
        return self.seen.balance(step)

    def _tracks(self) -> list[str]:
        """Return the audio ids of the song, from whichever variant showed it."""
        old = data_of(self.seen.one(UnifiedStep.SONG_DEDICATED)).get("response") or {}
        new = result_of(self.seen.one(UnifiedStep.SONG_UNIFIED)) or {}
        tracks = old.get("sunoData") or new.get("data") or []
        return [str(track["id"]) for track in tracks if isinstance(track, dict) and track.get("id")]

    def _get(self, step: str, path: str, **params: str) -> Exchange:
        self.transport.purpose = step
        self.transport.send(Request("GET", path, params=params))
        return self.transport.exchanges[-1]

    def _read(self, step: str, task_id: str) -> Exchange:
        return self._get(step, "/api/v1/jobs/recordInfo", taskId=task_id)

    def _create(self, step: str, model: str, given: Given) -> str | None:
        """Send one create, and return and report the id that it names."""
        self.transport.purpose = step
        request = Request("POST", "/api/v1/jobs/createTask", json={"model": model, "input": given})
        send_create(
            self.hook,
            model,
            lambda: self.transport.send(request),
            lambda _: self.transport.exchanges[-1].answer.get("code") in (None, 200, 500, 501),
        )
        answered = self.transport.exchanges[-1]
        task_id = data_of(answered).get("taskId")
        if isinstance(task_id, str):
            self.tasks[step] = task_id
            self.say(f"{step}: task {task_id}.")
        else:
            self.say(f"{step}: code {answered.answer.get('code')}, no task id.")
        return task_id if isinstance(task_id, str) else None

    def _followed(self, step: str, task_id: str) -> Exchange | None:
        """Read a task until it ends; None if that takes too long."""
        until = time.monotonic() + TIMEOUT
        last = ""
        while time.monotonic() < until:
            read = self._read(step, task_id)
            if state_of(read) != last:
                last = state_of(read)
                self.say(f"  state {last or 'unknown'}")
            if last in ("success", "fail"):
                return read
            time.sleep(experiment.READ_EVERY)
        self.say(f"  left after {TIMEOUT / 60:.0f} minutes: look at kie.ai/logs.")
        return None
