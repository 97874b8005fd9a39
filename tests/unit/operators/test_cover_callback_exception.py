"""A cover whose callback KIE could not deliver is not waited for until the deadline."""

from __future__ import annotations

from airflow_kie.client.answers.decode import Read, decode_details
from airflow_kie.client.operations.operation import State
from airflow_kie.client.operations.suno import COVER
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.rules import Done, next_action
from kie_answers import COVER_ID, MUSIC_ID, answer, cover_data

IMAGES = ["https://tempfile.aiquickdraw.com/s/1_a.png"]


def test_its_images_count_as_success() -> None:
    read = decode_details(COVER, COVER_ID, answer(cover_data("CALLBACK_EXCEPTION", IMAGES)))
    record = TaskRecord.of_known_task("suno.cover", COVER_ID, source={"taskId": MUSIC_ID})
    assert isinstance(next_action(record, 1_776_862_600.0, read), Done)


def test_without_images_it_is_no_running_task() -> None:
    read = decode_details(COVER, COVER_ID, answer(cover_data("CALLBACK_EXCEPTION", None)))
    assert isinstance(read, Read)
    assert read.details.state is State.UNDELIVERED
