"""Type a prompt, and find the song and its covers in S3. When the song is ready, `music_cover` starts for it."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_kie import assets, settings
from airflow_kie.client.operations.music_limits import MODELS, TITLE
from airflow_kie.operators.suno import KieGenerateMusicOperator

with DAG(
    dag_id="music_generate",
    description="Prompt → song → music complete → (music_cover) covers in S3.",
    doc_md=__doc__,
    schedule=None,
    is_paused_upon_creation=False,
    tags=["kie", "suno", "music"],
    params={  # what may stay empty allows null: the form cannot be sent while a field without it is empty
        "prompt": Param(
            "A warm lo-fi piano loop for a late summer afternoon",
            type=["string", "null"],
            format="multiline",
            title="Prompt",
            description=(
                "What the song is about, at most 3,000 characters. "
                "In custom mode: the lyrics to sing, at most 5,000 (V4: 3,000); empty for an instrumental."
            ),
        ),
        "model": Param(
            "V6",
            type="string",
            examples=list(MODELS),
            title="Model",
            description="KIE's name of the Suno model. A name that is not listed is sent to KIE as it is.",
        ),
        "instrumental": Param(
            False, type=["boolean", "null"], title="Instrumental", description="Music without vocals."
        ),
        "negative_tags": Param(
            None,
            type=["string", "null"],
            title="Styles to avoid",
            description="Such as: heavy metal, upbeat drums.",
        ),
        "custom_mode": Param(
            False,
            type=["boolean", "null"],
            title="Custom mode",
            description="Use the prompt as the lyrics, word for word. Style and title are then required.",
            section="Custom mode",
        ),
        "style": Param(
            None,
            type=["string", "null"],
            title="Style",
            description="Genre and mood, such as: dream pop, slow, female choir. At most 1,000 characters (V4: 200).",
            section="Custom mode",
        ),
        "title": Param(
            None,
            type=["string", "null"],
            maxLength=TITLE,
            title="Title",
            description=f"Name of the song, at most {TITLE} characters.",
            section="Custom mode",
        ),
        "vocal_gender": Param(
            "any",
            type="string",
            enum=["any", "m", "f"],
            values_display={"any": "no preference", "m": "male", "f": "female"},
            title="Voice",
            description="A preference, which KIE does not always follow.",
            section="Custom mode",
        ),
        "kie_conn_id": Param(
            settings.allowed_connections()[0],
            type="string",
            examples=list(settings.allowed_connections()),
            title="KIE connection",
            description="The Airflow connection of the KIE account that pays for the song and its cover.",
        ),
    },
):
    KieGenerateMusicOperator(
        task_id="generate_music",
        prompt="{{ params.prompt or '' }}",
        model="{{ params.model }}",
        custom_mode="{{ params.custom_mode }}",
        instrumental="{{ params.instrumental }}",
        style="{{ params.style or '' }}",
        title="{{ params.title or '' }}",
        vocal_gender="{{ params.vocal_gender if params.vocal_gender in ('m', 'f') else '' }}",
        negative_tags="{{ params.negative_tags or '' }}",
        kie_conn_id="{{ params.kie_conn_id }}",
        bucket=settings.text("bucket"),
        prefix=settings.text("prefix", "songs"),
        aws_conn_id=settings.text("aws_conn_id", "aws_default"),
        deferrable=True,
        retry_delay=timedelta(seconds=10),
        outlets=[assets.MUSIC, assets.PENDING],
    )
