"""The account: a usable key and host or a typed refusal, and no secret in its representation."""

from __future__ import annotations

import pytest

from airflow_kie.client.account import NO_CALLBACK_URL, KieAccount, is_loopback
from airflow_kie.client.errors import KieConnectionInvalid
from airflow_kie.client.operations.operation import Host

KEY = "k3y-0123456789abcdef"


def test_each_host_has_its_own_address() -> None:
    account = KieAccount(KEY)
    assert account.url(Host.API, "/api/v1/x") == "https://api.kie.ai/api/v1/x"
    assert account.url(Host.UPLOAD, "/api/y") == "https://kieai.redpandaai.co/api/y"


def test_a_slash_at_the_end_of_the_host_does_not_matter() -> None:
    assert KieAccount(KEY, api_url="https://kie.example/").url(Host.API, "/x") == "https://kie.example/x"


@pytest.mark.parametrize("key", [f"{KEY}\n", f"  {KEY} ", f"{KEY}\r\n"])
def test_blanks_around_a_pasted_key_are_cut_off(key: str) -> None:
    assert KieAccount(key).api_key == KEY


@pytest.mark.parametrize("key", ["", "   ", "\n", "two words", "line\nbreak", "typographic\u2019quote", "tab\tin it"])
def test_a_key_that_cannot_be_one_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(KieConnectionInvalid) as caught:
        KieAccount(key, connection="kie_prod")
    assert "kie_prod" in str(caught.value)
    for part in ("two words", "line", "quote", "in it"):
        assert part not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.kie.ai",
        "ftp://api.kie.ai",
        "https://",
        "https://[::1",
        "https://host:port",
        "https://host:99999",
        "//x",
    ],
)
def test_a_host_that_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(KieConnectionInvalid, match="not an http"):
        KieAccount(KEY, api_url=url)
    with pytest.raises(KieConnectionInvalid, match="upload host"):
        KieAccount(KEY, upload_url=url)


def test_a_simulator_on_another_machine_is_asked_over_http_where_it_is_named() -> None:
    named = frozenset({"simulator:8000"})
    assert KieAccount(KEY, api_url="http://simulator:8000", simulators=named).api_url == "http://simulator:8000"
    for other in ("http://simulator:8001", "http://simulator", "http://api.kie.ai", "http://simulator:8000@api.kie.ai"):
        with pytest.raises(KieConnectionInvalid, match="clear text"):
            KieAccount(KEY, api_url=other, simulators=named)


@pytest.mark.parametrize("url", ["http://api.kie.ai", "http://10.0.0.1:80", "http://localhost.example.com"])
def test_the_key_does_not_travel_in_clear_text(url: str) -> None:
    with pytest.raises(KieConnectionInvalid, match="clear text"):
        KieAccount(KEY, api_url=url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:1", "http://[::1]:8000"])
def test_the_machine_itself_may_be_reached_without_tls(url: str) -> None:
    assert KieAccount(KEY, api_url=url).api_url == url
    assert is_loopback(url)


@pytest.mark.parametrize("url", ["https://api.kie.ai", "https://localhost.example.com", "", "https://[::1"])
def test_other_hosts_are_not_the_machine_itself(url: str) -> None:
    assert not is_loopback(url)


@pytest.mark.parametrize("typed", ["Team A ", " Team A\n"])
def test_blanks_around_an_account_s_name_make_no_other_account_with_caps_of_its_own(typed: str) -> None:
    assert KieAccount("k", account=typed).name == KieAccount("k", account="Team A").name == "Team A"
    assert KieAccount("k", account=" ").name == KieAccount("k").name


def test_neither_key_nor_callback_url_show_in_the_representation() -> None:
    account = KieAccount(KEY, callback_url="https://callback.example/?token=s3cret")
    for text in (repr(account), str(account), f"{account}"):
        assert KEY not in text
        assert "s3cret" not in text


def test_without_a_callback_url_results_are_sent_to_a_reserved_name() -> None:
    assert KieAccount(KEY).callback_url == KieAccount(KEY, callback_url="").callback_url == NO_CALLBACK_URL
