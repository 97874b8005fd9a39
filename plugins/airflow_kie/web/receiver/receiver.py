"""The callback receiver: one public route, safe by design.

Verify first, trust nothing in the body, make durable what is accepted, then answer 200. A callback delivers no data:
it makes somebody look at KIE's details, which are the truth. Whether an id is a song is asked from KIE before it is
recorded; while KIE cannot be asked, the record says that it is unconfirmed. What is not verified costs no database and
no look-up of a connection, and changes nothing.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
from anyio import to_thread
from fastapi import BackgroundTasks, FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from airflow_kie import metrics
from airflow_kie._airflow_private.metadata import Wake
from airflow_kie.client.account import TOKEN_PARAMETER
from airflow_kie.client.callbacks.auth import prove
from airflow_kie.client.callbacks.signature import SignatureRefused, task_id_in
from airflow_kie.client.callbacks.url import Waiting
from airflow_kie.client.task_lookup import Claim
from airflow_kie.monitoring.callback_health import CallbackCounter
from airflow_kie.web.receiver.asking import Claims
from airflow_kie.web.receiver.gateway import AirflowGateway

log = logging.getLogger(__name__)
Result = TypeVar("Result")

MAX_BODY_BYTES = 256 * 1024
"""A music callback carries two sets of lyrics of at most 5,000 characters."""
UNVERIFIED_PER_SECOND = 20
"""Unverified requests that are answered with their refusal; more are turned away. Verified ones never are: a 429 to
KIE would be a lost delivery."""
BODY_SECONDS = 10.0
"""Seconds within which a body must have come: KIE gives a receiver 15 for everything."""
WAKE_AGAIN = 10
"""How often a task that is not waiting yet is told again, once a second: a callback can come before its task defers."""
THREADS = 16
"""Threads for secrets, database and bucket, of the receiver's own: were one away, Airflow's pages would go on."""
INTERMEDIATE = frozenset({"text", "first"})
"""Stages of a music task that end nothing (docs.kie.ai suno-api/generate-music-callbacks)."""
FINAL = "complete"


@dataclass
class _Refusals:
    """Counts unverified requests within the running second."""

    clock: Callable[[], float]
    second: int = 0
    count: int = 0

    def too_many(self) -> bool:
        now = int(self.clock())
        if now != self.second:
            self.second, self.count = now, 0
        self.count += 1
        return self.count > UNVERIFIED_PER_SECOND


@dataclass
class Receiver:
    """Decides about one callback.

    :param world: Airflow.
    :param clock: epoch seconds.
    :param pause: seconds between two attempts to wake a task that is not waiting yet.
    """

    world: AirflowGateway
    clock: Callable[[], float] = time.time
    pause: float = 1.0
    counter: CallbackCounter = field(default_factory=CallbackCounter)
    _told_again: set[Waiting] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.refusals = _Refusals(self.clock)
        self.threads = anyio.CapacityLimiter(THREADS)
        self.claims = Claims(self.world.ask_kie)

    async def receive(self, kie_conn_id: str, request: Request, later: BackgroundTasks) -> Response:
        """Answer a callback: 200 once it is durable, 500 if it cannot be made so, 401 unless it is KIE's."""
        body, status = await _body(request)
        await metrics.get_ready()
        if status != 200:
            metrics.CALLBACKS.add(outcome="bad_body")
            return Response(status_code=status)
        try:
            task_id, decoded = task_id_in(body)
            keys = await self._in_thread(self.world.keys_of, kie_conn_id)
            token = request.query_params.get(TOKEN_PARAMETER, "")
            proof = prove(keys, kie_conn_id, task_id, request.headers, token, self.clock())
        except SignatureRefused as refusal:
            return self._refuse(kie_conn_id, refusal)
        try:
            await self._accept(kie_conn_id, task_id, decoded, proof.waiting, later)
        except Exception:
            metrics.CALLBACKS.add(outcome="not_stored")
            log.exception("The callback of KIE task %s could not be kept; KIE is told so and calls again.", task_id)
            return Response(status_code=500)
        if count := self.counter.count(kie_conn_id):
            later.add_task(self._record_callbacks, kie_conn_id, count, proof.by)
        return Response('{"status":"received"}', media_type="application/json")

    def _refuse(self, kie_conn_id: str, refusal: SignatureRefused) -> Response:
        if self.refusals.too_many():
            metrics.CALLBACKS.add(outcome="rate_limited")
            return Response(status_code=429)
        metrics.CALLBACKS.add(outcome="refused")
        log.warning("A callback for connection %.64r was refused: %s.", kie_conn_id, refusal)
        return Response(status_code=401)

    async def _accept(
        self,
        kie_conn_id: str,
        task_id: str,
        body: Mapping[str, Any],
        waiting: Waiting | None,
        later: BackgroundTasks,
    ) -> None:
        """Wake who waits; record a song that nobody here has made, and announce it once the answer is out."""
        stage = _stage(body)
        if stage in INTERMEDIATE:
            outcome = "stage"
            log.info("KIE task %s has reached stage %s.", task_id, stage)
        elif waiting:
            woken = await self._in_thread(self.world.wake, waiting)
            outcome = woken.name.lower()
            log.info("KIE task %s has ended; %s.", task_id, woken.value)
            if woken is Wake.NOT_YET and waiting not in self._told_again:
                later.add_task(self._wake_soon, waiting)
        else:
            woken_sensors = await self._in_thread(self.world.wake_sensors, task_id)
            outcome = "sensors"
            log.info("KIE task %s has ended; %d sensors look now.", task_id, woken_sensors)
            if stage == FINAL and body.get("code") == 200 and await self._is_new_song(kie_conn_id, task_id):
                outcome = "song"
                later.add_task(self._announce, kie_conn_id, task_id)
        metrics.CALLBACKS.add(outcome=outcome)

    async def _is_new_song(self, kie_conn_id: str, task_id: str) -> bool:
        """Record what a callback calls a song, unless KIE says that it is none; return whether it starts a run."""
        claim = await self.claims.of(kie_conn_id, task_id)
        if claim is Claim.OTHER:
            log.warning("A callback calls KIE task %s a finished song, and KIE says that it is none: ignored.", task_id)
            return False
        return await self._in_thread(self.world.register, kie_conn_id, task_id, claim)

    async def _wake_soon(self, waiting: Waiting) -> None:
        """Try again for some seconds, without holding a thread; equal callbacks are one."""
        if waiting in self._told_again:
            return
        self._told_again.add(waiting)
        try:
            for _ in range(WAKE_AGAIN):
                await asyncio.sleep(self.pause)
                if await self._in_thread(self.world.wake, waiting) is not Wake.NOT_YET:
                    return
        finally:
            self._told_again.discard(waiting)

    async def _announce(self, kie_conn_id: str, music_task_id: str) -> None:
        try:
            await self._in_thread(self.world.announce, kie_conn_id, music_task_id)
        except Exception:
            log.exception("Song %s is noted, but could not be announced; the sweep starts it.", music_task_id)

    async def _record_callbacks(self, kie_conn_id: str, count: int, proof: str) -> None:
        try:
            await self._in_thread(self.world.record_callbacks, kie_conn_id, count, proof)
        except Exception:
            log.exception("When KIE last called back could not be written down; nothing else depends on it.")

    async def _in_thread(self, call: Callable[..., Result], *arguments: Any) -> Result:
        return await to_thread.run_sync(functools.partial(call, *arguments), limiter=self.threads)


def create_app(world: AirflowGateway, clock: Callable[[], float] = time.time, pause: float = 1.0) -> FastAPI:
    """Return the app with its one public route; it describes itself to nobody.

    :param world: Airflow.
    :param clock: epoch seconds.
    :param pause: seconds between two attempts to wake a task that is not waiting yet.
    """
    app = FastAPI(title="KIE callbacks", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    receiver = Receiver(world, clock, pause)

    @app.post("/callback/{kie_conn_id}", include_in_schema=False)
    async def callback(kie_conn_id: str, request: Request, later: BackgroundTasks) -> Response:
        answer = await receiver.receive(kie_conn_id, request, later)
        answer.background = later
        return answer

    return app


async def _body(request: Request) -> tuple[bytes, int]:
    """Return the body and 200; or 413 as soon as it is larger than any callback, 408 if it takes too long to come."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    return b"", 413
    except TimeoutError:
        return b"", 408
    except ClientDisconnect:
        return b"", 400  # read by nobody
    return bytes(body), 200


def _stage(body: Mapping[str, Any]) -> str:
    data = body.get("data")
    stage = data.get("callbackType") if isinstance(data, dict) else None
    return stage if isinstance(stage, str) else ""
