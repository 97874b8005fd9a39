"""`airflow kie models`: what KIE's catalogue has."""

from __future__ import annotations

import json
from argparse import Namespace

import pytest

from airflow_kie.cli.models import models


def told(capsys: pytest.CaptureFixture[str], *words: str, as_json: bool = False) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        models(Namespace(words=list(words), json=as_json, refresh=False))
    return int(str(ended.value.code)), capsys.readouterr().out


def test_models_are_found_by_words_of_their_name_title_provider_or_media(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = told(capsys, "avatar", "kling")
    assert code == 0
    assert "kling/ai-avatar-pro  video, Kling AI Avatar Pro; 16 per second" in out.splitlines()
    assert out.splitlines()[-1] == "2 models."
    former = told(capsys, "Wan - Image to Video")[1]
    assert former.startswith("wan/2-2-a14b-image-to-video-turbo  "), "a title of the older navigation"
    assert told(capsys, "no", "such", "thing") == (1, "")
    assert told(capsys, "no", "such", "thing", as_json=True) == (1, "[]\n")


def test_a_model_is_shown_with_fields_limits_and_prices(capsys: pytest.CaptureFixture[str]) -> None:
    _, out = told(capsys, "ai-music-api/separate-vocals")
    assert "  credits: split_stem: 50 per request" in out
    assert "  type (required): string, separate_vocal | split_stem | split_stem_advanced, default separate_vocal" in out
    assert "  one of: task_id and audio_id; audio_url" in out
    assert "  stem_name is required if type is split_stem_advanced" in out
    (model,) = json.loads(told(capsys, "z-image", as_json=True)[1])
    assert model["price"]["tiers"][0]["credits"] == 0.8
