"""A DAG whose one task is made from a file at a pre-signed address, which is signed while its fields are rendered."""

from __future__ import annotations

import hashlib

from airflow.sdk import DAG

from airflow_kie.operators.task import KieTaskOperator


def signed_address() -> str:
    """Return an address with a signature; its text stands in no file, which Airflow would store."""
    signature = hashlib.sha256(b"planted signature").hexdigest()
    return f"https://uploads.example.com/in/voice.mp3?X-Amz-Expires=3600&X-Amz-Signature={signature}"


with DAG(
    dag_id="signed_upload",
    schedule=None,
    is_paused_upon_creation=False,
    user_defined_macros={"signed_address": signed_address},
):
    KieTaskOperator(
        task_id="upload_and_cover",
        operation="suno.upload_cover",
        request={
            "uploadUrl": "{{ signed_address() }}",
            "prompt": "rain",
            "model": "V5",
            "customMode": False,
            "instrumental": True,
        },
        deferrable=True,
    )
