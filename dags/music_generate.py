"""Type a prompt; find the song and its covers in S3. The song's success starts `music_cover` for it."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_kie import assets, settings
from airflow_kie.client.music_limits import MODELS, TITLE
from airflow_kie.operators.suno import KieGenerateMusicOperator

with DAG(
    dag_id="music_generate",
    description="Prompt → song → music complete → (music_cover) covers in S3.",
    doc_md=__doc__,
    schedule=None,
    is_paused_upon_creation=False,
    tags=["kie", "suno", "music"],
    params={
        "prompt": Param(
            "A warm lo-fi piano loop for a late summer afternoon",
            type="string",
            format="multiline",
            title="Prompt",
            description="What the song is about, at most 3,000 characters. In custom mode with vocals: the lyrics.",
        ),
        "model": Param("V5", type="string", examples=list(MODELS), title="Model"),
        "instrumental": Param(False, type="boolean", title="Instrumental", description="No vocals."),
        "custom_mode": Param(
            False,
            type="boolean",
            title="Custom mode",
            description="Take style and title as they are and the prompt as lyrics; style and title are needed then.",
            section="Custom mode",
        ),
        "style": Param("", type="string", title="Style", description="Genre and mood.", section="Custom mode"),
        "title": Param("", type="string", maxLength=TITLE, title="Title", section="Custom mode"),
        "vocal_gender": Param(
            "",
            type="string",
            enum=["", "m", "f"],
            values_display={"": "no preference", "m": "male", "f": "female"},
            title="Voice",
            description="A hint.",
            section="Custom mode",
        ),
        "negative_tags": Param("", type="string", title="Not this", description="Styles to avoid."),
        "kie_conn_id": Param(
            settings.allowed_connections()[0],
            type="string",
            examples=list(settings.allowed_connections()),
            title="KIE connection",
            description="The account that pays.",
        ),
    },
):
    KieGenerateMusicOperator(
        task_id="generate_music",
        prompt="{{ params.prompt }}",
        model="{{ params.model }}",
        custom_mode="{{ params.custom_mode }}",
        instrumental="{{ params.instrumental }}",
        style="{{ params.style }}",
        title="{{ params.title }}",
        vocal_gender="{{ params.vocal_gender }}",
        negative_tags="{{ params.negative_tags }}",
        kie_conn_id="{{ params.kie_conn_id }}",
        bucket=settings.text("bucket"),
        prefix=settings.text("prefix", "songs"),
        aws_conn_id=settings.text("aws_conn_id", "aws_default"),
        deferrable=True,
        retry_delay=timedelta(seconds=10),
        outlets=[assets.MUSIC],
    )
