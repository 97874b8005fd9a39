"""KIE's endpoints that answer at once: boost style, persona, timestamped lyrics, voice check, Veo's larger videos."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kie_simulator.accounts import Account
from kie_simulator.answers import OUT_OF_CREDITS, Answer, refusal
from kie_simulator.api import Api, link_answer, read_json
from kie_simulator.creating import make_task
from kie_simulator.faults import Moment
from kie_simulator.operations import MUSIC_KINDS, VEO_4K_OPERATION
from kie_simulator.songs import invent_lyrics
from kie_simulator.tasks import Task

_1080P_WAIT = "1080P is processing. It should be ready in 1-2 minutes. Please check back shortly."
_1080P_SECONDS = 60.0
_1080P_PRICE = 5.0
_TIMED_LYRICS_PRICE = 0.5  # for each request, in either form: KIE's price list of October 2026
_NO_RECORD = "The record does not exist"


@dataclass(frozen=True)
class Call:
    """One request to an endpoint that answers at once.

    :param given: the JSON body, or the query of a GET.
    """

    api: Api
    account: Account
    given: Mapping[str, Any]
    base_url: str

    def task(self, *kinds: str, field: str = "taskId") -> Task | None:
        """Return the task that the request names, or None."""
        return self.api.sim.source_task(self.account, str(self.given.get(field)), kinds, "dedicated")

    def pay(self, kind: str, task_id: str, source_id: str, price: float) -> Answer | None:
        """Take credits for what is asked for; where the account has too few, return the refusal."""
        sim = self.api.sim
        if self.account.credits < price:
            return refusal(sim.settings.out_of_credits_code, OUT_OF_CREDITS)
        sim.charge_call(self.account, kind, task_id, source_id, price, self.given)
        return None


def _style(call: Call) -> Answer:
    sim, price = call.api.sim, 0.4
    content = str(call.given.get("content") or "")
    if not content:
        return refusal(422, "content cannot be blank")
    task_id = sim.new_id()
    return call.pay("style", task_id, "", price) or Answer(
        data={
            "taskId": task_id,
            "param": content,
            "result": f"{content}: a hushed intro with sparse felt piano, then a wide chorus with delay throws.",
            "creditsConsumed": price,
            "creditsRemaining": call.account.credits,
            # Observed; the page says 0, 1 or 2, and errorMessage where the server says errorMsg.
            "successFlag": "成功",
            "errorCode": None,
            "errorMsg": None,
            "createTime": int(sim.clock.now() * 1000),
        }
    )


def _has_audio(task: Task | None, audio_id: Any) -> bool:
    return task is not None and audio_id in [track.audio_id for track in task.tracks]


def _persona(call: Call) -> Answer:
    audio_id = call.given.get("audioId")
    task = call.task(*MUSIC_KINDS)
    if task is None or not _has_audio(task, audio_id):
        return refusal(422, "Music does not exist")
    for name in ("name", "description"):
        if not call.given.get(name):
            return refusal(422, f"{name} cannot be blank")
    if any(charge.kind == "persona" and charge.source_id == audio_id for charge in call.api.sim.ledger):
        return refusal(409, "The persona already exists for this music")
    persona_id = call.api.sim.new_id()
    call.api.sim.charge_call(call.account, "persona", persona_id, str(audio_id), 0.0, call.given)
    data = {"personaId": persona_id, "name": call.given["name"], "description": call.given["description"]}
    return Answer(data=data)


def _timestamped_lyrics(call: Call) -> Answer:
    task = call.task(*MUSIC_KINDS)
    if task is None or not _has_audio(task, call.given.get("audioId")):
        return refusal(422, "The corresponding record does not exist")
    if refused := call.pay("timestamped_lyrics", call.api.sim.new_id(), task.id, _TIMED_LYRICS_PRICE):
        return refused
    words = [
        {"word": word, "success": True, "startS": round(n * 0.6, 2), "endS": round(n * 0.6 + 0.5, 2), "palign": 0}
        for n, word in enumerate(invent_lyrics(task.id).split())
    ]
    wave = [round(0.2 + n % 7 / 10, 2) for n in range(64)]
    return Answer(data={"alignedWords": words, "waveformData": wave, "hootCer": 0.12, "isStreamed": False})


def _check_voice(call: Call) -> Answer:
    task = call.task("voice_generate", field="task_id")
    if task is None:
        return refusal(422, _NO_RECORD)
    return Answer(data={"isAvailable": call.api.sim.reading(task, "").succeeded})


def _veo_1080p(call: Call) -> Answer:
    sim, task = call.api.sim, call.task("veo", "veo_extend")
    if task is None:
        return refusal(422, _NO_RECORD)
    reading = sim.reading(task, call.base_url)
    if not reading.succeeded or reading.now < task.ends + _1080P_SECONDS:
        return refusal(400, _1080P_WAIT)
    paid = any(charge.kind == "veo_1080p" and charge.source_id == task.id for charge in sim.ledger)
    refused = None if paid else call.pay("veo_1080p", sim.new_id(), task.id, _1080P_PRICE)
    return refused or Answer(data={"resultUrl": reading.links("video")[0]})


async def _veo_4k(call: Call) -> Answer:
    sim, video = call.api.sim, call.task("veo", "veo_extend")
    if video is None:
        return refusal(422, _NO_RECORD)
    for task in sim.tasks.values():
        if task.kind == "veo_4k" and task.source_id == video.id:
            reading = sim.reading(task, call.base_url)
            urls = reading.links("video") if reading.succeeded else None
            word = "has been generated" if reading.ended else "is processing"
            return refusal(422, f"The 4K video {word}.", {"taskId": task.id, "resultUrls": urls, "imageUrls": None})
    if call.account.credits < VEO_4K_OPERATION.credits:
        return refusal(sim.settings.out_of_credits_code, OUT_OF_CREDITS)
    task = make_task(sim, VEO_4K_OPERATION, call.account, call.given, call.base_url)
    task.source_id = video.id
    sim.charge(call.account, task, VEO_4K_OPERATION.credits)
    await call.api.callbacks.expect(task)
    # The page of its callback shows an id of its own.
    return Answer(data={"taskId": task.id, "resultUrls": None, "imageUrls": None})


def _gpt4o_link(call: Call) -> Answer:
    if call.task("gpt4o_image") is None:
        return refusal(422, "record is null")
    return link_answer(call.api.sim, str(call.given.get("url") or ""), call.base_url)


_CALLS: tuple[tuple[str, str, str, Callable[[Call], Answer | Awaitable[Answer]]], ...] = (
    ("style", "POST", "/api/v1/style/generate", _style),
    ("persona", "POST", "/api/v1/generate/generate-persona", _persona),
    ("timestamped_lyrics", "POST", "/api/v1/generate/get-timestamped-lyrics", _timestamped_lyrics),
    ("check_voice", "POST", "/api/v1/voice/check-voice", _check_voice),
    ("veo_1080p", "GET", "/api/v1/veo/get-1080p-video", _veo_1080p),
    ("veo_4k", "POST", "/api/v1/veo/get-4k-video", _veo_4k),
    ("gpt4o_link", "POST", "/api/v1/gpt4o-image/download-url", _gpt4o_link),
)


def add_calls(api: Api) -> None:
    """Add the endpoints that answer at once to the API."""
    for kind, method, path, effect in _CALLS:
        api.add(method, path, _endpoint(api, kind, effect))


def _endpoint(api: Api, kind: str, effect: Callable[[Call], Answer | Awaitable[Answer]]) -> Any:
    async def endpoint(request: Request) -> Response:
        account = api.enter(request)
        if account is None:
            return await api.answer([], api.unauthorized)
        given = dict(request.query_params) if request.method == "GET" else await read_json(request) or {}
        call = Call(api, account, given, api.base_url(request))
        task_id = str(given.get("taskId") or "")
        moment = Moment("call", kind=kind, path=request.url.path, source_id=task_id, account=account.name)

        async def answer() -> Answer:
            result = effect(call)
            return result if isinstance(result, Answer) else await result

        return await api.answer(api.sim.faults.strike(moment), answer)

    return endpoint
