"""Airflow's internals are used in one room, and one that is missing switches its feature off and nothing else."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import httpx
import pytest

import airflow_kie
from airflow_kie._airflow_private import api_server, asset, fallback, mapped, metadata, process, task_states, variables
from airflow_kie._airflow_private.metadata import Wake
from airflow_kie.client.account import TOKEN_PARAMETER
from airflow_kie.client.callbacks.signature import sign
from airflow_kie.client.callbacks.url import Waiting, wake_token
from airflow_kie.client.task_lookup import Claim
from airflow_kie.web.receiver import connections

if TYPE_CHECKING:
    from fastapi import FastAPI

    from airflow_task import StoredFiles

PACKAGE = Path(airflow_kie.__file__).parent
ROOM = (api_server, asset, mapped, metadata, process, task_states, variables)
PUBLIC = {
    "airflow.sdk": "Airflow's public interface for authors",
    "airflow.sdk.exceptions": "its exceptions (Task SDK reference)",
    "airflow.sdk.types": "its types (Task SDK reference)",
    "airflow.sdk.observability": "stats: metrics of one's own, since 3.3.0 (Metrics, Custom Metrics)",
    "airflow.sdk.bases.decorator": "DecoratedOperator and its factory (Creating Custom @task Decorators)",
    "airflow.triggers.base": "BaseTrigger (Public Interface, Triggers)",
    "airflow.sdk.log": "mask_secret (Masking sensitive data)",
    "airflow.plugins_manager": "AirflowPlugin (Plugins)",
    "airflow.listeners": "hookimpl (Listeners)",
    "airflow.providers.amazon.aws.hooks.s3": "S3Hook (the Amazon provider's reference)",
    "airflow.providers.common.ai.hooks.pydantic_ai": "PydanticAIHook (the common.ai provider's reference)",
    "airflow.providers.openlineage.extractors": "OperatorLineage (the OpenLineage provider, for developers)",
}
"""Modules of Airflow that every module of the package may import, and where Airflow documents them as public."""
SECRET = "a webhook secret"
SONG, COVER = "5c79be8e0a3f4d1c9b7e2f6a8d0c1e35", "c0ffee00c0ffee00c0ffee00c0ffee00"


def imported(file: Path) -> Iterator[str]:
    """Return the modules that a file imports anywhere, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            yield from (str(arg.value) for arg in node.args if isinstance(arg, ast.Constant))


def test_only_the_room_for_internals_imports_what_airflow_does_not_document() -> None:
    room = {Path(inspect.getfile(module)) for module in (fallback, *ROOM)}
    elsewhere = [
        f"{file.relative_to(PACKAGE)}: {module}"
        for file in sorted(set(PACKAGE.rglob("*.py")) - room)
        for module in imported(file)
        if module.partition(".")[0] == "airflow" and module not in PUBLIC
    ]
    assert elsewhere == []


@pytest.mark.parametrize(
    "function",
    [
        function
        for module in ROOM
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    ],
    ids=lambda function: function.__name__,
)
def test_each_function_of_the_room_says_in_which_airflow_it_was_seen_and_what_happens_without_it(
    function: Callable[..., Any],
) -> None:
    told = inspect.getdoc(function) or ""
    assert "Airflow 3." in told
    assert "ithout " in told


NOW = datetime(2026, 1, 1, tzinfo=UTC)
WAITING = Waiting("music_cover", "run", "generate_cover", 2, "nonce")
GUARDED: dict[str, tuple[Callable[[], Any], Any]] = {
    "airflow.models.taskinstance": (lambda: metadata.wake(WAITING), Wake.AT_NEXT_READ),
    "airflow.models.task_state_store": (lambda: metadata.wake_by_key(["key"]), 0),
    "airflow.assets.manager": (lambda: metadata.send_asset_event("uri", "key", {}), False),
    "airflow.models.asset": (lambda: metadata.event_was_sent("uri", "key", NOW), False),
    "airflow.models.dagrun": (lambda: metadata.run_is_active("dag", "run"), False),
    "airflow.models.variable": (lambda: variables.variable("key"), None),
    "airflow.models.xcom": (lambda: metadata.xcoms_of_run("dag", "run", (), ()), []),
    "airflow.models.renderedtifields": (lambda: metadata.rendered_arguments("dag", "run"), []),
    "airflow.api_fastapi.app": (lambda: api_server.login_address("https://airflow.example.com/kie"), "/"),
}
"""Module of Airflow → a function of the room that needs it, and its answer without it."""


