"""A function makes requests from another task's output: its texts reach KIE unchanged."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

with DAG("example_kie_decorator", schedule=None):

    @task
    def scenes() -> list[str]:
        """Return what to paint; in practice it would come from a database."""
        return ["a fox, 50 % in shadow", "a {{ curly }} tail"]

    @task.kie(operation="market", to="s3://my-bucket/media", deferrable=True)
    def paint(texts: list[str]) -> list[dict[str, Any]]:
        """Return a request for each."""
        return [{"model": "z-image", "input": {"prompt": text, "aspect_ratio": "1:1"}} for text in texts]

    paint(scenes())
