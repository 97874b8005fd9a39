"""Make a release for a distributor from archived songs: untagged WAVs, tagged MP3s, a cover of 3000 pixels, metadata.

It uses the takes and covers that you have chosen on the songs' pages, else the first ones. A WAV costs 0.4 credits, a
cover enlarged by KIE up to 20, and each is paid for once; nothing else costs anything. docs/guides/deliver.md lists the
files in `release/<name>/`, and how to compare them with distributors' rules.
"""

from airflow.sdk import DAG, Param, PartitionedAssetTimetable

from airflow_kie import assets, settings
from airflow_kie.task_groups.deliver_songs import deliver_songs

with DAG(
    dag_id="deliver_songs",
    description="Chosen songs → WAV, larger cover → a release's folder in S3.",
    doc_md=__doc__,
    is_paused_upon_creation=False,  # Airflow drops events for a paused DAG
    schedule=PartitionedAssetTimetable(assets=assets.CHOSEN) if settings.flag("deliver_chosen") else None,
    tags=["kie", "suno", "release"],
    params={  # what may stay empty allows null: the form cannot be sent while a field without it is empty
        "release": Param(
            None,
            type=["string", "null"],
            title="Name of the release",
            description="It becomes the name of its folder. Letters, digits, blanks and -_.,&'()+!",
        ),
        "songs": Param(
            [],
            type=["array", "null"],
            items={"type": "string"},
            title="Songs",
            description="Music task ids, one on each line, in the order of the tracks.",
        ),
        "credits": Param(
            {},
            type=["object", "null"],
            title="Metadata",
            description='Such as {"title": "…", "artist": "…", "genre": "Pop", "language": "en", "explicit": false, '
            '"writers": [{"name": "…"}], "p_line": "2026 …", "c_line": "2026 …", "release_date": "2026-12-24"}. '
            "What is missing is listed in metadata.json.",
        ),
        "wav": Param(
            True,
            type=["boolean", "null"],
            title="WAV",
            description="Ask KIE for a WAV of each take: 0.4 credits each, paid for once. Distributors refuse MP3.",
        ),
        "upscale": Param(
            False,
            type=["boolean", "null"],
            title="Larger cover by KIE",
            description="Let KIE's Topaz enlarge the cover: up to 20 credits, paid for once. Otherwise it is enlarged "
            "here, which costs nothing.",
        ),
        "tracks": Param(
            [],
            type=["array", "null"],
            items={"type": "object"},
            title="Tracks with takes, titles and ISRCs of their own",
            description='Instead of the songs above: [{"song": "…", "take": 2, "cover": 1, "title": "…", "isrc": "…"}]',
            section="For programs",
        ),
        "kie_conn_id": Param(
            settings.allowed_connections()[0],
            type="string",
            examples=list(settings.allowed_connections()),
            title="KIE connection",
            description="The Airflow connection of the KIE account that made the songs.",
        ),
    },
):
    deliver_songs(
        release="{{ params.release or '' }}",
        songs="{{ (params.tracks or params.songs or []) | tojson }}",
        credits="{{ (params.credits or {}) | tojson }}",
        wav="{{ params.wav }}",
        upscale="{{ params.upscale }}",
        kie_conn_id="{{ params.kie_conn_id }}",
    )
