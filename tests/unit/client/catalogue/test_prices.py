"""Quotes: what KIE's price list asks for a request, from the list's own words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_kie.client.catalogue.models import Model, models
from airflow_kie.client.catalogue.prices import UNKNOWN, Quote, quote, quote_model
from airflow_kie.client.operations.registry import OPERATIONS
from kie_simulator.catalogue import Model as ListedModel
from kie_simulator.catalogue import models as price_list
from tools import catalogue

TIERED = [(model, name) for model in price_list().values() for name in model.tiers if model.unit != "1M tokens"]
FLAT = [model for model in price_list().values() if model.credits is not None]
NOT_BEFOREHAND = {"megapixel", "output image", "1M tokens"}
SECONDS = 5.0
# Words that a request has no field for: what it costs is known within a range only.
OPEN = {
    *("grok-imagine/extend", "grok-imagine/upscale", "topaz/image-upscale", "veo/extend"),
    *("qwen3/image-to-image", "seedream/5-pro-layer-decomposition"),
}
BY_HAND: dict[str, dict[str, dict[str, Any]]] = {
    "seedream/5-pro-text-to-image": {"1K": {"quality": "basic"}, "2K": {"quality": "high"}},
    "seedream/5-pro-image-to-image": {"1K": {"quality": "basic"}, "2K": {"quality": "high"}},
    "grok-imagine/text-to-image": {"standard": {"enable_pro": False}, "quality": {"enable_pro": True}},
    "kling-3.0/motion-control": {"720p": {"mode": "std"}, "1080p": {"mode": "pro"}},
    "flux1-kontext": {"pro": {"model": "flux-kontext-pro"}, "max": {"model": "flux-kontext-max"}},
}
VEO = {"lite": "veo3_lite", "fast": "veo3_fast", "quality": "veo3"}


def asked_by(model: ListedModel, name: str) -> dict[str, Any]:
    """Return a request that a price's words describe, word by word."""
    given: dict[str, Any] = dict(BY_HAND.get(model.model, {}).get(name, {}))
    if given:
        return given
    for word in name.replace("video input", "video").split():
        if word == "audio":
            field = next(f for f in ("generate_audio", "generate_audio_switch", "sound", "audio") if f in model.fields)
            given[field] = True
        elif word == "video":
            field = next(f for f in ("reference_video_urls", "video_urls", "video_list") if f in model.fields)
            given[field] = ["https://files.example/in.mp4"]
        elif word in VEO and model.model == "veo-3-1":
            given["model"] = VEO[word]
        elif word.removesuffix("s").isdigit() and "duration" in model.fields:
            given["duration"] = int(word.removesuffix("s"))
        else:
            named = [f for f, rule in model.fields.items() if word in map(str, rule.get("enum", ()))]
            given[named[0] if named else "resolution"] = word
    sound = {f: False for f in ("generate_audio", "generate_audio_switch", "sound", "audio") if f in model.fields}
    return sound | given


def ours(model: ListedModel) -> Model:
    return models()[model.model]


@pytest.mark.parametrize(("model", "name"), TIERED, ids=[f"{model.model}: {name}" for model, name in TIERED])
def test_every_tier_of_the_price_list_is_quoted(model: ListedModel, name: str) -> None:
    if "input image" in name or name.startswith("image after") or model.model in OPEN:
        tiers = ours(model).price
        assert tiers is not None and (tiers.each or model.model in OPEN or model.model.startswith("minimax"))
        return
    given = asked_by(model, name)
    times = 1.0
    if model.unit.startswith("second"):
        times, given = SECONDS, given | {"duration": SECONDS}
        if "input" in model.unit:
            given = {field: value for field, value in given.items() if "video" not in field}
    if model.unit in NOT_BEFOREHAND:
        assert quote_model(ours(model), given) == UNKNOWN
        return
    found = quote_model(ours(model), given)
    wanted = round(model.tiers[name] * times, 4)
    assert (found.low, found.high) == (wanted, wanted)


