"""Make extras of archived songs: a WAV, vocals and instrumental, stems, MIDI, timestamped lyrics, a music video, a
longer version.

The files are stored in the song's folder, below `extras/`, and listed in its manifest; the song's page shows and plays
them. Each extra of a take is paid for once, even if it is requested again. Prices per take:

| extra | credits |
|---|---|
| `wav` | 0.4 |
| `vocals`: vocals and instrumental | 10 |
| `stems`: each instrument | 50 |
| `midi` | 0; it is made from stems or vocals, and if there are none, vocals are made too |
| `timed_lyrics`: when each word is sung | 0.5 |
| `video` | 2 |
| `extended`: a longer version, as two new tracks | 12 |
| `another_cover`: an image model draws one from the song's texts; each run makes a new one | 0.8 |

With `[kie] song_extras = wav, timed_lyrics` every song gets those as soon as its covers are archived.
"""

from airflow.sdk import DAG, Param, PartitionedAssetTimetable

from airflow_kie import assets, settings
from airflow_kie.task_groups.song_extras import song_extras

OFFERED = {
    "wav": "WAV, 0.4 credits",
    "vocals": "Vocals and instrumental, 10 credits",
    "stems": "Stems of each instrument, 50 credits",
    "midi": "MIDI, 0 credits, plus 10 for vocals if there are no stems",
    "timed_lyrics": "Timestamped lyrics, 0.5 credits",
    "video": "Music video, 2 credits",
    "extended": "Extended version, 12 credits",
    "another_cover": "Another cover by an image model, 0.8 credits",
}
EACH_SONG = [name for name in settings.text("song_extras").replace(",", " ").split() if name]

with DAG(
    dag_id="song_extras",
    description="Archived songs → WAV, stems, MIDI, timestamped lyrics, video → the song's folder in S3.",
    doc_md=__doc__,
    is_paused_upon_creation=False,  # Airflow drops events for a paused DAG
    schedule=PartitionedAssetTimetable(assets=assets.COVER) if EACH_SONG else None,
    tags=["kie", "suno", "extras"],
    params={  # what may stay empty allows null: the form cannot be sent while a field without it is empty
        "songs": Param(
            [],
            type=["array", "null"],
            items={"type": "string"},
            title="Songs",
            description="Music task ids of archived songs, one on each line.",
        ),
        "extras": Param(
            EACH_SONG or ["wav"],
            type="array",
            items={"type": "string"},
            examples=list(OFFERED),
            values_display=OFFERED,
            title="Extras",
            description="What to make of each song. Prices are per take.",
        ),
        "take": Param(
            "chosen",
            type="string",
            examples=["chosen", "all", "1", "2"],
            values_display={"chosen": "the chosen one, else the first", "all": "all of them"},
            title="Take",
            description="Which takes of each song to use.",
        ),
        "kie_conn_id": Param(
            None,
            type=["string", "null"],
            examples=list(settings.allowed_connections()),
            title="KIE connection",
            description="The Airflow connection of the KIE account that made the songs. Empty: as their manifests say.",
        ),
    },
):
    song_extras(
        "{{ (params.songs or []) | tojson }}",
        extras="{{ params.extras | tojson }}",
        take="{{ params.take }}",
        kie_conn_id="{{ params.kie_conn_id or '' }}",
    )
