"""The assets that the chain consumes and produces; a partition of each is one music task."""

from __future__ import annotations

from airflow.sdk import Asset

MUSIC = Asset(name="kie-suno-music", uri="kie://api.kie.ai/suno/music")
"""A song is generated. An event's partition key is its music task id; one run of `music_cover` follows for each."""

COVER = Asset(name="kie-suno-cover", uri="kie://api.kie.ai/suno/cover")
"""A song's covers are archived. An event's partition key is its music task id."""
