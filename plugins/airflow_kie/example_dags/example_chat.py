"""A chat model describes a picture, and an image model makes it; needs the extra ``chat`` and a connection to it."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

with DAG("example_kie_chat", schedule=None):

    @task.llm(llm_conn_id="kie_chat", model_id="claude-haiku-4-5", system_prompt="Answer with one line.")
    def describe(topic: str) -> str:
        """Return what the model is asked."""
        return f"Describe a picture about {topic}."

    @task.kie(operation="market", to="s3://my-bucket/media", deferrable=True)
    def paint(text: str) -> list[dict[str, Any]]:
        """Return the request for the picture."""
        return [{"model": "z-image", "input": {"prompt": text, "aspect_ratio": "1:1"}}]

    paint(describe("the sea at night"))