@pytest.mark.parametrize("model", FLAT, ids=[model.model for model in FLAT])
def test_every_flat_price_is_quoted(model: ListedModel) -> None:
    found = quote_model(ours(model), {"text": "x" * 1000, "dialogue": [{"text": "x" * 1000}], "duration": SECONDS})
    known = model.unit not in NOT_BEFOREHAND
    times = SECONDS if model.unit.startswith("second") else 1
    assert model.credits is not None
    assert found.high == (round(model.credits * times, 4) if known else None)


@pytest.mark.parametrize(
    ("model", "given", "low", "high"),
    [
        ("nano-banana-2", {}, 8, 8),
        ("nano-banana-2", {"resolution": "4K"}, 18, 18),
        ("veo-3-1", {"prompt": "a fox"}, 30, 250),  # 720p is the default; the tier is not in KIE's page
        ("veo-3-1", {"model": "veo3_lite", "resolution": "4k"}, 150, 150),
        ("veo/extend", {}, 30, 250),
        ("veo/extend", {"model": "lite"}, 30, 30),
        ("grok-imagine/upscale", {"resolution": "1080p"}, 20, 30),
        ("topaz/image-upscale", {}, 10, 20),
        ("pixverse-v6/extend", {"quality": "360p"}, 4, 60),  # from 1 to 15 seconds
        ("wan/2-7-text-to-video", {"resolution": "720p", "duration": "7"}, 112, 112),
        ("bytedance/seedream-v4-edit", {"max_images": 4}, 5, 20),
        ("wan/2-7-image", {"n": 3}, 14.4, 14.4),
        ("qwen3/image-to-image", {"image_urls": ["a", "b"]}, 5.8, 5.8),
        ("seedream/5-pro-image-to-image", {"image_urls": ["a", "b", "c"]}, 8, 8),
        ("gemini-omni-video", {"duration": "6", "video_list": [{"url": "v"}]}, 168, 168),
        ("kling-3.0-omni/text-to-video", {"resolution": "4k", "audio": True, "duration": 5}, 335, 335),
        ("elevenlabs/text-to-speech-turbo-2-5", {"text": "x" * 1500}, 9, 12),
        ("hailuo/2-3-image-to-video-pro", {"resolution": "1080P", "duration": "10"}, None, None),  # KIE has no such one
        ("wan/3-0-video", {"reference_video_urls": ["v"]}, None, None),  # the length of an input video is not known
        ("wan/2-7-videoedit", {"video_url": "v"}, None, None),  # 0: as long as the input
        ("qwen/image-edit", {}, None, None),
        ("sora-2-text-to-video", {}, None, None),
    ],
)
def test_what_a_request_leaves_open_makes_a_range(
    model: str, given: dict[str, Any], low: float | None, high: float | None
) -> None:
    assert quote_model(models()[model], given) == Quote(low, high)


def test_an_operation_of_a_dedicated_endpoint_is_quoted_by_its_own_fields() -> None:
    stems = OPERATIONS["suno.stems"]
    assert quote(stems, {"taskId": "m", "audioId": "a", "type": "split_stem"}) == Quote(50, 50)
    assert quote(stems, {"taskId": "m", "audioId": "a"}) == Quote(10, 10)
    veo = OPERATIONS["veo.generate"]
    assert [quote(veo, {"prompt": "p"} | more).high for more in ({}, {"model": "veo3", "resolution": "4k"})] == [
        60,
        370,
    ]
    assert quote(OPERATIONS["flux.kontext"], {"prompt": "p", "model": "flux-kontext-max"}) == Quote(10, 10)
    assert quote(OPERATIONS["veo.extend"], {"prompt": "p", "model": "quality"}) == Quote(250, 250)
    assert quote(OPERATIONS["credit"], {}) == Quote(0, 0)
    assert str(quote(OPERATIONS["suno.cover"], {"taskId": "m"})) == "0 credits"
    assert str(quote(OPERATIONS["market"], {"model": "newer", "input": {}})) == "unknown"


def test_the_catalogue_is_what_its_maker_makes() -> None:
    assert catalogue.TARGET.read_text(encoding="utf-8") == catalogue.made()
    assert len(json.loads(catalogue.made())) == len(price_list())
