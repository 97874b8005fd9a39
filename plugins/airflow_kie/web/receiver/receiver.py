"""The callback receiver: one public route, safe by design.

Verify first, trust nothing in the body, make durable what is accepted, then answer 200. A callback delivers no data:
it makes its task read KIE's details, which are the truth. Whether an id is a song is asked from KIE before it is
recorded; while KIE cannot be asked, the record says that it is unconfirmed. What is not verified reads no connection,
and changes nothing but the list of the last callbacks, which is written for it once a minute at most.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import anyio
from anyio import to_thread
from cachetools import TTLCache
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from airflow_kie import metrics, settings
from airflow_kie._airflow_private.metadata import Wake
from airflow_kie.client.account import TOKEN_PARAMETER
from airflow_kie.client.callbacks.auth import prove
from airflow_kie.client.callbacks.signature import PROBE_TASK_ID, TEST_TASK_ID, SignatureRefused, task_id_in
from airflow_kie.client.callbacks.url import Waiting
from airflow_kie.client.errors import KieError
from airflow_kie.client.operations.suno import SONG_MODELS
from airflow_kie.client.task_lookup import Claim
from airflow_kie.monitoring.callback_health import LastCallback
from airflow_kie.monitoring.deliveries import REFUSED, TEST, Delivery
from airflow_kie.web.receiver.connections import ConnectionUnreadable
from airflow_kie.web.receiver.gateway import AirflowGateway
from airflow_kie.web.receiver.recent import RecentCallbacks

log = logging.getLogger(__name__)
Result = TypeVar("Result")

MAX_BODY_BYTES = 256 * 1024
"""A music callback carries two sets of lyrics of at most 5,000 characters."""
UNVERIFIED_PER_SECOND = 20
"""Unverified requests that are answered with their refusal; more are turned away. Verified ones never are: a 429 to
KIE would be a lost delivery."""
BODY_SECONDS = 10.0
"""Seconds within which a body must have come: KIE gives a receiver 15 for everything."""
WAKE_ATTEMPTS = 10
"""Attempts to wake a task that is not waiting yet, one a second: a callback can come before its task defers."""
THREADS = 16
"""Threads for secrets, database and bucket, of the receiver's own: were one not to answer, Airflow's pages still do."""
ASK_SECONDS = 8.0
"""Seconds for everything that is asked about an id; KIE gives a receiver 15 for the whole answer."""
ASK_AGAIN_SECONDS = 30.0
"""Seconds in which an id is asked about once, however often its callback is sent again."""
ASK_THREADS = 8
"""Threads that may wait for KIE: the ones that make callbacks durable are others."""
INTERMEDIATE = frozenset({"text", "first"})
"""Stages of a music task that end nothing (docs.kie.ai suno-api/generate-music-callbacks)."""
FINAL = "complete"
_NOT_STORED = (
    "The callback of KIE task %s could not be recorded and was answered with 503: %s KIE may call again, three times "
    "at most. A task that waits reads KIE itself and loses nothing; a song of another program that KIE does not call "
    "about again has to be submitted."
)


class Claims:
    """Asks KIE what ids are: each once in a while, a few at a time, and never for long.

    :param ask: asks about a connection's id; may block.
    """

    def __init__(self, ask: Callable[[str, str], Claim]) -> None:
        self.ask = ask
        self._asked: TTLCache[tuple[str, str], asyncio.Task[Claim]] = TTLCache(maxsize=1000, ttl=ASK_AGAIN_SECONDS)
        self._threads = anyio.CapacityLimiter(ASK_THREADS)

    async def of(self, kie_conn_id: str, task_id: str) -> Claim:
        """Return what an id is, `NOT_ASKED` where KIE does not say so in time."""
        key = (kie_conn_id, task_id)
        asking = self._asked.get(key)
        if asking is None:
            asking = self._asked[key] = asyncio.create_task(self._in_time(*key))
        return await asyncio.shield(asking)

    async def _in_time(self, kie_conn_id: str, task_id: str) -> Claim:
        with anyio.move_on_after(ASK_SECONDS):
            how: dict[str, Any] = {"abandon_on_cancel": True, "limiter": self._threads}
            return await to_thread.run_sync(self.ask, kie_conn_id, task_id, **how)
        log.warning("KIE did not answer within %g s whether task %s is a song.", ASK_SECONDS, task_id)
        return Claim.NOT_ASKED


@dataclass
class Receiver:
    """Decides about one callback.

    :param airflow: the Airflow that it serves.
    :param clock: epoch seconds.
    :param pause: seconds between two attempts to wake a task that is not waiting yet.
    """

    airflow: AirflowGateway
    clock: Callable[[], float] = time.time
    pause: float = 1.0

    def __post_init__(self) -> None:
        self.recent = RecentCallbacks(self._record_callbacks)
        self._early: set[Waiting] = set()
        self.threads = anyio.CapacityLimiter(THREADS)
        self.claims = Claims(self.airflow.ask_kie)
        self.refused: TTLCache[object, None] = TTLCache(UNVERIFIED_PER_SECOND, ttl=1, timer=self.clock)

    async def receive(self, kie_conn_id: str, request: Request, body: bytes, later: BackgroundTasks) -> Response:
        """Answer a callback: 200 once it is durable, 503 if it cannot be checked or kept, 401 unless it is KIE's."""
        await metrics.get_ready()
        task_id = ""
        try:
            task_id, decoded = task_id_in(body)
            keys = await self._in_thread(self.airflow.keys_of, kie_conn_id)
            token = request.query_params.get(TOKEN_PARAMETER, "")
            proof = prove(keys, kie_conn_id, task_id, request.headers, token, self.clock())
        except SignatureRefused as refusal:
            return self._refuse(kie_conn_id, task_id, refusal)
        except ConnectionUnreadable:  # its log line names it; KIE may call again
            metrics.CALLBACKS.add(outcome="not_stored")
            return Response(status_code=503)
        try:
            outcome = await self._accept(kie_conn_id, task_id, decoded, proof.waiting, later)
        except Exception as error:
            outcome = "not_stored"
            why = error if isinstance(error, KieError) else f"{type(error).__name__}."
            log.error(_NOT_STORED, task_id, why, exc_info=None if isinstance(error, KieError) else error)
        metrics.CALLBACKS.add(outcome=outcome)
        now, tested = datetime.now(UTC), task_id == TEST_TASK_ID  # KIE has not sent our own test
        seen = Delivery(now, TEST if tested else outcome, task_id, "" if tested else _kind(decoded, proof.waiting))
        self.recent.add(kie_conn_id, seen, None if tested else LastCallback(proof.by, now))
        return Response(status_code=503) if outcome == "not_stored" else JSONResponse({"status": "received"})

    def _refuse(self, kie_conn_id: str, task_id: str, refusal: SignatureRefused) -> Response:
        self.refused.expire()
        if len(self.refused) == UNVERIFIED_PER_SECOND:
            metrics.CALLBACKS.add(outcome="rate_limited")
            return Response(status_code=429)
        self.refused[object()] = None
        metrics.CALLBACKS.add(outcome=REFUSED)
        if task_id != PROBE_TASK_ID and kie_conn_id in settings.allowed_connections():
            self.recent.add(kie_conn_id, Delivery(datetime.now(UTC), REFUSED))
        log.warning("A callback for connection %.64r was refused: %s.", kie_conn_id, refusal)
        return Response(status_code=401)

    async def _accept(
        self,
        kie_conn_id: str,
        task_id: str,
        body: Mapping[str, Any],
        waiting: Waiting | None,
        later: BackgroundTasks,
    ) -> str:
        """Wake the task that waits; record a song that nobody here has made, and announce it after the answer.

        :return: what came of the callback, for the metric.
        """
        stage = _stage(body)
        if waiting and waiting.request:  # an answer that was lost comes back so
            await self._in_thread(self.airflow.record_task, kie_conn_id, waiting.request, task_id)
        if stage in INTERMEDIATE:
            log.info("KIE task %s has reached stage %s.", task_id, stage)
            return "stage"
        if waiting and not waiting.wakes:
            return "recorded"
        if waiting:
            woken = await self._in_thread(self.airflow.wake, waiting)
            log.info("KIE task %s has ended; %s.", task_id, woken.value)
            if woken is Wake.NOT_YET and waiting not in self._early:
                later.add_task(self._wake_soon, waiting)
            return woken.name.lower()
        sensors = await self._in_thread(self.airflow.wake_sensors, task_id)
        log.info("KIE task %s has ended; %d sensors were resumed.", task_id, sensors)
        song = await self._song(kie_conn_id, task_id) if stage == FINAL and body.get("code") == 200 else "nobody"
        if song != "song":
            return "sensors" if sensors else song
        lost = f"Song {task_id} is recorded, but its event could not be sent; the reconciliation will start it."
        later.add_task(self._follow_up, lost, self.airflow.announce, kie_conn_id, task_id)
        return song

    async def _song(self, kie_conn_id: str, task_id: str) -> str:
        """Record what a callback calls a song, unless KIE says that it is not one.

        :return: ``song`` for one that starts a run, otherwise why it starts none.
        """
        claim = await self.claims.of(kie_conn_id, task_id)
        if claim is Claim.OTHER:
            log.warning("Ignored a callback: it reports KIE task %s as a finished song, but KIE denies it.", task_id)
            return "denied"
        if await self._in_thread(self.airflow.register, kie_conn_id, task_id, claim):
            return "song"
        return "known" if claim is Claim.SONG else "unconfirmed"

    async def _record_callbacks(self, *known: Any) -> None:
        lost = "The callback could not be added to the list of recent callbacks; nothing else depends on it."
        await self._follow_up(lost, self.airflow.record_callbacks, *known)

    async def _wake_soon(self, waiting: Waiting) -> None:
        """Try again for some seconds, without holding a thread; equal callbacks are one."""
        if waiting in self._early:
            return
        self._early.add(waiting)
        try:
            for _ in range(WAKE_ATTEMPTS):
                await asyncio.sleep(self.pause)
                try:
                    woken = await self._in_thread(self.airflow.wake, waiting)
                except Exception:
                    log.exception("The task that a callback wakes could not be woken; it is tried again.")
                    continue
                if woken is not Wake.NOT_YET:
                    return
        finally:
            self._early.discard(waiting)

    async def _follow_up(self, lost: str, call: Callable[..., None], *arguments: Any) -> None:
        """Do what follows the answer; log what is lost if it fails."""
        try:
            await self._in_thread(call, *arguments)
        except Exception:
            log.exception(lost)

    async def _in_thread(self, call: Callable[..., Result], *arguments: Any) -> Result:
        return await to_thread.run_sync(call, *arguments, limiter=self.threads)


