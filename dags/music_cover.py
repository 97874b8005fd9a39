"""Covers for finished songs: started from the form, for an inbox file, or by an event, for all pending songs."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_kie import assets, settings
from airflow_kie._airflow_private.asset import batched
from airflow_kie.notifications.kie import deadline
from airflow_kie.task_groups.music_cover import archive_covers

with DAG(
    dag_id="music_cover",
    description="Music complete → generate cover → cover details → archive to S3.",
    doc_md=__doc__,
    # Events only wake: which songs a run takes is in the bucket. So it harms nothing that Airflow joins events that
    # come close together, and while this many runs go on, what comes meanwhile waits and becomes one run.
    schedule=batched(assets.PENDING),
    is_paused_upon_creation=False,  # Airflow drops events for a paused DAG: its songs would wait for the next one
    max_active_runs=16,
    dagrun_timeout=timedelta(days=2),
    deadline=deadline(),  # none unless `[kie] deadline_minutes` sets one
    tags=["kie", "suno", "cover"],
    params={  # what may stay empty allows null: the form marks everything else with a star and wants it filled
        "music_task_ids": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Music task ids",
            description_md=(
                "One per line, or separated by blanks, commas or quotes. "
                "You find them at [kie.ai/logs](https://kie.ai/logs); take the task id, not an audio id."
            ),
        ),
        "bucket": Param(
            settings.text("bucket"), type="string", title="Bucket", description="The S3 bucket for the files."
        ),
        "prefix": Param(
            settings.text("prefix", "songs"),
            type="string",
            title="Folder in the bucket",
            description="Each song gets its own folder in it, named by its music task id.",
        ),
        "archive_audio": Param(
            settings.flag("archive_audio"),
            type=["boolean", "null"],
            title="Audio too",
            description="Also archive the songs' audio files.",
        ),
        "archive_lyrics": Param(
            settings.flag("archive_lyrics"),
            type=["boolean", "null"],
            title="Lyrics too",
            description="Also archive the songs' lyrics, as text files.",
        ),
        "labels": Param(
            {},
            type=["object", "null"],
            title="Labels",
            description='Your own names for these songs, stored in the manifests: {"album": "A-17"}; at most 10.',
        ),
        "kie_conn_id": Param(
            settings.allowed_connections()[0],
            type="string",
            examples=list(settings.allowed_connections()),
            title="KIE connection",
            description="The Airflow connection of the KIE account that made the songs.",
        ),
        "max_credits": Param(
            None,
            type=["null", "number"],
            minimum=0,
            title="Maximum credits",
            description="The run is refused if its covers cost more by KIE's price list. Empty: no cap.",
        ),
        "batch_size": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=200,
            title="Songs per batch",
            description=(
                "Songs per task instance. Empty: one for up to 20 songs (for up to two in an event run), more for more "
                "songs."
            ),
            section="For programs",
        ),
        "songs": Param(
            [],
            type=["array", "null"],
            items={"type": "object"},  # without it the form offers lines of text
            title="Songs with labels of their own",
            description='Such as [{"music_task_id": "…", "labels": {"our_id": "A-17"}}]; the ids above may be empty.',
            section="For programs",
        ),
    },
):
    archive_covers(
        music_task_ids="{{ params.music_task_ids | tojson }}",
        bucket="{{ params.bucket }}",
        prefix="{{ params.prefix }}",
        archive_audio="{{ params.archive_audio }}",
        archive_lyrics="{{ params.archive_lyrics }}",
        labels="{{ (params.labels or {}) | tojson }}",
        kie_conn_id="{{ params.kie_conn_id }}",
        max_credits="{{ '' if params.max_credits is none else params.max_credits }}",
        batch_size="{{ params.batch_size or '' }}",
        songs="{{ (params.songs or []) | tojson }}",
    )
