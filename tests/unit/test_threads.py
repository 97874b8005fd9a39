"""Threads of our own: what is at work in them when a task's process ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TASK = """
import asyncio, atexit, os, sys, threading, time
from pathlib import Path
from airflow_kie.threads import in_thread

begun = threading.Event()

def send(record):
    begun.set()
    time.sleep(0.5)
    Path(record).write_text("KIE's task is recorded")

async def task():
    asyncio.ensure_future(in_thread(send, sys.argv[1]))
    await in_thread(begun.wait)
    raise ValueError("another request was refused")

loop = asyncio.new_event_loop()
try:
    loop.run_until_complete(task())
except ValueError:
    loop.close()
atexit._run_exitfuncs()  # Airflow 3.3.2: `supervisor._fork_main`
os._exit(1)
"""


def test_what_is_being_sent_when_another_request_fails_an_async_task_is_recorded(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", TASK, str(tmp_path / "record")], timeout=120, check=False)
    assert ended.returncode == 1
    assert (tmp_path / "record").read_text() == "KIE's task is recorded"
