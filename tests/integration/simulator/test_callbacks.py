"""The simulator's callbacks: what they say, how they are signed and sent again, and how they can go wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import pytest

from kie_callback_receiver import CallbackReceiver, Received
from kie_simulator.server import SimulatorServer
from kie_simulator_client import Kie

SIMULATOR = {"cover_seconds": 0.0, "callback_backoff": 0.0}


def outcomes(simulator: SimulatorServer, task_id: str, done: Callable[[list[Any]], bool]) -> list[dict[str, Any]]:
    """Return what became of a task's callbacks once that satisfies ``done``."""
    while True:
        sent = simulator.control.callbacks(task_id)
        if done(sent):
            return sent


def settled(sent: list[Any]) -> bool:
    return bool(sent) and all(delivery["outcome"] != "pending" for delivery in sent)


def test_a_finished_cover_calls_back_with_its_id_in_camel_case_and_its_images(kie: Kie, song: str) -> None:
    with CallbackReceiver() as receiver:
        cover_id = kie.create_cover(song, callBackUrl=f"{receiver.url}?wake=1")["data"]["taskId"]
        callback = receiver.next()
    images = kie.cover(cover_id)["response"]["images"]
    assert callback.path == "/cb?wake=1"
    assert callback.body == {"code": 200, "msg": "success", "data": {"taskId": cover_id, "images": images}}


