"""What the simulator's tests share: a client that speaks KIE's HTTP by hand, without the provider's client."""

from __future__ import annotations

from typing import Any

import httpx

from kie_simulator.control_client import certificates
from kie_simulator.server import SimulatorServer

CALLBACK = "https://callback.invalid/kie"
UNIFIED_SONG = {
    "custom_mode": True,
    "instrumental": False,
    "model": "V6",
    "style": "pop",
    "title": "Rain",
    "lyrics": "la la",
}
TIMEOUT = 200.0
"""Seconds for an answer: a cover takes seconds to be drawn on a busy machine."""


class Kie:
    """A KIE client without any cleverness."""

    def __init__(self, server: SimulatorServer, api_key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {api_key or server.api_key}"}
        common: dict[str, Any] = {"verify": certificates(), "trust_env": False, "timeout": TIMEOUT}
        self.http = httpx.Client(base_url=f"{server.url}/api/v1", headers=headers, **common)
        self.files = httpx.Client(headers={"User-Agent": "Mozilla/5.0"}, **common)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.post(path, json=body).json()
        return answer

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get(path, params=query).json()
        return answer

    def generate(self, **changes: Any) -> dict[str, Any]:
        body = {"prompt": "rain on a tin roof", "customMode": False, "instrumental": False, "model": "V5"}
        return self.post("/generate", **body | {"callBackUrl": CALLBACK} | changes)

    def music(self, task_id: str) -> Any:
        return self.get("/generate/record-info", taskId=task_id)["data"]

    def create_cover(self, music_task_id: str, **changes: Any) -> dict[str, Any]:
        return self.post("/suno/cover/generate", **{"taskId": music_task_id, "callBackUrl": CALLBACK} | changes)

    def cover(self, task_id: str) -> Any:
        return self.get("/suno/cover/record-info", taskId=task_id)["data"]

    def create(self, model: str, given: dict[str, Any], **others: Any) -> dict[str, Any]:
        """Ask for a task in the unified form."""
        return self.post("/jobs/createTask", model=model, input=given, **others)

    def record(self, task_id: str) -> Any:
        """Return a task of the unified form."""
        return self.get("/jobs/recordInfo", taskId=task_id)["data"]

    def song_ids(self, server: SimulatorServer, form: str = "unified") -> dict[str, str]:
        """Return the ids of a finished song that was made in a form, in the unified form's spelling."""
        task_id = server.control.make_music("Rain", form=form)[0].task_id
        if form == "unified":
            tracks = self.record(task_id)["response"]["data"]
        else:
            tracks = self.music(task_id)["response"]["sunoData"]
        return {"task_id": task_id, "audio_id": tracks[0]["id"]}

    def download(self, url: str, **headers: str) -> httpx.Response:
        return self.files.get(url, headers=headers)

    def close(self) -> None:
        self.http.close()
        self.files.close()
