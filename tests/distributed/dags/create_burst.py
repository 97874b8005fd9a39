"""A DAG whose tasks, on all workers at once, ask KIE for new tasks as fast as their connection's limiter lets them."""

from __future__ import annotations

from airflow.sdk import DAG, task

TASKS = 6
"""More than the slots of a worker: one alone cannot take them all."""
CREATES = 7
"""By each task: 42 in all, more than KIE takes of an account in 20 seconds."""

with DAG(dag_id="create_burst", schedule=None, is_paused_upon_creation=False):

    @task
    def create_music(number: int) -> dict[str, int]:
        """Ask for `CREATES` new tasks.

        :return: ``held_back``: how often the limiter gave no permit; ``late``: creates that were under way, from asking
            for the permit to KIE's answer, for longer than the limiter's margin; ``rejected``: those KIE answered 429.
        """
        import time

        from airflow_kie.client.account import NO_CALLBACK_URL  # nobody is to make covers of these
        from airflow_kie.client.answers.decode import Created, Refused
        from airflow_kie.client.errors import KieRateLimited
        from airflow_kie.client.operations.registry import task_kind
        from airflow_kie.client.rate_limiter.limiter import MARGIN
        from airflow_kie.hooks.kie import KieHook

        hook = KieHook()
        kie, limiter = hook.get_conn(), hook.limiter()
        body = {"prompt": f"rain {number}", "customMode": False, "instrumental": False, "model": "V5"}
        made, seen = 0, {"held_back": 0, "late": 0, "rejected": 0}
        while made < CREATES:
            asked = time.monotonic()
            permit = limiter.take()
            if not permit.granted:
                seen["held_back"] += 1
                time.sleep(permit.wait_seconds)
                continue
            answer = kie.create(task_kind("suno.music"), body, {}, NO_CALLBACK_URL)
            seen["late"] += time.monotonic() - asked > MARGIN
            rejected = isinstance(answer, Refused) and isinstance(answer.error, KieRateLimited)
            assert rejected or isinstance(answer, Created), answer  # a refused one says here why
            seen["rejected"] += rejected
            made += not rejected
        return seen

    create_music.expand(number=list(range(TASKS)))
