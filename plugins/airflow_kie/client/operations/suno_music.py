"""Suno's other ways to make music of something (docs.kie.ai suno-api).

They can be requested in both API variants, the recovery in the dedicated one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airflow_kie.client import errors
from airflow_kie.client.operations.operation import Form, Medium, Parent, ResultRow, TaskOperation
from airflow_kie.client.operations.suno import MADE_SONGS, MUSIC, SONGS
from airflow_kie.client.operations.unified import in_both_forms


def _music(name: str, title: str, *required: str, **more: Any) -> TaskOperation:
    """Return the row of an operation that makes songs, and is read where songs are read."""
    dedicated = replace(
        MUSIC.in_form(Form.DEDICATED),
        name=f"suno.{name}",
        title=title,
        page=f"suno-api/{name.replace('_', '-')}",
        create=f"/api/v1/generate/{name.replace('_', '-')}",
        required=required,
        defaults={},
        shape_known=False,
        **more,
    )
    model = f"ai-music-api/{name.replace('_', '-')}"
    return in_both_forms(dedicated, model, MADE_SONGS, **SONGS, unsent=frozenset({"customMode"}))


ADD_INSTRUMENTAL = _music("add_instrumental", "Add Instrumental to Music", "uploadUrl", "title", "negativeTags", "tags")
ADD_VOCALS = _music("add_vocals", "Add Vocals to Music", "uploadUrl", "title", "negativeTags", "style")
REPLACE_SECTION = _music(
    "replace_section",
    "Replace Music Section",
    *("taskId", "audioId", "prompt", "tags", "title", "infillStartS", "infillEndS", "fullLyrics"),
    parent=Parent("taskId", "suno.music"),
    once_per=("taskId", "audioId"),
    by_request=True,
)
MASHUP = _music("mashup", "Generate Mashup Music", "uploadUrlList", "customMode", "model")
SOUNDS = _music("sounds", "Generate Sounds", "prompt")
RECOVERY = TaskOperation(
    name="suno.recovery",
    title="Suno Recovery Audio",
    page="suno-api/recovery",
    create="/api/v1/suno/recovery",
    details="/api/v1/suno/recovery/record-info",
    parent=Parent("task_id", "suno.music"),
    once_per=("task_id",),
    required=("task_id",),
    state_path="status",
    states=MUSIC.states,
    # No page shows what it answers: a success in which no song is found is finished with KIE's answer itself.
    results=(ResultRow("track", "to_array(from_json(response).sunoData)[].audioUrl", Medium.AUDIO, required=False),),
    details_errors={201: errors.KieTaskNotShown},  # a client's word for "pending", however long that lasts
)
