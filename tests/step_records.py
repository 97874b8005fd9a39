"""Records of paid tasks and KIE's answers about them, for the tests of the step function."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airflow_kie.client.answers.decode import Answer, decode_details
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.client.operations.registry import OPERATIONS, task_kind
from airflow_kie.lifecycle.record import Progress, TaskRecord
from airflow_kie.lifecycle.rules import Action, Fail, Fetch, Rules, Wait, next_action
from kie_answers import COVER_ID, MUSIC_ID, answer, cover_data, music_data

NOW = 1_776_862_600.0
ONCE = [name for name, row in OPERATIONS.items() if isinstance(row, TaskOperation) and row.made_once]
ANEW = [name for name, row in OPERATIONS.items() if isinstance(row, TaskOperation) and not row.made_once]
COVER = TaskRecord("suno.cover", {"taskId": MUSIC_ID}, "kie_default")
MUSIC = TaskRecord("suno.music", {}, "kie_default")
COVER_SENT = replace(COVER, progress=Progress.SENT, task_id=COVER_ID, known_at=NOW)
MUSIC_SENT = replace(MUSIC, progress=Progress.SENT, task_id=MUSIC_ID, known_at=NOW)
IMAGES = ["https://tempfile.aiquickdraw.com/s/1.png", "https://tempfile.aiquickdraw.com/s/2.png"]


def cover(flag: Any, images: Any = None, **fields: Any) -> Answer:
    return decode_details(task_kind("suno.cover"), COVER_ID, answer(cover_data(flag, images, **fields)))


def music(status: Any, tracks: list[dict[str, Any]] | None = None, **fields: Any) -> Answer:
    return decode_details(task_kind("suno.music"), MUSIC_ID, answer(music_data(status, tracks, **fields)))


def after(record: TaskRecord, *answers: tuple[float, Answer], rules: Rules | None = None) -> Action:
    """Return what the last of the answers (seconds after now, answer) leads to."""
    action: Action = Fetch(record)
    for seconds, answered in answers:
        action = next_action(action.record, NOW + seconds, answered, rules)
    return action


def failed(action: Action) -> Fail:
    assert isinstance(action, Fail), action
    return action


def waits(action: Action) -> Wait:
    assert isinstance(action, Wait), action
    return action
