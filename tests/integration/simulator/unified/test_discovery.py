"""KIE's own list of its models: what it holds, how fast it may be asked."""

from __future__ import annotations

import pytest

from kie_simulator.server import SimulatorServer
from kie_simulator_client import Kie

COVER = "ai-music-api/cover-generate"


def test_the_list_has_the_218_models_of_october_2026_and_can_be_searched(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(discovery_seconds=0)
    everything = kie.get("/models")["data"]
    assert everything["total"] == len(everything["models"]) == 218
    assert set(everything["models"][0]) == {
        *("model", "slug", "title", "provider", "taskType", "description", "pricingDesc"),
    }
    suno = kie.get("/models", provider="Suno", q="cover-generate")["data"]
    assert [model["model"] for model in suno["models"]] == [COVER]
    assert kie.get("/models", taskType="text-to-video")["data"]["total"] > 5


def test_a_models_schema_is_openapi_with_its_required_fields(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(discovery_seconds=0)
    data = kie.get(f"/models/{COVER}/schema")["data"]
    operation = data["openapi"]["paths"]["/api/v1/jobs/createTask"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert (data["model"], body["properties"]["input"]["required"]) == (COVER, ["task_id"])
    assert kie.get("/models/claude-opus-5/schema")["data"]["openapi"] is None
    unknown = kie.get("/models/no/such/schema")
    assert unknown["code"] == 404
    assert unknown["msg"].startswith("The model name you specified is not supported.")


def test_a_models_price_is_a_text(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(discovery_seconds=0)
    assert kie.get(f"/models/{COVER}/price")["data"] == {"model": COVER, "pricingDesc": "Generate Music Cover is free."}
    assert "12" in kie.get("/models/ai-music-api/generate/price")["data"]["pricingDesc"]


def test_a_models_success_is_told_for_a_day_in_144_steps(simulator: SimulatorServer, kie: Kie) -> None:
    points = kie.get(f"/models/{COVER}/success-rate")["data"]
    assert len(points) == 144
    assert set(points[0]) == {"start", "end", "successRate", "errorRate", "isNormal"}
    assert {point["successRate"] for point in points} == {None, 0.98}


@pytest.mark.parametrize("path", ["/models", f"/models/{COVER}/price", f"/models/{COVER}/schema"])
def test_questions_about_models_share_one_pace(simulator: SimulatorServer, kie: Kie, path: str) -> None:
    simulator.control.set(discovery_seconds=1000)
    assert kie.get("/models", q="veo")["code"] in (200, 429)
    assert kie.get(path)["code"] == 429
