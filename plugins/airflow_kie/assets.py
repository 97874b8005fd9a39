"""Assets that DAGs schedule on: mostly one event, with the music task id as partition, for each song."""

from __future__ import annotations

from airflow.sdk import AssetAlias

from airflow_kie._airflow_private.asset import cheap_asset

MUSIC = cheap_asset("kie-suno-music", "kie://api.kie.ai/suno/music")
"""A song is generated. An event's partition key is its music task id: your own DAG can run once for each."""

PENDING = cheap_asset("kie-suno-pending", "kie://api.kie.ai/suno/pending")
"""Songs are pending. Its events have no partition and start `music_cover`: a run takes all pending songs that no run
works on, so a burst of events makes few runs of many songs. An event's extra can name songs as ``music_task_id`` or
``music_task_ids``, with their options: ``kie_conn_id``, ``labels``, ``archive_audio``, ``archive_lyrics``."""

COVER = cheap_asset("kie-suno-cover", "kie://api.kie.ai/suno/cover")
"""A song's covers are archived. An event's partition key is its music task id; its extra names the manifest."""

CHOSEN = cheap_asset("kie-suno-chosen", "kie://api.kie.ai/suno/chosen")
"""Somebody has chosen a cover or a take of a song, or rejected them. An event's partition key is its music task id; its
extra says what was chosen and by whose account. Events are only sent if a DAG is scheduled on the asset."""

DELIVERED = cheap_asset("kie-suno-delivered", "kie://api.kie.ai/suno/delivered")
"""A release's folder is new or has changed. An event's partition key is the release's name; its extra names the
manifest and counts the missing metadata."""

ARCHIVE = AssetAlias(name="kie-suno-archive")
"""The archives: an event for ``s3://<bucket>/<prefix>`` is sent when something was archived there.

It is an alias because the bucket may come from the trigger form, and because Airflow fails a task if another asset with
the URI of its outlet has a different name."""

HEALTH = cheap_asset("kie-health", "kie://api.kie.ai/health")
"""The health checks of `kie_ops`. Its asset state store keeps what was reported; each check without a new finding sends
an event."""
