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
# "With video = Price x (Input + Output)": how long the given videos are together at most.
INPUT_SECONDS = {
    **{f"bytedance/seedance-2{name}": 15 for name in ("", "-fast", "-mini")},
    "bytedance/seedance-2-5": 30,
}
BY_ANOTHER_LIST = {"veo-3-1: quality 4k": 380, "veo3: 4k": 380}
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
    one = {"num_images": "1"} if "num_images" in model.fields else {}
    return sound | one | given


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
    found = quote_model(ours(model), given)
    if model.unit in NOT_BEFOREHAND or (model.unit == "second" and "duration" not in model.fields):
        assert found == UNKNOWN
        return
    wanted = round(model.tiers[name] * times, 4)
    input_seconds = INPUT_SECONDS.get(model.model, 0) if "video input" in name else 0
    most = BY_ANOTHER_LIST.get(f"{model.model}: {name}", round(model.tiers[name] * (times + input_seconds), 4))
    assert (found.low, found.high) == (wanted, most)


@pytest.mark.parametrize("model", FLAT, ids=[model.model for model in FLAT])
def test_every_flat_price_is_quoted(model: ListedModel) -> None:
    given = {"text": "x" * 1000, "dialogue": [{"text": "x" * 1000}], "duration": SECONDS}
    found = quote_model(ours(model), {field: value for field, value in given.items() if field in model.fields})
    seconds = model.unit.startswith("second")
    known = model.unit not in NOT_BEFOREHAND and (not seconds or "duration" in model.fields)
    times = SECONDS if seconds else 1
    assert model.credits is not None
    assert found.low == (round(model.credits * times, 4) if known else None)
    most = 4 if model.model.startswith("wan/2-7-image") else 1  # without `n`
    assert found.high == (round(model.credits * times * most, 4) if known else None)


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
        ("topaz/image-upscale", {}, 10, 40),
        ("pixverse-v6/extend", {"quality": "360p"}, 4, 60),  # from 1 to 15 seconds
        ("wan/2-7-text-to-video", {"resolution": "720p", "duration": "7"}, 112, 112),
        ("bytedance/seedream-v4-edit", {"max_images": 4}, 5, 20),
        ("wan/2-7-image", {"n": 3}, 14.4, 14.4),
        ("wan/2-7-image", {}, 4.8, 19.2),  # 4 images unless the request says how many
        ("wan/2-7-image", {"enable_sequential": True}, 4.8, 57.6),  # and 12 of a sequence
        ("wan/2-7-image-pro", {"enable_sequential": True, "n": 3}, 12, 36),  # at most so many
        ("ideogram/v3-remix", {"rendering_speed": "TURBO"}, 3.5, 14),  # no page says how many without `num_images`
        ("ideogram/v3-remix", {"rendering_speed": "TURBO", "num_images": "2"}, 7, 7),
        ("ideogram/character", {"num_images": "4"}, 18, 72),  # by request in the list; each image may be paid
        ("bytedance/seedance-2", {"generate_audio": False}, 205, 205),
        ("bytedance/seedance-2", {"generate_audio": False, "reference_video_urls": ["v"]}, 125, 500),
        ("bytedance/seedance-2", {"generate_audio": False, "reference_video_urls": [""]}, 205, 205),  # no video
        ("bytedance/seedance-2", {"generate_audio": False, "duration": 4.2}, 172.2, 205),  # 4.2 s, or 5 begun ones
        ("bytedance/seedance-2", {"generate_audio": False, "duration": -1}, None, None),  # as long as KIE likes
        ("bytedance/seedance-2", {}, None, None),  # with sound, which costs more: nobody knows how much
        ("bytedance/seedance-2-mini", {"generate_audio": False, "web_search": True}, None, None),
        ("kling-3.0/video", {"mode": "std", "multi_shots": True, "sound": False}, 70, 100),  # shots always have sound
        ("kling/ai-avatar-pro", {"duration": 5}, None, None),  # as long as its sound, whatever is asked for
        ("pixverse-v6/image-to-video", {"quality": "360p", "template_id": "412736208886848"}, None, None),
        ("elevenlabs/text-to-dialogue-v3", {"dialogue": ["x" * 5000, {"text": "x"}]}, None, None),
        ("elevenlabs/text-to-speech-turbo-2-5", {"text": "\N{GRINNING FACE}" * 600}, 3.6, 12),  # 600 letters, or 1200
        ("qwen3/image-to-image", {"image_urls": ["a", "b"]}, 5.8, 5.8),
        ("seedream/5-pro-image-to-image", {"image_urls": ["a", "b", "c"]}, 8, 8),
        ("gemini-omni-video", {"duration": "6", "video_list": [{"url": "v"}]}, 168, 168),
        ("kling-3.0-omni/text-to-video", {"resolution": "4k", "audio": True, "duration": 5}, 335, 335),
        ("elevenlabs/text-to-speech-turbo-2-5", {"text": "x" * 1500}, 9, 12),
        ("hailuo/2-3-image-to-video-pro", {"resolution": "1080P", "duration": "10"}, None, None),  # KIE has no such one
        ("wan/3-0-video", {"reference_video_urls": ["v"]}, 160, 640),  # the given videos have 15 seconds at most
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
        380,
    ]
    drawn = {"size": "1:1", "prompt": "p"}
    assert [quote(OPERATIONS["gpt4o.image"], drawn | more).high for more in ({}, {"nVariants": 4})] == [6, 24]
    assert quote(OPERATIONS["flux.kontext"], {"prompt": "p", "model": "flux-kontext-max"}) == Quote(10, 10)
    assert quote(OPERATIONS["veo.extend"], {"prompt": "p", "model": "quality"}) == Quote(250, 250)
    assert quote(OPERATIONS["credit"], {}) == Quote(0, 0)
    assert str(quote(OPERATIONS["suno.cover"], {"taskId": "m"})) == "0 credits"
    assert str(quote(OPERATIONS["market"], {"model": "newer", "input": {}})) == "unknown"


@pytest.mark.parametrize(
    ("fields", "high"),
    [
        ({"prompt": "a fox"}, 8),
        ({"prompt": "a fox", "seed": 7}, 8),  # other models have it, and it changes no price of theirs
        ({"prompt": "a fox", "n": 4}, None),
        ({"prompt": "a fox", "num_frames": 400}, None),
        ({"prompt": "a fox", "upscaled_twice": True}, None),
    ],
)
def test_a_field_that_may_change_the_price_makes_it_unknown(fields: dict[str, Any], high: float | None) -> None:
    found = quote(OPERATIONS["market"], {"model": "nano-banana-2", "input": fields})
    assert found.high == high
    assert high or f"no field {list(fields)[-1]!r} of nano-banana-2" in found.why


def test_the_catalogue_is_what_its_maker_makes() -> None:
    assert catalogue.TARGET.read_text(encoding="utf-8") == catalogue.made()
    assert len(json.loads(catalogue.made())) == len(price_list())
