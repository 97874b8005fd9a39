"""What people see of the provider in Airflow: no import error, the connection form, the test button, and no key."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from local_stack.environment import SIMULATOR_KEY
from song_stack import SongStack, files_holding
from system.conftest import Begun


def asked(songs: SongStack, path: str) -> Any:
    """Return the JSON of a route of Airflow's UI."""
    token = songs.airflow._http.headers["Authorization"]
    answer = httpx.get(f"{songs.airflow.url}{path}", headers={"Authorization": token}, trust_env=False, timeout=300)
    answer.raise_for_status()
    return answer.json()


def test_airflow_imports_every_dag_and_every_plugin(songs: SongStack) -> None:
    assert songs.airflow.import_errors() == {}
    assert songs.airflow.call("GET", "/plugins/importErrors") == {"import_errors": [], "total_entries": 0}
    known = {dag["dag_id"] for dag in songs.airflow.pages("/dags", "dags")}
    assert {"music_cover", "cover_inbox", "music_generate"} <= known


def test_the_connection_form_shows_our_fields(songs: SongStack) -> None:
    (kie,) = [hook for hook in asked(songs, "/ui/connections/hook_meta") if hook["connection_type"] == "kie"]
    assert kie["hook_name"] == "KIE.ai"
    standard = kie["standard_fields"]
    assert (standard["password"]["title"], standard["host"]["placeholder"]) == ("API key", "https://api.kie.ai")
    assert standard["login"]["hidden"] and standard["port"]["hidden"]
    fields = kie["extra_fields"]
    assert {"webhook_secret", "webhook_secret_previous", "callback_url", "account", "rate_limit"} <= set(fields)
    assert fields["webhook_secret"]["schema"]["format"] == "password"


@pytest.mark.parametrize(
    ("key", "works", "says"),
    [(SIMULATOR_KEY, True, "The key works"), ("another-key", False, "KIE refused the API key")],
)
def test_the_test_button_says_whether_the_key_works(songs: SongStack, key: str, works: bool, says: str) -> None:
    connection = {"connection_id": "tried", "conn_type": "kie", "password": key}
    host = {"host": songs.running.state.urls["simulator"]}
    answer = songs.airflow.call("POST", "/connections/test", {**connection, **host})
    assert answer["status"] is works
    assert says in answer["message"]
    assert key not in answer["message"]


def test_the_api_key_is_in_no_log_no_database_and_no_archive(songs: SongStack, begun: Begun) -> None:
    songs.ended("music_cover", begun.form)
    places = [songs.running.settings.home / name for name in ("logs", "airflow")]
    assert files_holding("music_cover", *places)  # so that the search is known to find things
    assert files_holding(SIMULATOR_KEY, *places) == []
    assert songs.holding(SIMULATOR_KEY) == []
