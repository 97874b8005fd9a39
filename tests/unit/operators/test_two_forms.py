"""One operation in KIE's two forms: which is asked, when the other one is tried, and that nothing is paid for twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_connections import kie_connection
from airflow_kie.client.errors import KieFormGone, KieNoRecord
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.sensors.task import KieTaskSensor
from airflow_task import TaskInstance, TaskRun
from kie_simulator.server import SimulatorServer

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
    made = run_of("suno.cover", {"taskId": music}).attempt()
    (charge,) = [charge for charge in kie.control.ledger("cover") if not charge.get("refunded")]
    assert (charge["task_id"], charge["form"]) == (made, form)


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
        with pytest.raises(KieFormGone, match=rf"{form} form.*field `api` of the connection.*unified"):
            run_of("suno.cover", {"taskId": music}).attempt()
    assert not kie.control.ledger("cover")
    api(OTHER[form])
    run_of("suno.cover", {"taskId": music}).attempt()
    assert forms_of(kie, "cover") == [OTHER[form]]


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
