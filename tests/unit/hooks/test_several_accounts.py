"""Songs of several KIE accounts: each is worked on under its own connection, which must be allowed, on every way in."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException

from airflow_connections import kie_connection
from airflow_kie import assets, settings
from airflow_kie.archive.inbox.song_request import SongsRefused
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.client.callbacks.auth import CallbackKeys, keys_in
from airflow_kie.client.errors import KieConnectionInvalid, KieInvalidRequest, KieOutOfCredits, KieTaskUnknown
from airflow_kie.client.task_lookup import Claim
from airflow_kie.hooks.archive import open_song
from airflow_kie.lifecycle import polling
from airflow_kie.operators.inbox import KieInboxOperator
from airflow_kie.operators.song_list import KieSongListOperator
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_kie.sensors.suno import KieMusicSensor
from airflow_kie.transfers.kie_to_s3 import KieCoverToS3Operator
from airflow_kie.web.receiver.connections import Connections
from airflow_kie.web.receiver.gateway import InProcessGateway
from airflow_task import StoredFiles, TaskRun, Variables, close_clients
from kie_simulator.server import SimulatorServer

A, B = "a" * 32, "b" * 32


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    keys = ["sim-ours", "sim-label-b"]
    with SimulatorServer(api_keys=keys, music_seconds=0, cover_seconds=0, plain_images=True) as running:
        yield running


@pytest.fixture
def kie(server: SimulatorServer, switch: Variables, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatorServer]:
    """Give a KIE with two accounts, a connection to each, and a connection of the list that is no KIE account."""
    server.control.reset()
    monkeypatch.setattr(polling, "SHORTEST", 0.02)
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(server, password="sim-ours"))
    label_b = {"rate_limit": 1000, "account": "label-b"}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_LABEL_B", kie_connection(server, password="sim-label-b", extra=label_b))
    monkeypatch.setenv("AIRFLOW_CONN_KIE_NOT_LISTED", kie_connection(server, password="sim-ours"))
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_default, kie_label_b, aws_default")
    monkeypatch.setenv("AIRFLOW__KIE__CONFIRM_FAILURE_SECONDS", "0")
    monkeypatch.setenv("AIRFLOW__KIE__ALLOW_LOOPBACK_FILES", "True")
    yield server
    close_clients()


def list_run(extra: dict[str, Any] | None = None, **asked: Any) -> TaskRun:
    return TaskRun(lambda: KieSongListOperator(task_id="song_list", **asked), extra=extra or {})


def event(music_task_id: str, **extra: Any) -> dict[str, Any]:
    return {"partition_key": music_task_id, "triggering_asset_events": {"music": [SimpleNamespace(extra=extra)]}}


def noted(archive: StoredFiles, music_task_id: str, **facts: Any) -> SongArchive:
    song = open_song("aws_default", archive.bucket, "songs", music_task_id)
    song.update_pending(received_from="inbox", **facts)
    return song


WAYS_IN: dict[str, Callable[[str], TaskRun]] = {
    "form": lambda name: list_run(music_task_ids=[A], kie_conn_id=name),
    "form's list of songs": lambda name: list_run(songs=[{"music_task_id": A, "kie_conn_id": name}]),
    "event": lambda name: list_run(event(A, kie_conn_id=name)),
}


@pytest.mark.parametrize("way", WAYS_IN)
def test_a_song_is_worked_on_under_the_connection_that_its_way_in_names(
    kie: SimulatorServer, archive: StoredFiles, way: str
) -> None:
    (song,) = WAYS_IN[way]("kie_label_b").execute()
    assert song["kie_conn_id"] == "kie_label_b"
    assert archive.json(f"songs/_pending/{A}.json")["kie_conn_id"] == "kie_label_b"


@pytest.mark.parametrize("way", WAYS_IN)
def test_a_connection_that_is_not_allowed_is_refused_before_anything_is_written_or_asked(
    kie: SimulatorServer, archive: StoredFiles, way: str
) -> None:
    with pytest.raises(SongsRefused, match="'kie_not_listed' is not one of `kie_conn_ids`"):
        WAYS_IN[way]("kie_not_listed").execute()
    assert (archive.listed(), kie.control.state()["requests"]) == ([], {})


@pytest.mark.parametrize("way", WAYS_IN)
def test_a_connection_of_another_type_is_told_of_in_one_sentence(
    kie: SimulatorServer, archive: StoredFiles, way: str
) -> None:
    with pytest.raises(KieConnectionInvalid, match="Connection aws_default is of type 'aws', not 'kie'"):
        WAYS_IN[way]("aws_default").execute()
    assert (archive.listed(), kie.control.state()["requests"]) == ([], {})


def test_a_song_of_the_inbox_keeps_its_account_up_to_the_manifest(kie: SimulatorServer, archive: StoredFiles) -> None:
    song = kie.control.make_music("Theirs", account="sim-label-b")[0].task_id
    archive.put("inbox/a.json", json.dumps({"music_task_id": song, "kie_conn_id": "kie_label_b"}).encode())
    TaskRun(lambda: KieInboxOperator(task_id="read_inbox")).execute()
    assert archive.json(f"songs/_pending/{song}.json")["kie_conn_id"] == "kie_label_b"
    (arguments,) = list_run(
        event(song, received_from="inbox", kie_conn_id=None)
    ).execute()  # as dispatch_songs sends it
    assert arguments["kie_conn_id"] == "kie_label_b"
    common = {name: arguments[name] for name in ("music_task_id", "kie_conn_id", "bucket", "prefix")}
    cover = TaskRun(
        lambda: KieGenerateCoverOperator(task_id="cover", deferrable=False, poll_interval=0.05, **common)
    ).execute()
    TaskRun(lambda: KieCoverToS3Operator(task_id="archive", cover_task_id=cover, **common)).execute()
    manifest = archive.json(f"songs/{song}/manifest.json")
    assert (manifest["kie_conn_id"], manifest["account"]) == ("kie_label_b", "label-b")
    assert [charge["account"] for charge in kie.control.ledger("cover")] == ["sim-label-b"]


def test_a_pending_song_whose_connection_is_no_longer_allowed_is_left_to_a_person(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    noted(archive, A, kie_conn_id="kie_not_listed")
    with pytest.raises(SongsRefused, match="'kie_not_listed' is not one of `kie_conn_ids`"):
        list_run(event(A, received_from="inbox")).execute()
    failure = archive.json(f"songs/_pending/{A}.json")["last_failure"]
    assert failure["reason"] == "songs_refused"
    assert "kie_not_listed" in failure["message"]


def test_a_song_that_is_announced_is_not_paid_for_under_a_connection_that_music_cover_would_refuse(
    kie: SimulatorServer,
) -> None:
    def generate(**options: Any) -> TaskRun:
        settings: dict[str, Any] = {"prompt": "rain", "deferrable": False, "poll_interval": 0.05} | options
        return TaskRun(lambda: KieGenerateMusicOperator(task_id="g", kie_conn_id="kie_not_listed", **settings))

    with pytest.raises(KieInvalidRequest, match=r"'kie_not_listed' is not one of `kie_conn_ids`.*Nothing was sent"):
        generate(outlets=[assets.MUSIC]).execute()
    assert kie.control.ledger() == []
    generate().execute()  # announced to nobody: the DAG's author has named the connection
    assert len(kie.control.ledger()) == 1


def test_an_id_of_another_account_is_told_as_such_and_no_other_key_is_tried(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = kie.control.make_music("Theirs", account="sim-label-b")[0].task_id
    rules = settings.rules
    monkeypatch.setattr(settings, "rules", lambda interval=None: dataclasses.replace(rules(0.05), visible_after=0.2))
    for deferrable in (False, True):
        sensor: dict[str, Any] = {"music_task_id": theirs, "kie_conn_id": "kie_default", "deferrable": deferrable}
        with pytest.raises(KieTaskUnknown) as told:
            TaskRun(lambda options=sensor: KieMusicSensor(task_id="s", timeout=600, **options)).attempt()  # type: ignore[misc]
        assert (
            "KIE knows no such task under this connection (KIE task "
            f"{theirs}): it was read under kie_default in both API variants, or in the one that `api` selects; "
            "`kie_conn_ids` also names kie_label_b, aws_default."
        ) in str(told.value)
        assert "Wrong id or wrong account?" in str(told.value)
    assert "sim-label-b" not in json.dumps(kie.control.state()["requests"])


# --- callbacks ---


def test_a_callback_is_checked_with_the_secret_of_the_connection_that_its_address_names_and_of_no_other(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kie_default", "kie_label_b", "kie_not_listed"):
        secret = {"webhook_secret": f"of-{name}"}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", kie_connection(kie, extra=secret))
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", "extra": {"webhook_secret": "x"}}))
    connections = Connections()
    assert connections.keys_of("kie_label_b") == keys_in({"webhook_secret": "of-kie_label_b"}, "kie_label_b")
    assert connections.keys_of("kie_default") != connections.keys_of("kie_label_b")
    assert [connections.keys_of("kie_not_listed"), connections.keys_of("aws_default")] == [
        CallbackKeys(),
        CallbackKeys(),
    ]


def test_a_song_that_a_callback_tells_of_belongs_to_the_account_that_called(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, Any]] = []
    airflow = InProcessGateway()
    monkeypatch.setattr(airflow, "event_was_sent", lambda *_: False)
    monkeypatch.setattr(airflow, "send_event", lambda song, extra: sent.append((song, extra)) or True)
    assert airflow.register("kie_label_b", A, Claim.SONG)
    airflow.announce("kie_label_b", A)
    assert archive.json(f"songs/_pending/{A}.json")["kie_conn_id"] == "kie_label_b"
    assert [(song, extra["kie_conn_id"]) for song, extra in sent] == [(A, "kie_label_b")]


def test_an_empty_list_of_connections_allows_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", " ")
    assert settings.allowed_connections() == ("kie_default",)


# --- outages of one account ---


def unattended(music_task_id: str, **extra: Any) -> dict[str, Any]:
    """Return the context of a run that nobody watches."""
    return {"dag_run": SimpleNamespace(run_type="asset_triggered"), **event(music_task_id, **extra)}


def test_a_song_of_an_account_without_credits_waits_and_one_of_another_account_goes_on(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    kie.control.set_credits(0, "sim-label-b")
    noted(archive, B, kie_conn_id="kie_label_b")
    with pytest.raises(AirflowRescheduleException):
        list_run(unattended(B)).execute()
    assert archive.json(f"songs/_pending/{B}.json")["waiting_for"]["reason"] == "out_of_credits"
    assert list_run(unattended(A)).execute()[0]["kie_conn_id"] == "kie_default"  # ours goes on


def test_the_account_without_credits_is_named_to_a_person(kie: SimulatorServer, archive: StoredFiles) -> None:
    kie.control.set_credits(0, "sim-label-b")
    with pytest.raises(KieOutOfCredits, match="connection kie_label_b has 0 credits left"):
        list_run(music_task_ids=[B], kie_conn_id="kie_label_b").execute()