def create_app(airflow: AirflowGateway, clock: Callable[[], float] = time.time, pause: float = 1.0) -> FastAPI:
    """Return the app with its one public route; it describes itself to nobody. Parameters as of :class:`Receiver`."""
    app = FastAPI(title="KIE callbacks", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    receiver = Receiver(airflow, clock, pause)

    @app.post("/callback/{kie_conn_id}", include_in_schema=False)
    async def callback(
        kie_conn_id: str, request: Request, body: Annotated[bytes, Depends(bounded_body)], later: BackgroundTasks
    ) -> Response:
        return await receiver.receive(kie_conn_id, request, body, later)

    return app


async def bounded_body(request: Request) -> bytes:
    """Return a request's body; 413 as soon as it is larger than any callback, 408 if it takes too long to come."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise HTTPException(413)
    except (HTTPException, TimeoutError, ClientDisconnect) as error:
        await metrics.get_ready()
        metrics.CALLBACKS.add(outcome="bad_body")
        raise HTTPException({TimeoutError: 408, ClientDisconnect: 400}.get(type(error), 413)) from None
    return bytes(body)


def _stage(body: Mapping[str, Any]) -> str:
    """Return how far a task is: Suno's own pages name stages, the market's body the state and the model."""
    data = body.get("data")
    if not isinstance(data, dict):
        return ""
    stage = data.get("callbackType")
    is_song = data.get("state") == "success" and str(data.get("model")) in SONG_MODELS
    return stage if isinstance(stage, str) else FINAL if is_song else ""


def _kind(body: Mapping[str, Any], waiting: Waiting | None) -> str:
    """Return what a verified callback is about: the operation that its URL names, and the stage, which is KIE's word.

    The body is not signed: of it, only words that are known here are taken.
    """
    operation = waiting.request.split("/")[1] if waiting and waiting.request.count("/") > 1 else ""
    stage = _stage(body)
    known = stage if stage in {*INTERMEDIATE, FINAL, "error"} else ""
    return f"{operation} {known}".strip()
