"""One operation in KIE's two forms: which is asked, when the other one is tried, and that nothing is paid for twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_connections import kie_connection
from airflow_kie.archive.archiver import prompt_of
from airflow_kie.client.answers.decode import Read
from airflow_kie.client.errors import KieFormGone, KieNoRecord
from airflow_kie.durable.waiting import read_ended
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.sending import Sender
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.sensors.suno import KieMusicSensor
from airflow_kie.sensors.task import KieTaskSensor
from airflow_task import TaskInstance, TaskRun
from kie_simulator.server import SimulatorServer
from paid_requests import InDatabase

FORMS = ("dedicated", "unified")
OTHER = {"dedicated": "unified", "unified": "dedicated"}
SONG = {"prompt": "rain", "customMode": False, "instrumental": False, "model": "V6"}

every_form = pytest.mark.parametrize("form", FORMS)
SetApi = Callable[[str], None]


@pytest.fixture
def api(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> SetApi:
    """Set the connection's field `api`."""
    kie.control.set(task_seconds=0)

    def to(form: str) -> None:
        extra = {"rate_limit": 1000, "api": form}
        monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra=extra))

    to("")
    return to


def run_of(operation: str, request: dict[str, Any], run_id: str = "monday", **options: Any) -> TaskRun:
    settings: dict[str, Any] = {"poll_interval": 0.05, "deferrable": True} | options
    return TaskRun(
        lambda: KieTaskOperator(task_id="make", operation=operation, request=request, **settings),
        ti=TaskInstance(dag_id="songs", run_id=run_id),
    )


def song(kie: SimulatorServer, form: str) -> str:
    return str(kie.control.make_music("Velvet Harbour", form=form)[0].task_id)


def forms_of(kie: SimulatorServer, kind: str) -> list[str]:
    return [charge["form"] for charge in kie.control.ledger(kind)]


@every_form
def test_the_connection_can_name_the_form_and_a_retry_after_it_changed_pays_nothing(
    kie: SimulatorServer, api: SetApi, form: str
) -> None:
    api(form)
    run = run_of("suno.music", SONG)
    made = run.attempt()
    assert forms_of(kie, "music") == [form]
    api(OTHER[form])
    assert run.retried().attempt() == run.cleared().attempt() == made
    assert len(kie.control.ledger("music")) == 1


@every_form
def test_what_is_made_from_a_song_is_asked_for_in_the_form_in_which_the_song_was_found(
    kie: SimulatorServer, api: SetApi, form: str
) -> None:
    kie.control.set(ids_between_forms="separate")
    music = song(kie, form)
    made = run_of("suno.cover", {"taskId": music}).attempt()
    assert [(charge["task_id"], charge["form"]) for charge in kie.control.ledger("cover")] == [(made, form)]
    assert run_of("suno.cover", {"task_id": music}, "tuesday").attempt() == made  # the other form's spelling
    assert len(kie.control.ledger("cover")) == 1


@every_form
@pytest.mark.parametrize("missing", ["refused", "failed_task"])
def test_a_song_that_the_one_form_does_not_know_is_tried_once_in_the_other(
    kie: SimulatorServer, api: SetApi, form: str, missing: str
) -> None:
    """The song shows in one form while it is read, and is known to the other alone when its cover is asked for."""
    kie.control.set(ids_between_forms="separate", reads_across_forms=True, missing_source=missing)
    music = song(kie, form)
    known = {"music_task_id": music, "form": OTHER[form]}  # as the sensor passes it on
    run = TaskRun(
        lambda: KieGenerateCoverOperator(
            task_id="cover", music_task_id=music, music=known, poll_interval=0.05, deferrable=True
        )
    )
    made = run.attempt()
    (charge,) = [charge for charge in kie.control.ledger("cover") if not charge.get("refunded")]
    assert (charge["task_id"], charge["form"]) == (made, form)
    asked = kie.control.state()["requests"]
    assert [asked[f"POST {path}"] for path in ("/api/v1/suno/cover/generate", "/api/v1/jobs/createTask")] == [1, 1]


@every_form
def test_where_ids_are_shared_a_song_of_one_form_gets_its_cover_in_the_one_that_the_connection_names(
    kie: SimulatorServer, api: SetApi, form: str
) -> None:
    kie.control.set(reads_across_forms=True)
    music = song(kie, OTHER[form])
    api(form)
    found = TaskRun(lambda: KieMusicSensor(task_id="music_complete", music_task_id=music)).attempt()
    assert (found["form"], found["tracks"]) == (form, 2)
    # A manifest names the prompt, and not the text that is sung, in whichever form the song is read.
    assert prompt_of(read_ended(KieHook(), "suno.music", music)) == "A song called Velvet Harbour"
    run_of("suno.cover", {"taskId": music}).attempt()
    assert forms_of(kie, "cover") == [form]


