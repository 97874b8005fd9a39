"""Assets whose URI is not normalized once more."""

from __future__ import annotations

import pytest
from airflow.sdk import Asset

from airflow_kie import assets
from airflow_kie._airflow_private.asset import cheap_asset


@pytest.mark.parametrize(
    "asset", [assets.MUSIC, assets.PENDING, assets.COVER, assets.HEALTH, cheap_asset("s3://bucket/songs")]
)
def test_an_asset_is_the_one_that_airflow_makes_of_its_name_and_uri(asset: Asset) -> None:
    assert asset == Asset(name=asset.name, uri=asset.uri)


def test_an_asset_whose_uri_cannot_be_set_is_made_in_the_public_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_kie._airflow_private.asset.Asset", Frozen)
    assert cheap_asset("name", "kie://host/path").uri == "kie://host/path"


class Frozen:
    """An asset without a field ``uri`` that could be set."""

    __slots__ = ("_uri",)

    def __init__(self, name: str, uri: str = "") -> None:
        """Make one."""
        object.__setattr__(self, "_uri", uri)

    @property
    def uri(self) -> str:
        """Its URI."""
        return str(self._uri)
