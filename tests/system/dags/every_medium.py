"""One of each medium and the awkward ones, a table whose worker dies twice, extras whose worker dies in the create."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_kie import settings
from airflow_kie.lifecycle import crash_points
from airflow_kie.operators.call import KieCallOperator
from airflow_kie.operators.lists import archive as list_archive
from airflow_kie.operators.lists import task_list
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.task_groups.song_extras import song_extras
from airflow_kie.transfers.results_to_s3 import KieResultsToS3Operator

MEDIA = "kie_media"
"""A connection that names the unified form."""
PLACE = {"bucket": settings.text("bucket"), "prefix": "media"}
PROMPTLY = {"kie_conn_id": MEDIA, "poll_interval": 2, "deferrable": True, "retry_delay": timedelta(seconds=1)}


def dying_once(context: Any, name: str, after: int = 1) -> Callable[[], None]:
    """Return what kills this process when it is called for the so many-th time, once in a run."""
    run = hashlib.sha256(context["run_id"].encode()).hexdigest()[:16]
    killed, calls = Path(os.environ["AIRFLOW_HOME"], f"killed-{name}-{run}"), [0]

    def kill() -> None:
        calls[0] += 1
        if calls[0] == after:
            with contextlib.suppress(FileExistsError):
                killed.touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)

    return kill


def dies_creating_and_archiving(context: Any) -> None:
    """Let the table's process be killed among its creates, and the one that goes on among its files."""
    task_list.LINGER_SECONDS = 2.0
    task_list.SENDING = 1  # no other request is under way then: what is not answered would be in doubt
    crash_points.at("after task", dying_once(context, "creating", 20))
    kill, archive_task = dying_once(context, "archiving", 25), list_archive.archive_task

    def archive_or_die(*args: Any, **known: Any) -> Any:
        kill()
        return archive_task(*args, **known)

    list_archive.archive_task = archive_or_die


def dies_in_the_create_of_a_wav(context: Any) -> None:
    """Let the process that makes the WAV be killed directly after KIE has named its task."""
    task_list.LINGER_SECONDS = 1.0
    if context["ti"].task_id.rpartition(".")[2] == "wav":
        crash_points.at("after task", dying_once(context, "wav"))


with DAG(
    dag_id="every_medium",
    schedule=None,
    is_paused_upon_creation=False,
    params={"song": Param("", type="string"), "table": Param("", type="string")},
):

    @task
    def track(song: str) -> str:
        """Return KIE's id of a song's first track."""
        from airflow_kie.hooks.kie import KieHook

        return str(KieHook(MEDIA).wait("suno.music", song).tracks[0].audio_id)

    take = {"taskId": "{{ params.song }}", "audioId": track("{{ params.song }}")}
    clip = KieTaskOperator(
        task_id="clip", operation="veo.generate", request={"prompt": "a fox", "model": "veo3_fast"}, **PROMPTLY
    )
    made = {
        "veo.generate": clip,
        "veo.4k": KieTaskOperator(
            task_id="clip_4k", operation="veo.4k", request={"taskId": clip.output, "index": 0}, **PROMPTLY
        ),
        "suno.lyrics": KieTaskOperator(
            task_id="words", operation="suno.lyrics", request={"prompt": "rain"}, **PROMPTLY
        ),
        "suno.stems": KieTaskOperator(
            task_id="stems", operation="suno.stems", request={**take, "type": "split_stem"}, **PROMPTLY
        ),
    }
    for operation, maker in made.items():
        KieResultsToS3Operator(
            task_id=f"archive_{maker.task_id}",
            operation=operation,
            kie_task_id=maker.output,
            kie_conn_id=MEDIA,
            retry_delay=timedelta(seconds=1),
            **PLACE,
        )
    persona = {**take, "name": "Ada", "description": "a clear voice"}
    KieCallOperator(task_id="persona", operation="suno.persona", request=persona, kie_conn_id=MEDIA)
    KieCallOperator(task_id="timed_lyrics", operation="suno.timestamped_lyrics", request=take, kie_conn_id=MEDIA)
    KieTaskOperator(
        task_id="table",
        operation="market",
        request={"model": "z-image", "input": {"aspect_ratio": "1:1"}},
        requests="{{ params.table }}",
        key_field="id",
        to=f"s3://{PLACE['bucket']}/{PLACE['prefix']}",
        pre_execute=dies_creating_and_archiving,
        retries=4,
        **PROMPTLY,
    )

with DAG(
    dag_id="extras_killed",
    schedule=None,
    is_paused_upon_creation=False,
    params={"song": Param("", type="string")},
    default_args={"pre_execute": dies_in_the_create_of_a_wav},
):
    song_extras(
        "{{ params.song }}",
        extras=["wav", "timed_lyrics"],
        bucket=settings.text("bucket"),
        prefix=settings.text("prefix"),
    )
