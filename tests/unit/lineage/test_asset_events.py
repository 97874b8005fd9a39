"""The event "a cover was archived": for each song once, with what others need of it; none where nothing is new."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.sdk import Asset
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.sdk.execution_time.task_runner import _build_asset_profiles, _serialize_outlet_events

from airflow_kie import assets
from airflow_kie.lineage import asset_uri
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_kie.transfers import kie_to_s3
from airflow_kie.transfers.kie_to_s3 import KieCoverToS3Operator
from airflow_task import FakeTaskStateStore, StoredFiles, TaskRun, WorkerCrash
from kie_simulator.server import SimulatorServer

BOTH = [assets.COVER, assets.ARCHIVE]


@dataclass
class Archiving:
    """A task that archives a song, and what Airflow sends of its success."""

    song: str
    cover: str
    bucket: str
    options: dict[str, Any] = field(default_factory=dict)
    run: TaskRun = field(init=False)
    task: Any = None

    def __post_init__(self) -> None:
        self.run = TaskRun(self.make)

    def make(self) -> KieCoverToS3Operator:
        self.task = KieCoverToS3Operator(
            task_id="archive_to_s3", music_task_id=self.song, cover_task_id=self.cover, bucket=self.bucket,
            prefix="songs", outlets=BOTH, **self.options,
        )  # fmt: skip
        return self.task

    def sent(self, run: TaskRun | None = None) -> dict[str, list[dict[str, Any]]]:
        """Run an attempt and return the events that its success brings, as Airflow's task runner hands them on."""
        self.run = run or self.run
        self.run.extra["outlet_events"] = OutletEventAccessors()
        self.run.attempt()
        converted = list(_serialize_outlet_events(self.run.extra["outlet_events"]))
        found: dict[str, list[dict[str, Any]]] = {}
        for outlet in _build_asset_profiles(self.task.outlets):
            if outlet.type == "Asset":  # Airflow sends an event of it in any case, one for each partition that is given
                mine = [event for event in converted if event["dest_asset_key"]["uri"] == outlet.uri]
                found[str(outlet.uri)] = mine or [{"partition_key": None, "extra": {}}]
        for event in converted:
            if "source_alias_name" in event:
                found.setdefault(event["dest_asset_key"]["uri"], []).append(event)
        return found


@pytest.fixture
def archiving(kie: SimulatorServer, archive: StoredFiles) -> Callable[..., Archiving]:
    song = kie.control.make_music("Café Été", prompt="Rain on a tin roof")[0].task_id
    drawn = TaskRun(
        lambda: KieGenerateCoverOperator(task_id="c", music_task_id=song, deferrable=False, poll_interval=0.05)
    ).attempt()
    return lambda **options: Archiving(song, drawn, archive.bucket, options)


def test_an_archived_song_sends_one_event_with_its_id_as_partition_and_its_manifests_key(
    archiving: Callable[..., Archiving], archive: StoredFiles
) -> None:
    task = archiving()
    events = task.sent()
    (event,) = events.pop(assets.COVER.uri)
    key = f"songs/{task.song}/manifest.json"
    manifest = archive.json(key)
    assert event["partition_key"] == task.song
    assert event["extra"] == {
        "prefix": "songs",
        "music_task_id": task.song,
        "kie_conn_id": "kie_default",
        "title": "Café Été",
        "bucket": archive.bucket,
        "manifest_key": key,
        "files": [{name: file[name] for name in ("key", "kind", "size", "sha256")} for file in manifest["files"]],
        "prompt_sha256": event["extra"]["prompt_sha256"],
        "prompt_length": len("Rain on a tin roof"),
    }
    assert len(event["extra"]["prompt_sha256"]) == 64
    ((place, (changed,)),) = events.items()
    assert (place, changed["extra"]) == (f"s3://{archive.bucket}/songs", event["extra"])


def test_the_prompts_text_is_in_the_event_only_where_it_is_wanted(
    archiving: Callable[..., Archiving], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__INCLUDE_TEXTS", "True")
    ((event,), *_) = archiving().sent().values()
    assert event["extra"]["prompt"] == "Rain on a tin roof"


def test_a_run_that_finds_everything_there_sends_nothing(archiving: Callable[..., Archiving]) -> None:
    archiving().sent()
    assert archiving().sent() == {}


def test_the_task_state_store_is_asked_once_when_the_run_has_begun_to_archive(
    archiving: Callable[..., Archiving], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    get = FakeTaskStateStore.get
    monkeypatch.setattr(
        FakeTaskStateStore, "get", lambda self, key, *more: (asked.append(key), get(self, key, *more))[1]
    )
    task = archiving()
    for run in (task.run, task.run.retried()):
        asked.clear()
        task.sent(run)
        assert asked.count(f"archiving/{task.song}") == 1


def test_a_clear_of_a_song_that_is_archived_sends_nothing(archiving: Callable[..., Archiving]) -> None:
    task = archiving()
    task.sent()
    assert task.sent(task.run.cleared()) == {}


def test_a_retry_after_the_worker_died_behind_the_manifest_sends_the_event(
    archiving: Callable[..., Archiving], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = archiving()
    with monkeypatch.context() as patched:
        patched.setattr(kie_to_s3, "emit_new_files", _die)
        with pytest.raises(WorkerCrash):
            task.sent()
    assert [event["partition_key"] for event in task.sent(task.run.retried())[assets.COVER.uri]] == [task.song]


def test_a_retry_that_finds_another_runs_archive_sends_nothing(
    archiving: Callable[..., Archiving], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, other = archiving(), archiving()
    other.run.ti.run_id = "manual__2"
    with monkeypatch.context() as patched:
        patched.setattr(kie_to_s3.KieCoverToS3Operator, "archive", _die)
        with pytest.raises(WorkerCrash):
            task.sent()
    assert len(other.sent()) == 2
    assert task.sent(task.run.retried()) == {}


def test_audio_that_is_added_later_changes_the_archive_and_is_no_new_cover(
    archiving: Callable[..., Archiving], archive: StoredFiles
) -> None:
    archiving().sent()
    assert set(archiving(archive_audio=True).sent()) == {f"s3://{archive.bucket}/songs"}


def _die(*_: Any, **__: Any) -> None:
    raise WorkerCrash


def test_our_assets_keep_their_addresses_and_openlineage_gets_namespace_and_name_of_them() -> None:
    from airflow.providers.openlineage.extractors.manager import ExtractorManager

    converted = ExtractorManager.convert_to_ol_dataset(assets.COVER)
    assert converted is not None
    assert (assets.COVER.uri, converted.namespace, converted.name) == (
        "kie://api.kie.ai/suno/cover",
        "kie://api.kie.ai",
        "suno/cover",
    )
    assert Asset(uri="kie://API.kie.ai/suno/cover/").uri == assets.COVER.uri


@pytest.mark.parametrize("uri", ["kie:///suno/music", "kie://api.kie.ai", "kie://api.kie.ai/"])
def test_an_address_without_a_host_or_a_path_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="is not an asset of KIE"):
        asset_uri.sanitize_uri(urlsplit(uri))
