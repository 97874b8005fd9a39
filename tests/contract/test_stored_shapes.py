"""What version 0.1.0 stored is read by this version: a deferred task, a stored id, an event outlive an upgrade.

The samples were written down once. They are never edited: a new version adds a file of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string

from airflow_kie.archive.inbox.song_request import SongRequest
from airflow_kie.archive.manifest import Manifest
from airflow_kie.client.errors import KieGenerationFailed, KieWaitTimeout, error_from_event
from airflow_kie.durable.xcom import result_of
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_kie.triggers.event import Outcome, event_of

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


def test_the_old_keys_of_the_store_are_the_keys_of_today() -> None:
    cover = KieGenerateCoverOperator(task_id="t", music_task_id=SONG)
    assert cover.store_key() == STORED["store_keys"]["cover"]
    music = KieGenerateMusicOperator(task_id="t", prompt="rain", model="V5")
    assert music.store_key() == STORED["store_keys"]["music"]


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
