"""The callback receiver: one public route, safe by design.

Verify first, trust nothing in the body, make durable what is accepted, then answer 200. A callback delivers no data:
it makes somebody look at KIE's details, which are the truth. What is not verified costs no database and no look-up of
a connection, and changes nothing.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi import BackgroundTasks, FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from airflow_kie.client.account import TOKEN_PARAMETER
from airflow_kie.webhook.address import Waiting, read_wake_token
from airflow_kie.webhook.signature import (
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    SignatureRefused,
    task_id_in,
    verify,
)

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 1024
"""A music callback carries two sets of lyrics of at most 5,000 characters."""
UNVERIFIED_PER_SECOND = 20
"""Unverified requests that are answered with their refusal; more are turned away. Verified ones never are: a 429 to
KIE would be a lost delivery."""
INTERMEDIATE = frozenset({"text", "first"})
"""Stages of a music task that end nothing (docs.kie.ai suno-api/generate-music-callbacks)."""
FINAL = "complete"


class World(Protocol):
    """What the receiver asks of Airflow."""

    def secrets_of(self, kie_conn_id: str) -> tuple[str, ...]:
        """Return the webhook secrets of a connection, from a cache; none for one that is unknown."""

    def wake(self, waiting: Waiting) -> bool:
        """Let a deferred task instance look now; return whether it was waiting."""

    def wake_sensors(self, kie_task_id: str) -> int:
        """Let the sensors that wait for a KIE task look now; return how many did."""

    def hear_of(self, kie_conn_id: str, music_task_id: str) -> bool:
        """Note durably that a song is owed a cover; return whether a run is to be started for it."""

    def announce(self, kie_conn_id: str, music_task_id: str) -> None:
        """Send "music complete" for a song."""


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


@dataclass(frozen=True)
class Receiver:
    """Decides about one callback.

    :param world: Airflow.
    :param clock: epoch seconds.
    """

    world: World
    clock: Callable[[], float] = time.time
    refusals: _Refusals = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "refusals", _Refusals(self.clock))

    async def receive(self, kie_conn_id: str, request: Request, later: BackgroundTasks) -> Response:
        """Answer a callback: 200 once it is durable, 401 unless it is KIE's, 413 if it is too large."""
        body = await _body(request)
        if body is None:
            return Response(status_code=413)
        try:
            task_id, decoded = task_id_in(body)
            secrets = await run_in_threadpool(self.world.secrets_of, kie_conn_id)
            headers = request.headers
            verify(secrets, task_id, headers.get(TIMESTAMP_HEADER), headers.get(SIGNATURE_HEADER), self.clock())
        except SignatureRefused as refusal:
            return self._refuse(kie_conn_id, refusal)
        waiting = read_wake_token(secrets, request.query_params.get(TOKEN_PARAMETER, ""))
        await run_in_threadpool(self._accept, kie_conn_id, task_id, decoded, waiting, later)
        return Response('{"status":"received"}', media_type="application/json")

    def _refuse(self, kie_conn_id: str, refusal: SignatureRefused) -> Response:
        if self.refusals.too_many():
            return Response(status_code=429)
        log.warning("A callback for connection %.64r was refused: %s.", kie_conn_id, refusal)
        return Response(status_code=401)

    def _accept(
        self,
        kie_conn_id: str,
        task_id: str,
        body: Mapping[str, Any],
        waiting: Waiting | None,
        later: BackgroundTasks,
    ) -> None:
        """Wake who waits; note a song that nobody here has made, and announce it once the answer is out."""
        stage = _stage(body)
        if stage in INTERMEDIATE:
            log.info("KIE task %s has reached stage %s.", task_id, stage)
        elif waiting:
            woken = self.world.wake(waiting)
            log.info("KIE task %s has ended; %s.", task_id, "its task looks now" if woken else "nobody waits yet")
            if not woken:
                later.add_task(self._wake_soon, waiting)
        else:
            woken_sensors = self.world.wake_sensors(task_id)
            log.info("KIE task %s has ended; %d sensors look now.", task_id, woken_sensors)
            if stage == FINAL and body.get("code") == 200 and self.world.hear_of(kie_conn_id, task_id):
                later.add_task(self.world.announce, kie_conn_id, task_id)

    def _wake_soon(self, waiting: Waiting) -> None:
        """Try again for some seconds: a callback can come before its task has deferred."""
        for _ in range(10):
            time.sleep(1.0)
            if self.world.wake(waiting):
                return


def create_app(world: World, clock: Callable[[], float] = time.time) -> FastAPI:
    """Return the app with its one public route; it describes itself to nobody.

    :param world: Airflow.
    :param clock: epoch seconds.
    """
    app = FastAPI(title="KIE callbacks", docs_url=None, redoc_url=None, openapi_url=None)
    receiver = Receiver(world, clock)

    @app.post("/callback/{kie_conn_id}", include_in_schema=False)
    async def callback(kie_conn_id: str, request: Request, later: BackgroundTasks) -> Response:
        answer = await receiver.receive(kie_conn_id, request, later)
        answer.background = later
        return answer

    return app


async def _body(request: Request) -> bytes | None:
    """Return the body, or None as soon as it is larger than any callback."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _stage(body: Mapping[str, Any]) -> str:
    data = body.get("data")
    stage = data.get("callbackType") if isinstance(data, dict) else None
    return stage if isinstance(stage, str) else ""