@every_form
def test_where_the_connection_names_a_form_your_own_code_asks_in_no_other(
    kie: SimulatorServer, api: SetApi, form: str
) -> None:
    kie.control.set(ids_between_forms="separate", reads_across_forms=True)
    music = song(kie, OTHER[form])
    api(form)
    with pytest.raises(KieNoRecord):
        KieHook().create("suno.cover", {"taskId": music}, idempotency_key=music)
    assert not kie.control.ledger("cover")


@pytest.mark.parametrize("missing", ["refused", "failed_task"])
@pytest.mark.parametrize("named", ["", *FORMS])
def test_a_song_that_neither_form_knows_fails_and_nothing_is_paid(
    kie: SimulatorServer, api: SetApi, missing: str, named: str
) -> None:
    kie.control.set(missing_source=missing)
    api(named)
    with pytest.raises(KieNoRecord, match="does not exist"):
        run_of("suno.cover", {"taskId": "0" * 32}).attempt()
    assert not [charge for charge in kie.control.ledger("cover") if not charge.get("refunded")]


@pytest.mark.parametrize("how", ["json", "html", "code"])
@every_form
def test_a_form_that_is_gone_is_an_error_that_names_the_setting_and_nothing_changes_over_by_itself(
    kie: SimulatorServer, api: SetApi, form: str, how: str
) -> None:
    music = song(kie, form)
    kie.control.add_fault("create", "gone", gone=how, form=form, times=-1)
    for _ in range(2):
        with pytest.raises(KieFormGone, match=rf"{form} API variant.*connection.s field `api`.*unified"):
            run_of("suno.cover", {"taskId": music}).attempt()
    assert not kie.control.ledger("cover")
    api(OTHER[form])
    run_of("suno.cover", {"taskId": music}).attempt()
    assert forms_of(kie, "cover") == [OTHER[form]]


def test_a_model_that_kie_no_longer_has_is_a_form_that_is_gone(kie: SimulatorServer, api: SetApi) -> None:
    kie.control.set(unsupported_models=["ai-music-api/generate"])
    with pytest.raises(KieFormGone, match=r"unified API variant.*set the connection's field `api`"):
        run_of("suno.music", SONG).attempt()
    api("dedicated")
    run_of("suno.music", SONG, "tuesday").attempt()
    assert forms_of(kie, "music") == ["dedicated"]


@every_form
def test_an_address_of_details_that_is_gone_is_that_error_too_and_what_is_paid_is_read_once_it_is_back(
    kie: SimulatorServer, api: SetApi, form: str
) -> None:
    api(form)
    run = run_of("suno.music", SONG)
    kie.control.add_fault("details", "gone", gone="html", form=form, times=-1)
    with pytest.raises(KieFormGone, match="set the connection's field `api`"):
        run.attempt()
    kie.control.clear_faults()
    made = run.retried().attempt()
    assert [charge["task_id"] for charge in kie.control.ledger("music")] == [made]


@every_form
def test_a_cover_does_not_ask_for_a_song_whose_form_the_sensor_has_found(
    kie: SimulatorServer, api: SetApi, form: str
) -> None:
    music = song(kie, form)
    found = TaskRun(lambda: KieMusicSensor(task_id="music_complete", music_task_id=music)).attempt()
    reads = kie.control.state()["reads"][music]
    run = TaskRun(
        lambda: KieGenerateCoverOperator(
            task_id="generate_cover", music_task_id=music, music=found, poll_interval=0.05, deferrable=True
        )
    )
    run.attempt()
    assert (found["form"], forms_of(kie, "cover")) == (form, [form])
    assert kie.control.state()["reads"][music] == reads
    api(OTHER[form])  # the connection's word counts more
    other = song(kie, form)
    known = {**found, "music_task_id": other}
    make = lambda: KieGenerateCoverOperator(  # noqa: E731
        task_id="generate_cover", music_task_id=other, music=known, poll_interval=0.05, deferrable=True
    )
    TaskRun(make).attempt()
    assert forms_of(kie, "cover") == [form, OTHER[form]]


