"""Processes that share a limiter: a burst on a simulated KIE, a holder that is killed, forks."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from airflow_kie.client.rate_limiter.limiter import MARGIN, CreateLimiter
from integration.databases import postgres_url  # noqa: F401 - a fixture
from kie_simulator.server import SimulatorServer
from limiter_burst import burst

STORES = ["sqlite", "postgres"]


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of the store that the test's parameter names."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/creates.db"
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.mark.parametrize("store", STORES, indirect=True)
def test_of_eight_processes_kie_rejects_no_create_but_one_that_was_under_way_for_longer_than_the_margin(
    store: str,
) -> None:
    # 80 in 4 s instead of KIE's 20 in 10 s, which benchmarks/limiter.py runs. A process that has its permit and waits
    # half a second for a processor brings one create too many into KIE's next window; one, for each such process.
    with SimulatorServer(rate_limit=80, rate_window=4.0, music_seconds=600, credits=100_000) as server:
        creates = burst(server, store, workers=8, tasks=25, creates=80, seconds=4.0)
        late = sum(create.took > MARGIN for create in creates)
        rejected = server.control.state()["rate_limited"]
        assert rejected <= late
        assert Counter(create.code for create in creates) == Counter({200: 200 - rejected, 429: rejected})
        assert len({create.task_id for create in creates if create.code == 200}) == 200 - rejected
        assert {create.worker for create in creates} == set(range(8))


HOLDER = """
import sys, time
from airflow_kie.client.rate_limiter.limiter import CreateLimiter
limiter = CreateLimiter("account", store=sys.argv[1], creates=1)
with limiter._locked() as locked:
    locked.connection.exec_driver_sql(
        f"INSERT INTO kie_new_tasks (account, at_ms) VALUES ('{limiter._account}', {locked.now})"
    )
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("store", STORES, indirect=True)
def test_a_process_that_is_killed_with_the_lock_keeps_nobody_out(store: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, store], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
    finally:
        holder.kill()
        holder.communicate()
    limiter = CreateLimiter("account", store=store, creates=1)
    assert limiter.take().granted, "what the killed process wrote under the lock is gone too"


FORK = """
import os, sys
from airflow_kie.client.rate_limiter.limiter import CreateLimiter
limiter = CreateLimiter("fork", store=sys.argv[1], creates=4, seconds=600)
assert limiter.take().granted
child = os.fork()
if child == 0:
    sys.exit(0 if limiter.take().granted else 1)
assert os.waitpid(child, 0)[1] == 0
print([limiter.take().granted for _ in range(3)])
"""


@pytest.mark.parametrize("store", STORES, indirect=True)
def test_a_forked_child_counts_with_its_parent(store: str) -> None:
    ran = subprocess.run([sys.executable, "-c", FORK, store], capture_output=True, text=True, timeout=250)
    assert (ran.stdout, ran.stderr) == ("[True, True, False]\n", "")


FORKS_WHILE_A_THREAD_TAKES = """
import os, sys, threading, warnings
from airflow_kie.client.rate_limiter import store as stores
from airflow_kie.client.rate_limiter.limiter import CreateLimiter
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about forks of a process with threads
stores.LOCK_SECONDS = 100.0  # on a busy machine
limiter = CreateLimiter("threads", store=sys.argv[1], creates=1_000_000, seconds=1.0)
limiter.take()
ended = threading.Event()
def take():
    while not ended.is_set():
        limiter.take()
thread = threading.Thread(target=take)
thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(0 if limiter.take().granted else 1)
    assert os.waitpid(child, 0)[1] == 0
ended.set()
thread.join()
print("done")
"""


@pytest.mark.parametrize("store", STORES, indirect=True)
def test_a_child_that_is_forked_while_a_thread_takes_a_permit_gets_one_of_its_own(store: str) -> None:
    command = [sys.executable, "-c", FORKS_WHILE_A_THREAD_TAKES, store]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert (ran.stdout, ran.stderr) == ("done\n", "")


FORKS_WHILE_A_STORE_DOES_NOT_ANSWER = """
import os, sys, threading, warnings
from airflow_kie.client.rate_limiter import store as stores
from airflow_kie.client.rate_limiter.limiter import CreateLimiter
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about forks of a process with threads
limiter = CreateLimiter("account", store=sys.argv[1])
limiter.take()
asks, answers = threading.Event(), threading.Event()
def use():
    with limiter.store.locked("another account"):
        asks.set()
        answers.wait()
thread = threading.Thread(target=use)
thread.start()
asks.wait()
stores.LOCK_SECONDS = 0.05  # so briefly the fork waits
child = os.fork()
if child == 0:
    stores.LOCK_SECONDS = 5.0
    os._exit(0 if not limiter.store._guard.locked() else 1)
assert os.waitpid(child, 0)[1] == 0
held = limiter.store._guard.locked()
answers.set()
thread.join()
print(held, limiter.store._guard.locked(), limiter.take().granted)
"""


def test_a_fork_lets_no_other_thread_into_the_store_while_one_is_within_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKS_WHILE_A_STORE_DOES_NOT_ANSWER, f"sqlite:///{tmp_path}/creates.db"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert (ran.stdout, ran.stderr) == ("True False True\n", "")
