"""What version 0.1.0 stored is read by this version: a deferred task, a stored id, an event outlive an upgrade.

The samples were written down once. They are never edited: a new version adds a file of its own.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string

from airflow_kie.archive.inbox.song_request import SongRequest
from airflow_kie.archive.manifest import Manifest
from airflow_kie.client.errors import KieGenerationFailed, KieWaitTimeout, error_from_event
from airflow_kie.durable.xcom import result_of
from airflow_kie.lifecycle.claims import BeingSent, InDoubt, Intent, RequestId
from airflow_kie.lifecycle.ledger import Ledger
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.triggers.event import Outcome, event_of
from airflow_task import TaskInstance, TaskRun
from ledgers import MemoryLedgerStore

STORED = json.loads((Path(__file__).parent / "stored" / "version-0.1.0.json").read_text())
SONG = "5c79be8e0a3f4d1c9b7e2f6a8d0c1e35"


def grown(new: Any, old: Any) -> bool:
    """Say whether a shape has only grown: every old key is there, with a value of the old type."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and grown(new[key], value) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return all(grown(item, old[0]) for item in new) if old else True
    return old is None or new is None or type(new) is type(old)


def test_a_trigger_of_the_old_version_runs_under_its_path_with_its_arguments() -> None:
    trigger = import_string(STORED["trigger"]["path"])(**STORED["trigger"]["kwargs"])
    path, kwargs = trigger.serialize()
    assert path == STORED["trigger"]["path"]
    assert grown(kwargs, STORED["trigger"]["kwargs"])
    assert kwargs["record"] == STORED["trigger"]["kwargs"]["record"]


@pytest.mark.parametrize("name", STORED["records"])
def test_a_record_of_the_old_version_is_read_and_written_back_whole(name: str) -> None:
    stored = STORED["records"][name]
    written = json.loads(json.dumps(TaskRecord.from_json(stored).to_json()))
    assert written == stored


def stored_under(task: KieTaskOperator) -> tuple[str, str]:
    """Return the key of a task's record and the digest of its request, in a run whose names are fixed."""
    run = TaskRun(lambda: task, ti=TaskInstance(dag_id="songs", run_id="manual__1"))
    store, digest = task._store(run.context(task))
    return store.key, digest


def test_the_old_keys_of_the_store_are_the_keys_of_today() -> None:
    keys = STORED["store_keys"]
    cover, _ = stored_under(KieGenerateCoverOperator(task_id="t", music_task_id=SONG))
    assert (cover, f"deadline/{cover}") == (keys["cover"], keys["deadline"])
    music, _ = stored_under(KieGenerateMusicOperator(task_id="t", prompt="rain", model="V5"))
    assert music == keys["music"]


def test_what_the_old_version_has_paid_for_is_found_in_the_ledger() -> None:
    """Another folder, another name or another reading of one would pay for it again."""
    stored = STORED["ledger"]
    _, digest = stored_under(KieGenerateCoverOperator(task_id="t", music_task_id=SONG))
    request = RequestId("studio", "suno.cover", digest)
    assert request.folder == stored["folder"]
    now = stored["intent"]["at"] + 10
    objects = {request.folder + name: b"{}" for name in stored["names"]}
    objects |= {key: json.dumps(stored["intent"]).encode() for key in objects if key.endswith(".intent")}
    ledger = Ledger(MemoryLedgerStore(objects), lambda: now)
    failed, unanswered = ledger.attempts(request)
    assert (failed.task_ids, failed.over, unanswered.over) == (("21aee3c3c2a01fa5e030b3799fa4dd56",), True, False)
    assert ledger.find(request) == BeingSent(stored["intent"]["callback_by"])
    now = stored["intent"]["callback_by"]
    assert ledger.find(request) == InDoubt(2, Intent(**stored["intent"]))


def test_the_intents_of_today_have_only_grown() -> None:
    stored = STORED["ledger"]["intent"]
    owner = {"dag": "d", "run": "r", "task": "t", "map_index": 0}
    assert grown(asdict(Intent.made_at(1.5, callback_by=2.5, owner=owner, key="ab12cd34")), stored)


def test_the_old_events_name_their_outcome_and_their_error() -> None:
    done, failed, timeout = (STORED["events"][name] for name in ("done", "failed", "timeout"))
    assert done["outcome"] == Outcome.DONE
    assert failed["outcome"] == Outcome.FAILED
    assert timeout["outcome"] == Outcome.TIMEOUT
    error = error_from_event(failed)
    assert type(error) is KieGenerationFailed
    assert (error.facts.code, error.facts.source_id) == (501, SONG)
    assert type(error_from_event(timeout)) is KieWaitTimeout


def test_the_events_of_today_have_only_grown() -> None:
    record = TaskRecord.from_json(STORED["records"]["in_doubt_about_a_failure"])
    error = KieGenerationFailed("m", code=501, kind="suno.cover", source_id=SONG, task_id="t", last_state="3")
    assert grown(event_of(Outcome.FAILED, record, error), STORED["events"]["failed"])
    assert grown(event_of(Outcome.DONE, record), STORED["events"]["done"])


def test_the_arguments_and_the_results_of_a_song_have_only_grown() -> None:
    order = SongRequest(music_task_id=SONG, kie_conn_id="kie_default", labels={"our_id": "A-17"})
    assert grown(order.arguments("covers", "songs"), STORED["song_arguments"])
    manifest = Manifest.model_validate(
        {
            "music_task_id": SONG,
            "song": {"title": "Night Train"},
            "created_at": "2026-11-22T00:00:00Z",
            "updated_at": "2026-11-22T00:00:00Z",
            "files": [
                {
                    **STORED["archived"]["files"][0],
                    "position": 1,
                    "content_type": "image/png",
                    "archived_at": "2026-11-22T00:00:00Z",
                }
            ],
        }
    )
    assert grown(result_of("covers", "key", manifest, changed=True), STORED["archived"])
