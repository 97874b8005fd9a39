"""Assets that cost a task process nothing: a DAG file makes them, and every task process parses its DAG file."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset


def cheap_asset(name: str, uri: str = "") -> Asset:
    """Return an asset with a URI that is normalized already.

    For every URI with a scheme Airflow asks the provider of the scheme to normalize it, and for that scans all
    providers and imports the URI handlers of all of them: Amazon's alone brings boto3, 0.2 to 0.3 processor-seconds.
    Airflow 3.3.2: a URI without a scheme is taken as it is, and the field can be set past its converter. Without that
    the asset is made in the public way, which costs time and changes nothing.

    :param name: the asset's name.
    :param uri: its URI; empty: the name.
    """
    asset = Asset(name=name)
    try:
        object.__setattr__(asset, "uri", uri or name)
    except AttributeError:
        return Asset(name=name, uri=uri or name)
    return asset


def batched(asset: Asset) -> Any:
    """Return the schedule of a DAG that one run starts for all events of an asset that have come by then.

    Airflow 3.3.2: what a list of assets means. In 3.4 each event has a run of its own unless the timetable
    `sdk.definitions.timetables.assets.AssetTriggeredTimetable` says otherwise. Without it a flood of events makes as
    many runs, most of which find nothing to take.

    :param asset: the asset.
    """
    from airflow.sdk.definitions.timetables.assets import AssetTriggeredTimetable

    try:
        return AssetTriggeredTimetable(assets=asset, batch_asset_events=True)  # type: ignore[call-arg]
    except TypeError:
        return [asset]
