"""Covers for finished songs: one run for a form, an inbox file or an event; each song goes its own way."""

from datetime import timedelta

from airflow.sdk import DAG, Param, PartitionedAssetTimetable

from airflow_kie import assets, settings
from airflow_kie.chain import archive_covers

with DAG(
    dag_id="music_cover",
    description="Music complete → generate cover → cover details → archive to S3.",
    doc_md=__doc__,
    # One run for each music task id. A plain asset schedule joins events that come close together and drops songs.
    schedule=PartitionedAssetTimetable(assets=assets.MUSIC),
    is_paused_upon_creation=False,  # Airflow drops events for a paused DAG
    max_active_runs=64,  # 16 by default: 13 songs a minute, where KIE allows 120
    dagrun_timeout=timedelta(days=2),
    tags=["kie", "suno", "cover"],
    params={
        "music_task_ids": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Music task ids",
            description_md=(
                "One on each line, or pasted as they come: blanks, commas and quotes are taken as separators. "
                "You find them at [kie.ai/logs](https://kie.ai/logs); they are task ids, not audio ids."
            ),
        ),
        "bucket": Param(settings.text("bucket"), type="string", title="Bucket", description="Where to archive."),
        "prefix": Param(settings.text("prefix", "songs"), type="string", title="Prefix", description="Folder there."),
        "archive_audio": Param(
            settings.flag("archive_audio"), type="boolean", title="Audio too", description="Archive the tracks as well."
        ),
        "archive_lyrics": Param(
            settings.flag("archive_lyrics"),
            type="boolean",
            title="Lyrics too",
            description="Archive the lyrics as well.",
        ),
        "labels": Param(
            {},
            type="object",
            title="Labels",
            description='Your own names for these songs, kept in the manifest, such as {"album": "A-17"}; at most 10.',
        ),
        "kie_conn_id": Param(
            settings.allowed_connections()[0],
            type="string",
            examples=list(settings.allowed_connections()),
            title="KIE connection",
            description="The account that made the songs.",
        ),
        "songs": Param(
            [],
            type="array",
            title="Songs with labels of their own",
            description='For programs: [{"music_task_id": "…", "labels": {"our_id": "…"}}].',
        ),
    },
):
    archive_covers(
        music_task_ids="{{ params.music_task_ids | tojson }}",
        bucket="{{ params.bucket }}",
        prefix="{{ params.prefix }}",
        archive_audio="{{ params.archive_audio }}",
        archive_lyrics="{{ params.archive_lyrics }}",
        labels="{{ params.labels | tojson }}",
        kie_conn_id="{{ params.kie_conn_id }}",
        songs="{{ params.songs | tojson }}",
    )
