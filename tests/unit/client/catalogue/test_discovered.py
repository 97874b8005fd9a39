"""KIE's answers about its models, read into rows, and those beside the package's catalogue."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_kie.client.catalogue.discovered import Discovered, listed, with_schema
from airflow_kie.client.catalogue.models import models
from airflow_kie.client.catalogue.widened import changes, combined, stricter
from airflow_kie.client.errors import KieBadAnswer
from kie_simulator.server import SimulatorServer
from kie_simulator_client import Kie

ONE = Discovered("zeta/paint", "Zeta Paint")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "enum", "properties", "required", "items", "oneOf", "$ref", "maximum", "default"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def schema(given: Any, path: str = "/api/v1/jobs/createTask", **document: Any) -> dict[str, Any]:
    body = {"type": "object", "properties": {"model": {}, "input": given}}
    operation = {"requestBody": {"content": {"application/json": {"schema": body}}}}
    return {"model": ONE.model, "openapi": {"paths": {path: {"post": operation}}, **document}}


def test_what_kie_tells_of_each_model_agrees_with_the_packages_catalogue(kie: SimulatorServer) -> None:
    """The simulator describes the same models by its own code: nothing is lost or misread on the way."""
    kie.control.set(discovery_seconds=0)
    client, own = Kie(kie), models()
    found = listed(client.get("/models")["data"], "now")
    assert len(found) == 218
    discovered = {one.model: with_schema(one, client.get(f"/models/{one.model}/schema")["data"]) for one in found}
    client.close()
    after = combined(own, discovered)
    assert [line for name in discovered for line in changes(own[name], after[name])] == []
    assert [line for name, one in discovered.items() for line in stricter(own[name], one)] == []
    assert {name for name, one in discovered.items() if one.endpoint} == {n for n in discovered if not own[n].is_market}
    assert [Discovered.from_json(one.to_json()) for one in discovered.values()] == list(discovered.values())
    unknown = combined({}, discovered)
    for name, model in after.items():
        if model.is_market and "text_max_length" not in str(model.fields):  # which is no word of OpenAPI
            assert set(model.required) <= set(unknown[name].required), name
            assert unknown[name].fields == model.fields, name


def test_alternatives_are_read_as_sets_of_fields_of_which_one_is_needed() -> None:
    branches = [
        {"required": ["prompt", "task_id", "audio_id"], "properties": {"task_id": {"type": "string"}}},
        {"required": ["prompt", "upload_url"], "properties": {"upload_url ": {"type": "string", "format": "uri"}}},
    ]
    discovered = with_schema(ONE, schema({"properties": {"prompt": {"type": "string"}}, "oneOf": branches}))
    assert (discovered.required, discovered.one_of) == (("prompt",), (("audio_id", "task_id"), ("upload_url",)))
    assert list(discovered.fields) == ["prompt", "task_id", "upload_url"]


def test_odd_rules_of_kies_pages_are_read_without_harm() -> None:
    parts = {"components": {"schemas": {"Tempo": {"type": ["integer", "null"], "minimum": 1, "maximum": 300}}}}
    discovered = with_schema(
        ONE,
        schema(
            {
                "properties": {
                    "tempo": {"$ref": "#/components/schemas/Tempo"},
                    "loop": {"$ref": "#/paths"},
                    "key": {"type": "string", "enum": ["C", "D", None], "default": "Any"},
                    "seed": {"type": "integer", "default": None, "maximum": True},
                    "urls": {"type": "array", "maxItems": 2, "items": {"type": "string", "format": "uri"}},
                }
            },
            **parts,
        ),
    )
    assert discovered.fields == {
        "tempo": {"type": "integer", "min": 1, "max": 300},
        "loop": {},
        "key": {"type": "string", "enum": ["C", "D", "Any"], "default": "Any"},
        "seed": {"type": "integer"},
        "urls": {"type": "array", "max_items": 2, "items": {"type": "string", "format": "uri"}},
    }
    assert discovered.required is None  # it does not say: what the package requires stays
    assert combined(models(), {"z-image": discovered})["z-image"].required == models()["z-image"].required


@pytest.mark.parametrize("data", [None, [], {}, {"models": None}, {"models": "x"}])
def test_a_list_that_is_none_is_an_error(data: Any) -> None:
    with pytest.raises(KieBadAnswer, match="list of models"):
        listed(data, "now")


@pytest.mark.parametrize("name", ["", "../credit", "a/../b", "a b", "a\nb", "/a", "x" * 201, 7, None])
def test_a_name_that_can_be_no_part_of_a_path_is_left_out(name: Any) -> None:
    assert listed({"models": [{"model": name}, 3, {"model": "z-image", "taskType": ["text-to-image"]}]}, "now") == [
        Discovered("z-image", media="image", read_at="now")
    ]


@given(value=VALUES)
def test_whatever_a_schema_holds_it_is_read_or_refused_in_a_sentence(value: Any) -> None:
    try:
        discovered = with_schema(ONE, schema(value))
    except KieBadAnswer:
        return
    for own in (models()["z-image"], None):
        after = combined({ONE.model: own} if own else {}, {ONE.model: discovered})[ONE.model]
        assert all(isinstance(line, str) for line in changes(own, after))
        assert not own or all(isinstance(line, str) for line in stricter(own, discovered))
    assert Discovered.from_json(discovered.to_json()) == discovered


def test_a_model_that_is_called_elsewhere_has_no_fields_and_says_where() -> None:
    assert with_schema(ONE, {"openapi": None}).endpoint == "?"
    assert with_schema(ONE, schema({}, "/claude/v1/messages")).endpoint == "/claude/v1/messages"
