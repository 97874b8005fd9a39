"""A DAG whose one task is made from a file at a pre-signed address, which is signed while its fields are rendered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from airflow.sdk import DAG

from airflow_kie.durable.task_state import request_key
from airflow_kie.operators.task import KieTaskOperator


def signed_address() -> str:
    """Return an address with a signature; its text stands in no file, which Airflow would store."""
    signature = hashlib.sha256(b"planted signature").hexdigest()
    return f"https://uploads.example.com/in/voice.mp3?X-Amz-Expires=3600&X-Amz-Signature={signature}"


class UploadAndCover(KieTaskOperator):
    """KIE's "Upload And Cover Audio"."""

    kind: ClassVar[str] = "suno.upload_cover"
    template_fields: Sequence[str] = (*KieTaskOperator.template_fields, "upload_url")

    def __init__(self, *, upload_url: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.upload_url = upload_url

    def request_body(self) -> Mapping[str, Any]:
        """Return the fields as KIE names them."""
        fields = {"uploadUrl": self.upload_url, "prompt": "rain", "model": "V5"}
        return {**fields, "customMode": False, "instrumental": True}

    def store_key(self) -> str:
        """Return a key of the request."""
        return request_key("upload_cover", self.request_body())


with DAG(
    dag_id="signed_upload",
    schedule=None,
    is_paused_upon_creation=False,
    user_defined_macros={"signed_address": signed_address},
):
    UploadAndCover(task_id="upload_and_cover", upload_url="{{ signed_address() }}", deferrable=True)
