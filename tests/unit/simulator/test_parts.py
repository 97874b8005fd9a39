"""The simulator's parts by themselves: clock, signature, pictures, melodies, titles, independence."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kie_simulator.__main__ import main
from kie_simulator.accounts import Accounts
from kie_simulator.artwork import render_cover, render_plain
from kie_simulator.audio import render_mp3, render_wav
from kie_simulator.callbacks import may_deliver
from kie_simulator.catalogue import models
from kie_simulator.clock import Clock
from kie_simulator.server import write_atomically
from kie_simulator.signing import signature
from kie_simulator.simulation import without_secrets
from kie_simulator.songs import title_from_prompt

INCLUDE = Path(__file__).parents[3] / "include"


def test_the_signature_is_the_one_that_openssl_computes() -> None:
    # printf '%s' '9f8e.1769670760' | openssl dgst -sha256 -hmac key -binary | base64
    assert signature("key", "9f8e", 1769670760) == "m7csn+ICLeia02wW7QnVAqXXhvQ2dt+rUoxkBM85P6U="


def test_a_clock_moves_forward_by_what_it_is_given_and_keeps_its_time_when_the_speed_changes() -> None:
    clock = Clock()
    start = clock.now()
    clock.advance(86_400)
    clock.speed = 1e-6
    assert 86_400 <= clock.now() - start < 86_460


def test_a_fast_clock_waits_less_in_real_seconds() -> None:
    clock = Clock(speed=100)
    assert 0 < clock.real_seconds_until(clock.now() + 1000) <= 10


def test_equal_seeds_and_titles_give_equal_pictures_and_others_differ() -> None:
    assert render_cover("a", "Gold") == render_cover("a", "Gold")
    assert len({render_cover("a", "Gold"), render_cover("a", "Salt"), render_cover("b", "Gold")}) == 3


@pytest.mark.parametrize("title", ["", "\u96e8\u306e\u6b4c", "\u00c9t\u00e9 \u00e0 la mer", "word " * 40, "x" * 80])
@pytest.mark.parametrize("render", [render_cover, render_plain])
def test_any_title_gives_a_whole_picture(render: Callable[[str, str], bytes], title: str) -> None:
    with Image.open(io.BytesIO(render("seed", title))) as picture:
        picture.load()
        assert picture.size == (1024, 1024)


def test_melodies_are_decided_by_their_seed() -> None:
    assert render_mp3("a") == render_mp3("a")
    assert render_mp3("a") != render_mp3("b")
    assert render_wav("a")[:4] == b"RIFF"


@pytest.mark.parametrize(
    ("url", "delivered"),
    [
        ("http://127.0.0.1:8080/cb", True),
        ("http://[::1]:8080/cb", True),
        ("http://localhost/cb", True),
        ("http://receiver:8000/cb", True),
        ("http://127.0.0.1.example.com/cb", False),
        ("https://callback.invalid/cb", False),
        ("http://192.168.0.2/cb", False),
        ("file:///etc/passwd", False),
        ("http://[bad", False),
        ("", False),
    ],
)
def test_callbacks_go_to_loopback_and_allowed_hosts_only(url: str, delivered: bool) -> None:
    assert may_deliver(url, ["receiver"]) == delivered


def test_urls_in_a_recorded_request_lose_their_query() -> None:
    inner = {"upload_url_list": ["https://x.invalid/a.mp3?X-Amz-Signature=1", "http://[bad?sig=1"]}
    request = {"callBackUrl": "https://x.invalid/cb?sig=1#top", "prompt": "why? because", "input": inner}
    assert without_secrets(request) == {
        "callBackUrl": "https://x.invalid/cb",
        "prompt": "why? because",
        "input": {"upload_url_list": ["https://x.invalid/a.mp3", "http://[bad"]},
    }


@pytest.mark.parametrize(
    ("model", "roles"),
    [
        ("gpt-image-2-text-to-image", ("image",)),
        ("wan/2-5-image-to-video", ("video",)),
        ("elevenlabs/sound-effect-v2", ("audio",)),
        ("elevenlabs/speech-to-text", ()),
    ],
)
def test_a_market_model_makes_what_the_catalogue_says(model: str, roles: tuple[str, ...]) -> None:
    assert models()[model].files == roles


@pytest.mark.parametrize(
    ("model", "given", "credits"),
    [
        ("ai-music-api/generate", {"model": "V6"}, 12),
        ("ai-music-api/cover-generate", {}, 0),
        ("ai-music-api/separate-vocals", {"type": "split_stem_advanced"}, 20),
        ("veo-3-1", {"prompt": "x"}, 60),
        ("veo-3-1", {"prompt": "x", "model": "veo3", "resolution": "4k"}, 370),
        ("runway", {"duration": 5, "quality": "1080p"}, 30),
        ("wan/2-5-text-to-video", {"duration": "10", "resolution": "1080p"}, 200),
        ("kling-2.6/text-to-video", {"duration": "5", "sound": True}, 110),
        ("ai-music-api/suno-recovery-audio", {}, 18),
    ],
)
def test_the_catalogue_prices_a_request_by_its_tier_and_its_seconds(
    model: str, given: dict[str, Any], credits: float
) -> None:
    assert models()[model].price(given) == credits


def test_the_catalogue_names_every_model_of_october_2026() -> None:
    assert len(models()) == 244
    assert sum(model.live for model in models().values()) == 218


def test_a_prompt_gives_a_title_of_its_significant_words() -> None:
    assert title_from_prompt("a song about the quiet rain of May in Lisbon", "seed") == "Quiet Rain May Lisbon"
    assert title_from_prompt("...", "seed")


def test_a_file_is_written_without_leaving_its_draft(tmp_path: Path) -> None:
    write_atomically(tmp_path / "port", "1\n")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"port": "1\n"}


def test_the_simulator_does_not_use_the_provider() -> None:
    # A client's problems must not be mirrored by the server that it is tested against.
    code = "import sys, kie_simulator.server; print([name for name in sys.modules if name.startswith('airflow')])"
    environment = os.environ | {"PYTHONPATH": str(INCLUDE)}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "70000"], "argument --port: 70000 is not a port from 0 to 65535"),
        (["--speed", "0"], "argument --speed: 0 is not greater than 0"),
        (["--speed", "nan"], "argument --speed: nan is not greater than 0"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_an_account_outlives_the_last_of_its_keys() -> None:
    """What it was charged is read by its name, and a key that is accepted again opens the same account."""
    accounts = Accounts(["sim-key", "a real one"], 5.0)
    one, other = accounts.all()
    for key in ("sim-key", "a real one"):
        accounts.revoke(key)
    assert accounts.of("Bearer sim-key") is None
    assert (accounts.named(None), accounts.named("sim-key"), accounts.named("account-2")) == (one, one, other)
    assert accounts.all() == [one, other]
    assert accounts.accept("sim-key") is one
    assert accounts.accept("another real one").name == "account-3"
