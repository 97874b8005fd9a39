"""Assets that DAGs schedule on: one event, with the music task id as partition, for each song."""

from __future__ import annotations

from airflow.sdk import Asset, AssetAlias

MUSIC = Asset(name="kie-suno-music", uri="kie://api.kie.ai/suno/music")
"""A song is generated. An event's partition key is its music task id; one run of `music_cover` follows for each."""

COVER = Asset(name="kie-suno-cover", uri="kie://api.kie.ai/suno/cover")
"""A song's covers are archived. An event's partition key is its music task id; its extra names the manifest."""

ARCHIVE = AssetAlias(name="kie-suno-archive")
"""The archives: an event for ``s3://<bucket>/<prefix>`` follows when something was archived there.

An alias, since the bucket is known only from the form, and since Airflow fails a task if the URI of its outlet is
declared elsewhere under another name."""

HEALTH = Asset(name="kie-health", uri="kie://api.kie.ai/health")
"""The health checks of `kie_ops`. Its asset state store keeps what was reported; each check that finds nothing new
sends an event."""
