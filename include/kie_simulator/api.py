"""KIE's task endpoints: create, details, credits and download links."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kie_simulator.accounts import Account
from kie_simulator.answers import TOO_FREQUENT, UNAUTHORIZED, Answer, refusal
from kie_simulator.callbacks import Callbacks
from kie_simulator.creating import make_task
from kie_simulator.details_faults import spoilt_details
from kie_simulator.faults import Fault, Moment
from kie_simulator.operations import BY_KIND, OPERATIONS, Operation
from kie_simulator.refusing import price, refused, source_id, too_frequent
from kie_simulator.simulation import Simulation
from kie_simulator.spoiling import answered
from kie_simulator.tasks import Task, asked
from kie_simulator.unified.inline import inline_answer, is_inline
from kie_simulator.unified.rows import DETAILS_PATHS, asked_operation, family_at, readable


class Api:
    """The endpoints under ``/api/v1`` that make, read and account for tasks."""

    def __init__(self, sim: Simulation, callbacks: Callbacks) -> None:
        self.sim = sim
        self.callbacks = callbacks
        self.router = APIRouter()
        for operation in OPERATIONS:
            self.add("POST", operation.path, self._create_endpoint(operation))
        for path in dict.fromkeys(operation.details_path for operation in OPERATIONS):
            self.add("GET", path, self._details_endpoint(path))
        self.add("GET", "/api/v1/chat/credit", self.credit)
        self.add("POST", "/api/v1/common/download-url", self.download_url)

    def add(self, method: str, path: str, endpoint: Any) -> None:
        """Add an endpoint."""
        # A plain route: FastAPI's handling of parameters, of which there are none here, halves the speed of polls.
        self.router.add_route(path, endpoint, methods=[method])

    def base_url(self, request: Request) -> str:
        """Return the URL under which the client reaches the simulator."""
        return self.sim.public_url or str(request.base_url).rstrip("/")

    def enter(self, request: Request) -> Account | None:
        """Count a request and return its account, or None if its key is not accepted."""
        self.sim.counts.requests[f"{request.method} {request.url.path}"] += 1
        return self.sim.accounts.of(request.headers.get("authorization"))

    def _create_endpoint(self, operation: Operation) -> Any:
        async def create(request: Request) -> Response:
            return await self._create(operation, request)

        return create

    def _details_endpoint(self, path: str) -> Any:
        async def details(request: Request) -> Response:
            return await self._details(path, request)

        return details

    async def unauthorized(self) -> Answer:
        """Return KIE's refusal of a missing or wrong key."""
        return refusal(401, UNAUTHORIZED)

    async def _create(self, operation: Operation, request: Request) -> Response:
        account = self.enter(request)
        if account is None:
            return await self.answer([], self.unauthorized)
        body = await read_json(request)
        path, model = operation.path, str((body or {}).get("model") or "") if operation.market else ""
        operation = asked_operation(operation, model)
        moment = Moment(
            "create",
            kind=operation.kind,
            path=path,
            source_id=source_id(operation, body or {}),
            title=self._title(operation, body or {}),
            account=account.name,
            form="unified" if operation.market else "dedicated",
            model=model,
        )

        async def effect() -> Answer:
            if body is None:
                return refusal(400, "The request parameters are not valid JSON")
            answer = too_frequent(self.sim, account) or refused(self.sim, operation, account, body)
            if answer is not None:
                return answer
            task = make_task(self.sim, operation, account, body, self.base_url(request))
            self.sim.charge(account, task, price(operation, body) if task.chargeable else 0.0)
            if is_inline(self.sim.settings, task):
                return inline_answer(self.sim, task, self.base_url(request))
            await self.callbacks.expect(task)
            data = {"taskId": task.id}
            return Answer(data=data | {"recordId": task.id} if operation.market else data)

        return await self.answer(self.sim.faults.strike(moment), effect)

    def _title(self, operation: Operation, body: dict[str, Any]) -> str:
        source = self.sim.tasks.get(source_id(operation, body).partition("/")[0])
        return str(asked(body).get("title") or (source.title if source else ""))

    async def _details(self, path: str, request: Request) -> Response:
        account = self.enter(request)
        if account is None:
            return await self.answer([], self.unauthorized)
        task_id = request.query_params.get("taskId", "")
        kind = next(operation.kind for operation in OPERATIONS if operation.details_path == path)
        settings, market = self.sim.settings, path in DETAILS_PATHS
        task = self.sim.task_of(account, task_id)
        if task is not None and not readable(task, path, across=self.sim.settings_of(account).reads_across_forms):
            task = None
        limit = settings.unified_reads_per_second if market else settings.reads_per_second
        in_time = self.sim.count_read(task_id, limit)
        if market and self.sim.counts.reads[task_id] <= settings.first_reads_null:
            task = None
        moment = Moment("details", path=path, task_id=task_id, account=account.name)
        if task is not None:
            moment = Moment(
                "details",
                task.kind,
                path,
                task_id,
                task.source_id,
                task.title,
                account.name,
                form=task.form,
                model=task.model,
            )
        faults = self.sim.faults.strike(moment)

        async def effect() -> Answer:
            if not in_time and self.sim.settings.refuse_excess_reads:
                return refusal(429, TOO_FREQUENT)
            return self._read(task, path, kind, faults, request)

        return await self.answer(faults, effect)

    def _read(self, task: Task | None, path: str, kind: str, faults: Sequence[Fault], request: Request) -> Answer:
        unknown = BY_KIND[kind].family.unknown
        if task is None or any(fault.action == "record_null" for fault in faults):
            return refusal(*unknown)
        family = family_at(path, task)
        # Only a task that has ended is reported as having no files.
        early = any(fault.action in ("without_files", "unknown_shape") for fault in faults)
        last = len(task.offsets) - 1
        reading = self.sim.reading(task, self.base_url(request), stage=last if early else None, family=family)
        return Answer(data=spoilt_details(faults, family, family.details(reading)))

    async def answer(self, faults: Sequence[Fault], effect: Callable[[], Awaitable[Answer]]) -> Response:
        """Return the response to a request after the faults that strike it."""
        return await answered(faults, effect, http_errors=self.sim.settings.http_errors)

    async def credit(self, request: Request) -> Response:
        """Answer with the remaining credits, a float."""
        account = self.enter(request)
        if account is None:
            return await self.answer([], self.unauthorized)
        moment = Moment("credit", path=request.url.path, account=account.name)

        async def effect() -> Answer:
            self.sim.settle()
            return Answer(data=float(account.credits))

        return await self.answer(self.sim.faults.strike(moment), effect)

    async def download_url(self, request: Request) -> Response:
        """Answer with a link to one of KIE's files that is valid for twenty minutes."""
        account = self.enter(request)
        if account is None:
            return await self.answer([], self.unauthorized)
        body = await read_json(request) or {}
        moment = Moment("download_url", path=request.url.path, account=account.name)

        async def effect() -> Answer:
            return link_answer(self.sim, str(body.get("url") or ""), self.base_url(request))

        return await self.answer(self.sim.faults.strike(moment), effect)


def link_answer(sim: Simulation, url: str, base_url: str) -> Answer:
    """Return a temporary link to one of the simulator's files, or KIE's refusal of any other URL."""
    path = url.partition("/files/")[2].partition("?")[0]
    if not url.startswith(f"{base_url}/files/") or sim.files.find(path) is None:
        return refusal(422, "url is wrong")
    expires = int(sim.clock.now() + sim.settings.download_link_minutes * 60)
    return Answer(data=f"{base_url}/files/{path}?{link_query(sim.seed, path, expires)}")


def link_query(seed: str, path: str, expires: int) -> str:
    """Return the query string of a temporary link.

    :param expires: simulated unix time in seconds.
    """
    signature = hashlib.sha256(f"{seed}/{path}/{expires}".encode()).hexdigest()
    return f"Expires={expires}&Signature={signature}"


async def read_json(request: Request) -> dict[str, Any] | None:
    """Return the JSON object of a request's body, or None if it is not one."""
    content = await request.body()
    try:
        body = json.loads(content)
        if b"\\ud" in content.lower():
            # Half a surrogate pair is no character: as in Java, a question mark takes its place.
            body = json.loads(json.dumps(body, ensure_ascii=False).encode(errors="replace"))
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