@every_form
def test_an_id_from_elsewhere_is_found_in_either_form_and_its_record_says_in_which(
    kie: SimulatorServer, api: SetApi, form: str
) -> None:
    music = song(kie, form)
    sensor = TaskRun(lambda: KieTaskSensor(task_id="wait", operation="suno.music", kie_task_id=music, poll_interval=1))
    assert sensor.attempt()["task_id"] == music
    run = run_of("suno.music", SONG, adopt_task_id=music)
    assert run.attempt() == music
    assert [record["form"] for key in run.store.rows if (record := run.store.record(key)).get("task_id")] == [form]
    assert not kie.control.ledger("music")


# --- what the unified form may do that no page promises ---


def test_a_task_that_kie_does_not_show_at_first_is_waited_for(kie: SimulatorServer, api: SetApi) -> None:
    api("unified")
    kie.control.set(first_reads_null=3)
    made = run_of("suno.music", SONG).attempt()
    assert [charge["task_id"] for charge in kie.control.ledger("music")] == [made]


def test_a_success_that_shows_before_its_result_is_read_again(kie: SimulatorServer, api: SetApi) -> None:
    api("unified")
    kie.control.add_fault("details", "without_files", kind="music", shape="null", state=0)
    made = run_of("suno.music", SONG).attempt()
    assert [result.role for result in KieHook().results("suno.music", made)] == ["track", "track"]
    assert [charge["task_id"] for charge in kie.control.ledger("music")] == [made]


def test_a_failure_with_code_400_that_asks_to_try_again_is_replaced_once_and_only_what_was_made_is_paid(
    kie: SimulatorServer, api: SetApi
) -> None:
    api("unified")
    kie.control.add_fault("task", "try_again", kind="music", times=1)
    made = run_of("suno.music", SONG).attempt()
    charges = kie.control.ledger("music")
    assert [charge["refunded"] for charge in charges] == [True, False]
    assert charges[1]["task_id"] == made


@pytest.mark.parametrize("operation", ["suno.music", "suno.cover", "suno.wav", "suno.stems", "suno.lyrics"])
def test_a_success_of_unknown_shape_is_paid_and_finished_and_nothing_is_asked_for_again(
    kie: SimulatorServer, api: SetApi, operation: str
) -> None:
    api("unified")
    music = song(kie, "unified")
    track = KieHook().details("suno.music", music)
    assert isinstance(track, Read)
    of_track = {"taskId": music, "audioId": track.details.tracks[0].audio_id}
    body = {
        "suno.music": SONG,
        "suno.cover": {"taskId": music},
        "suno.lyrics": {"prompt": "rain"},
        "suno.stems": {**of_track, "type": "separate_vocal"},
    }.get(operation, of_track)
    kie.control.add_fault("details", "unknown_shape", times=-1)
    run = run_of(operation, body)
    made = run.attempt()
    assert run.retried().attempt() == run.cleared().attempt() == made
    assert [charge["task_id"] for charge in kie.control.ledger()] == [made]


def test_a_record_that_is_no_json_loses_no_task_that_is_paid(kie: SimulatorServer, api: SetApi) -> None:
    api("unified")
    kie.control.add_fault("details", "malformed", form="unified", times=3)
    kie.control.add_fault("details", "param_unescaped", form="unified", times=-1)
    made = run_of("suno.music", {**SONG, "prompt": 'she said "rain", and "snow"'}).attempt()
    assert [charge["task_id"] for charge in kie.control.ledger("music")] == [made]


def test_a_discontinued_version_is_sent_as_it_is_with_one_warning(
    kie: SimulatorServer, api: SetApi, caplog: pytest.LogCaptureFixture
) -> None:
    run_of("suno.music", {**SONG, "model": "V4_5"}).attempt()
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "KIE lists V4_5 as discontinued; the request is sent anyway."
    ]


def test_the_time_in_which_the_form_is_found_out_is_not_that_in_which_it_may_be_sent(
    kie: SimulatorServer, api: SetApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where KIE's reads take longer than that, it would be too late to send each time, without end."""
    known_at: list[float] = []
    real = Sender._form_of_source

    def slow(sender: Sender) -> str:
        form = real(sender)
        time.sleep(0.5)
        known_at.append(time.time())
        return form

    monkeypatch.setattr(Sender, "_form_of_source", slow)
    run_of("suno.cover", {"taskId": song(kie, "unified")}).attempt()
    (body,) = (
        body for key, body in InDatabase(KieHook().ledger_database()[0]).read().items() if key.endswith("intent")
    )
    assert json.loads(body)["at"] > known_at[0] - 0.25