def test_a_failed_cover_calls_back_without_images(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    simulator.control.add_fault("task", "fail", kind="cover", callback_code=531)
    with CallbackReceiver() as receiver:
        cover_id = kie.create_cover(song, callBackUrl=receiver.url)["data"]["taskId"]
        body = receiver.next().body
    assert (body["code"], body["data"]) == (531, {"taskId": cover_id, "images": None})


def test_music_calls_back_for_text_first_and_complete_with_its_id_in_snake_case(
    simulator: SimulatorServer, kie: Kie
) -> None:
    with CallbackReceiver() as receiver:
        task_id = kie.generate(callBackUrl=receiver.url)["data"]["taskId"]
        bodies = {}
        for seconds in (33, 42, 200):
            simulator.control.advance(seconds)
            body = receiver.next().body["data"]  # both tracks may be finished at once: then either can come first
            bodies[body["callbackType"]] = body
    assert {body["task_id"] for body in bodies.values()} == {task_id}
    assert {stage: len(body["data"]) for stage, body in bodies.items()} == {"text": 0, "first": 1, "complete": 2}
    assert bodies["complete"]["data"][0]["audio_url"] == kie.music(task_id)["response"]["sunoData"][0]["audioUrl"]


def test_failed_music_calls_back_with_an_error(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.add_fault("task", "fail", kind="music", state="SENSITIVE_WORD_ERROR")
    simulator.control.set(music_seconds=0)
    with CallbackReceiver() as receiver:
        kie.generate(callBackUrl=receiver.url)
        body = receiver.next().body
    assert (body["code"], body["data"]["callbackType"], body["data"]["data"]) == (501, "error", None)


def test_callbacks_are_signed_over_id_and_time_when_a_key_is_set(
    simulator: SimulatorServer, kie: Kie, song: str
) -> None:
    simulator.control.set(webhook_key="key-of-the-settings-page")
    with CallbackReceiver() as receiver:
        cover_id = kie.create_cover(song, callBackUrl=receiver.url)["data"]["taskId"]
        headers = receiver.next().headers
    signed = f"{cover_id}.{headers['X-Webhook-Timestamp']}".encode()
    digest = hmac.new(b"key-of-the-settings-page", signed, hashlib.sha256).digest()
    assert headers["X-Webhook-Signature"] == base64.b64encode(digest).decode()


def test_callbacks_are_not_signed_without_a_key(kie: Kie, song: str) -> None:
    with CallbackReceiver() as receiver:
        kie.create_cover(song, callBackUrl=receiver.url)
        headers = receiver.next().headers
    assert not {"X-Webhook-Timestamp", "X-Webhook-Signature"} & set(headers)


def test_the_settings_show_no_webhook_key(simulator: SimulatorServer) -> None:
    assert simulator.control.set(webhook_key="do-not-show")["webhook_key"] == "(set)"


def test_a_callback_that_is_not_answered_with_200_is_sent_again_three_times(
    simulator: SimulatorServer, kie: Kie, song: str
) -> None:
    with CallbackReceiver(500, 204, 404, 503) as receiver:
        cover_id = kie.create_cover(song, callBackUrl=receiver.url)["data"]["taskId"]
        (delivery,) = outcomes(simulator, cover_id, settled)
    assert (delivery["outcome"], delivery["statuses"]) == ("gave_up", [500, 204, 404, 503])


def test_a_callback_is_not_sent_again_after_a_200(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    with CallbackReceiver(500) as receiver:
        cover_id = kie.create_cover(song, callBackUrl=receiver.url)["data"]["taskId"]
        (delivery,) = outcomes(simulator, cover_id, settled)
    assert (delivery["outcome"], delivery["statuses"]) == ("delivered", [500, 200])


def test_a_receiver_that_does_not_answer_in_time_counts_as_failed(
    simulator: SimulatorServer, kie: Kie, song: str, caplog: pytest.LogCaptureFixture
) -> None:
    import threading

    simulator.control.set(callback_timeout=0.05, callback_retries=0)
    answer = threading.Event()
    with CallbackReceiver(on_receive=lambda callback: (answer.wait(30), None)[1]) as receiver:
        cover_id = kie.create_cover(song, callBackUrl=receiver.url)["data"]["taskId"]
        (delivery,) = outcomes(simulator, cover_id, settled)
        answer.set()
    assert (delivery["outcome"], delivery["statuses"]) == ("gave_up", ["timeout"])
    assert f"cover task {cover_id} for {receiver.url.rpartition('/')[0]} was given up: timeout." in caplog.text


@pytest.mark.parametrize(
    "url",
    ["https://callback.invalid/x", "https://example.com/noop", "http://10.0.0.1/", "ftp://127.0.0.1/", "nonsense"],
)
def test_nothing_is_sent_to_an_address_that_is_not_this_machine(
    simulator: SimulatorServer, kie: Kie, song: str, url: str
) -> None:
    cover_id = kie.create_cover(song, callBackUrl=url)["data"]["taskId"]
    (delivery,) = outcomes(simulator, cover_id, settled)
    assert (delivery["outcome"], delivery["statuses"]) == ("undeliverable", [])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://jane:pass@example.com:444/hook?token=secret", "https://example.com:444 is not on this machine."),
        ("nonsense", "its address is not on this machine."),
        ("https://callback.airflow-kie.invalid/none", None),
    ],
)
def test_what_cannot_be_delivered_is_one_warning_without_secrets_and_silent_where_nobody_wants_it(
    simulator: SimulatorServer, kie: Kie, song: str, caplog: pytest.LogCaptureFixture, url: str, said: str | None
) -> None:
    cover_id = kie.create_cover(song, callBackUrl=url)["data"]["taskId"]
    outcomes(simulator, cover_id, settled)
    lines = [one.message for one in caplog.records if one.name == "kie_simulator.callbacks"]
    wanted = f"The callback of cover task {cover_id} is not sent: {said}"
    assert [line.partition(" Add its host")[0] for line in lines] == ([wanted] if said else [])
    assert "secret" not in caplog.text and "pass" not in caplog.text


def test_a_lost_callback_never_arrives(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    simulator.control.add_fault("callback", "lost", source_id=song)
    with CallbackReceiver() as receiver:
        cover_id = kie.create_cover(song, callBackUrl=receiver.url)["data"]["taskId"]
        (delivery,) = outcomes(simulator, cover_id, settled)
        assert receiver.received.empty()
    assert delivery["outcome"] == "lost"


def test_a_doubled_callback_arrives_twice(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    simulator.control.add_fault("callback", "double")
    with CallbackReceiver() as receiver:
        kie.create_cover(song, callBackUrl=receiver.url)
        assert receiver.next().body == receiver.next().body


@pytest.mark.parametrize(("action", "has_signature"), [("forged_signature", True), ("no_signature", False)])
def test_a_callback_can_carry_a_wrong_signature_or_none(
    simulator: SimulatorServer, kie: Kie, song: str, action: str, has_signature: bool
) -> None:
    simulator.control.set(webhook_key="key")
    simulator.control.add_fault("callback", action)
    with CallbackReceiver() as receiver:
        cover_id = kie.create_cover(song, callBackUrl=receiver.url)["data"]["taskId"]
        headers = receiver.next().headers
    assert ("X-Webhook-Signature" in headers) == has_signature
    if has_signature:
        signed = f"{cover_id}.{headers['X-Webhook-Timestamp']}".encode()
        digest = hmac.new(b"key", signed, hashlib.sha256).digest()
        assert headers["X-Webhook-Signature"] != base64.b64encode(digest).decode()


def test_a_callback_can_come_before_the_create_is_answered(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    simulator.control.set(cover_seconds=60)
    simulator.control.add_fault("callback", "before_answer", kind="cover")
    order: list[str] = []

    def record(callback: Received) -> None:
        order.append("callback")

    with CallbackReceiver(on_receive=record) as receiver:
        cover_id = kie.create_cover(song, callBackUrl=receiver.url)["data"]["taskId"]
        order.append("answer")
        assert receiver.next().body["data"]["taskId"] == cover_id
    assert order == ["callback", "answer"]


def test_a_callback_can_claim_success_while_details_still_say_generating(
    simulator: SimulatorServer, kie: Kie, song: str
) -> None:
    simulator.control.set(cover_seconds=600)
    simulator.control.add_fault("callback", "early_success", kind="cover")
    with CallbackReceiver() as receiver:
        cover_id = kie.create_cover(song, callBackUrl=receiver.url)["data"]["taskId"]
        simulator.control.advance(301)
        assert receiver.next().body["code"] == 200
    assert kie.cover(cover_id)["successFlag"] == 2


def test_a_callback_can_be_sent_again_with_other_content(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    cover_id = kie.create_cover(song)["data"]["taskId"]
    with CallbackReceiver() as receiver:
        foreign = {"images": ["https://evil.invalid/x.png"]}
        sent = simulator.control.send_callback(cover_id, url=receiver.url, data=foreign, code=501)
        body = receiver.next().body
    assert sent["outcome"] == "delivered"
    assert body == {"code": 501, "msg": "success", "data": {"taskId": cover_id, **foreign}}


def test_a_callback_exception_ends_without_a_callback_but_with_finished_tracks(
    simulator: SimulatorServer, kie: Kie
) -> None:
    simulator.control.set(music_seconds=0)
    simulator.control.add_fault("task", "callback_exception", kind="music")
    with CallbackReceiver() as receiver:
        task_id = kie.generate(callBackUrl=receiver.url)["data"]["taskId"]
        sent = outcomes(simulator, task_id, settled)
        assert receiver.received.empty()
    assert [delivery["outcome"] for delivery in sent] == ["lost"]
    assert kie.music(task_id)["status"] == "CALLBACK_EXCEPTION"
    assert all(track["audioUrl"] for track in kie.music(task_id)["response"]["sunoData"])
