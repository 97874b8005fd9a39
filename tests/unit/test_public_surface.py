"""What users and stored tasks rely on: class paths, arguments, template fields. It grows and never shrinks."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest

TASK = {
    "kie_conn_id", "adopt_task_id", "idempotency_key", "force_new", "wait_for_completion", "deferrable",
    "poll_interval", "wait_timeout", "expires_at",
}  # fmt: skip
SENSOR = {"kie_conn_id", "deferrable", "poll_interval", "timeout"}
SURFACE: dict[str, tuple[set[str], set[str]]] = {
    "airflow_kie.hooks.kie.KieHook": ({"kie_conn_id"}, set()),
    "airflow_kie.operators.task.KieTaskOperator": (
        TASK | {"operation", "request", "requests", "to", "key_field", "fail_on", "aws_conn_id", "extra_args"},
        {"kie_conn_id", "adopt_task_id", "idempotency_key", "force_new", "request", "requests", "to"},
    ),
    "airflow_kie.operators.call.KieCallOperator": (
        {"operation", "request", "kie_conn_id", "check_fields"}, {"request", "kie_conn_id"},
    ),
    "airflow_kie.operators.upload.KieUploadOperator": (
        {"source", "kie_conn_id", "aws_conn_id"}, {"source", "kie_conn_id", "aws_conn_id"},
    ),
    "airflow_kie.operators.suno.KieGenerateMusicOperator": (
        TASK | {"prompt", "model", "custom_mode", "instrumental", "style", "title", "negative_tags", "vocal_gender",
                "extra_fields"},
        {"kie_conn_id", "adopt_task_id", "prompt", "model", "custom_mode", "instrumental", "style", "title",
         "negative_tags", "vocal_gender", "extra_fields"},
    ),
    "airflow_kie.operators.suno.KieGenerateCoverOperator": (
        TASK | {"music_task_id", "bucket", "prefix", "aws_conn_id", "song_title", "extra_args"},
        {"kie_conn_id", "adopt_task_id", "music_task_id", "bucket", "prefix", "song_title"},
    ),
    "airflow_kie.sensors.task.KieTaskSensor": (
        SENSOR | {"operation", "kie_task_id", "expires_at"}, {"kie_conn_id", "kie_task_id", "expires_at"},
    ),
    "airflow_kie.transfers.results_to_s3.KieResultsToS3Operator": (
        {"operation", "kie_task_id", "bucket", "prefix", "roles", "labels", "kie_conn_id", "aws_conn_id",
         "max_file_bytes", "extra_args", "expires_at"},
        {"kie_task_id", "bucket", "prefix", "roles", "labels", "kie_conn_id", "aws_conn_id", "extra_args",
         "expires_at"},
    ),
    "airflow_kie.sensors.suno.KieMusicSensor": (
        SENSOR | {"music_task_id"}, {"kie_conn_id", "music_task_id"},
    ),
    "airflow_kie.sensors.suno.KieCoverSensor": (
        SENSOR | {"cover_task_id", "music_task_id", "song_title"},
        {"kie_conn_id", "cover_task_id", "music_task_id", "song_title"},
    ),
    "airflow_kie.transfers.kie_to_s3.KieCoverToS3Operator": (
        {"music_task_id", "cover_task_id", "bucket", "prefix", "kie_conn_id", "aws_conn_id", "archive_covers",
         "archive_audio", "archive_lyrics", "labels", "max_file_bytes", "extra_args", "song_title"},
        {"music_task_id", "cover_task_id", "bucket", "prefix", "kie_conn_id", "aws_conn_id", "archive_audio",
         "archive_lyrics", "labels", "extra_args", "song_title"},
    ),
    "airflow_kie.operators.song_list.KieSongListOperator": (
        {"music_task_ids", "kie_conn_id", "bucket", "prefix", "aws_conn_id", "archive_audio", "archive_lyrics",
         "labels", "songs", "extra_args"},
        {"music_task_ids", "kie_conn_id", "bucket", "prefix", "archive_audio", "archive_lyrics", "labels", "songs"},
    ),
    "airflow_kie.triggers.task.KieTaskTrigger": (
        {"kie_conn_id", "record", "records", "deadline", "poll_interval", "first_read", "timeout", "linger"}, set(),
    ),
    "airflow_kie.task_groups.music_cover.archive_covers": (
        {"music_task_ids", "bucket", "prefix", "kie_conn_id", "aws_conn_id", "archive_audio", "archive_lyrics",
         "labels", "songs", "extra_args", "deferrable", "weight_rule"},
        set(),
    ),
}  # fmt: skip


def found(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def parameters_of(thing: Any) -> set[str]:
    """Return the parameters of a function, or of a class and its bases."""
    functions = [vars(cls).get("__init__") for cls in thing.__mro__] if inspect.isclass(thing) else [thing]
    return {
        name for function in functions if function for name in inspect.signature(inspect.unwrap(function)).parameters
    }


@pytest.mark.parametrize("path", SURFACE)
def test_the_arguments_that_users_write_stay(path: str) -> None:
    assert SURFACE[path][0] <= parameters_of(found(path))


@pytest.mark.parametrize("path", SURFACE)
def test_the_template_fields_stay_and_are_attributes(path: str) -> None:
    thing = found(path)
    fields = set(getattr(thing, "template_fields", ()))
    assert SURFACE[path][1] <= fields
    assert fields <= parameters_of(thing)


@pytest.mark.parametrize("path", [path for path, surface in SURFACE.items() if "Operator" in path or "Sensor" in path])
def test_a_deferred_task_finds_its_method_after_an_upgrade(path: str) -> None:
    if {"deferrable"} <= SURFACE[path][0]:
        known = set(inspect.signature(found(path).execute_complete).parameters)
        assert known - {"records"} == {"self", "context", "event", "awaited"}


@pytest.mark.parametrize("path", SURFACE)
def test_every_argument_is_documented(path: str) -> None:
    thing = found(path)
    classes = thing.__mro__ if inspect.isclass(thing) else [thing]
    documented = "\n".join(inspect.getdoc(item) or "" for item in classes)
    assert [name for name in sorted(SURFACE[path][0]) if f":param {name}:" not in documented] == []


def test_the_default_connection_has_its_fixed_name() -> None:
    assert found("airflow_kie.hooks.kie.KieHook").default_conn_name == "kie_default"


def test_the_keys_of_the_task_store_are_fixed() -> None:
    from airflow_kie.durable.task_state import source_key

    assert source_key("cover", "x") == "cover/x"


def test_what_an_account_has_paid_for_is_where_every_version_looks() -> None:
    from airflow_kie.lifecycle.claims import RequestId

    assert RequestId("studio eins", "suno.cover", "a" * 32).folder == f"studio%20eins/suno.cover/{'a' * 32}/"
