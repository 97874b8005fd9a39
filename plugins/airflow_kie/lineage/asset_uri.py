"""What Airflow asks of a provider about URIs of its own scheme: ``kie://api.kie.ai/suno/music`` and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    from airflow.sdk import Asset
    from openlineage.client.event_v2 import Dataset


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check and normalize a URI of the scheme ``kie``.

    :param uri: its parts; Airflow has taken trailing slashes off.
    :raises ValueError: when it names no host or nothing at it.
    """
    if not uri.netloc or not uri.path.strip("/"):
        raise ValueError(f"{uri.geturl()} is not an asset of KIE; an example is kie://api.kie.ai/suno/music")
    return uri._replace(netloc=uri.netloc.lower())


def to_openlineage(asset: Asset, lineage_context: Any) -> Dataset:
    """Return an asset at KIE as OpenLineage names it: namespace ``kie://api.kie.ai``, name ``suno/music``.

    :param asset: the asset.
    :param lineage_context: the hook that used it; not needed.
    """
    from openlineage.client.event_v2 import Dataset

    uri = urlsplit(asset.uri)
    return Dataset(namespace=f"{uri.scheme}://{uri.netloc}", name=uri.path.strip("/"))
