"""A DAG whose tasks, on all workers at once, ask KIE for new tasks as fast as their connection's limiter lets them."""

from __future__ import annotations

from airflow.sdk import DAG, task

TASKS = 4
CREATES = 12
"""By each task: 48 in all, more than KIE takes of an account in 20 seconds."""

with DAG(dag_id="create_burst", schedule=None, is_paused_upon_creation=False):

    @task
    def create_music(number: int) -> int:
        from airflow_kie.client.account import NO_CALLBACK_URL  # nobody is to make covers of these
        from airflow_kie.client.answers import Created
        from airflow_kie.client.registry import task_kind
        from airflow_kie.hooks.kie import KieHook

        hook = KieHook()
        kie, limiter, made = hook.get_conn(), hook.limiter(), 0
        body = {"prompt": f"rain {number}", "customMode": False, "instrumental": False, "model": "V5"}
        while made < CREATES:
            if limiter.acquire(60.0).granted:
                answer = kie.create(task_kind("suno.music"), body, {}, NO_CALLBACK_URL)
                assert isinstance(answer, Created), answer  # a refused one says here why
                made += 1
        return made

    create_music.expand(number=list(range(TASKS)))