class Lines(logging.Handler):
    """Keeps what is logged; Airflow takes pytest's own handler away when it sets up its logs."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Give the lines about internals that are missing, of which none has been told yet."""
    monkeypatch.setattr(fallback, "_logged", set())
    lines = Lines()
    fallback.log.addHandler(lines)
    yield lines.said
    fallback.log.removeHandler(lines)


@pytest.mark.parametrize("module", GUARDED)
def test_an_internal_that_is_gone_switches_its_feature_off_with_one_line(
    module: str, monkeypatch: pytest.MonkeyPatch, missing: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # imports of it fail as if it were not there
    call, otherwise = GUARDED[module]
    assert [call(), call()] == [otherwise, otherwise]
    (line,) = missing
    assert module in line


def test_what_is_called_otherwise_than_it_was_counts_as_missing(missing: list[str]) -> None:
    @fallback.switched_off(int, "Nothing is counted.")
    def count() -> int:
        return len(1, 2)  # type: ignore[call-arg,arg-type]

    assert count() == 0
    assert missing == [
        "airflow_kie does not know this version of Airflow: count failed (TypeError: len() takes exactly one argument "
        "(2 given)). Nothing is counted."
    ]


def test_a_database_that_cannot_be_asked_is_no_missing_internal(
    missing: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow.utils.session.create_session", Mock(side_effect=OSError("database is locked")))
    with pytest.raises(OSError, match="locked"):  # KIE gets a 500 and calls again
        metadata.wake(WAITING)
    assert missing == []


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, bucket: str, missing: list[str]) -> FastAPI:
    """What the api-server mounts, in an Airflow that has no sessions and no login any more."""
    from airflow_kie.web.app import create_app

    connection = {"conn_type": "kie", "password": "key", "extra": {"webhook_secret": SECRET}}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW__KIE__RECEIVER", "True")
    for module in ("airflow.utils.session", "airflow.api_fastapi.core_api.security"):
        monkeypatch.setitem(sys.modules, module, None)
    return create_app()


def ask(app: FastAPI, method: str, path: str, **request: Any) -> int:
    """Return the status of an answer, when all that follows it is done."""

    async def asked() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://airflow.test") as client:
            return (await client.request(method, path, **request)).status_code

    return asyncio.run(asked())


def call_back(app: FastAPI, body: dict[str, Any], task_id: str, **query: str) -> int:
    """Call back as KIE does, and return the status of the answer."""
    stamp = str(int(time.time()))
    headers = {"X-Webhook-Timestamp": stamp, "X-Webhook-Signature": sign(SECRET, task_id, stamp)}
    return ask(app, "POST", "/callback/kie_default", json=body, headers=headers, params=query)


def test_the_receiver_still_answers_and_keeps_songs_where_no_internal_is_left(
    app: FastAPI, archive: StoredFiles, missing: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ask_kie", lambda *_: Claim.SONG)
    cover = {"code": 200, "data": {"taskId": COVER, "images": []}}
    for _ in range(2):
        assert call_back(app, cover, COVER, **{TOKEN_PARAMETER: wake_token(SECRET, WAITING)}) == 200
    song = {"code": 200, "data": {"callbackType": "complete", "task_id": SONG, "data": []}}
    assert call_back(app, song, SONG) == 200
    assert archive.json(f"songs/_pending/{SONG}.json")["music_task_id"] == SONG
    assert [
        line for line in missing if "each task sees the result at its next poll" in line and ": wake failed" in line
    ]
    assert any("the reconciliation in DAG cover_inbox starts their songs" in line for line in missing)
    assert len(missing) == len(set(missing))


def test_without_airflows_login_there_are_no_song_pages_rather_than_open_ones(app: FastAPI, missing: list[str]) -> None:
    assert [ask(app, "GET", path) for path in ("/songs", f"/songs/{SONG}")] == [404, 404]
    assert call_back(app, {"data": {"taskId": COVER}}, "another") == 401
    assert [line for line in missing if "The song pages are off" in line] != []
