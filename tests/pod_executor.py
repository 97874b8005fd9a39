"""An executor that starts each task as the KubernetesExecutor starts a pod: nothing is left of the task before it.

Each has a new ``/tmp`` and home, a read-only root, process ids of its own, and a random user. It sees
Airflow's settings, the DAGs, the package, and the network. What it writes is gone when it ends. The user may read
everything, since Python may lie in somebody's home here. Linux's ``unshare`` and ``setpriv`` do that, which needs root.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from airflow.executors.base_executor import BaseExecutor
from airflow.executors.workloads import ExecuteTask

HOME = "/tmp/home"
POD = f"""
new=$(mktemp --directory)
mount --types tmpfs pod "$new"
mkdir --parents "$new{HOME}"
for folder in "$AIRFLOW__CORE__DAGS_FOLDER" "$AIRFLOW__CORE__PLUGINS_FOLDER"; do
    case $folder in /tmp/*)
        mkdir --parents "$new$folder"
        cp --archive "$folder/." "$new$folder" ;;
    esac
done
chmod --recursive a+rX "$new"
chmod 1777 "$new/tmp"
chown "$POD_USER" "$new{HOME}"
mount --bind "$new/tmp" /tmp
mount --options remount,bind,ro /
cd {HOME}
setpriv --reuid "$POD_USER" --regid 0 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search "$@"
"""
"""Makes a pod of this process and runs a command in it: not as its first process, which nothing inside can kill."""
UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc", POD, "pod")
EXECUTE = (sys.executable, "-m", "airflow.sdk.execution_time.execute_workload", "--json-path", "/dev/stdin")


def pod(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a command in a pod.

    :param command: a program and its arguments.
    :param options: of ``Popen``.
    """
    user = 100_000 + secrets.randbelow(10**9)
    # Airflow starts for nobody who has no name; the official image gives one to a user that it does not know.
    fresh = {"HOME": HOME, "AIRFLOW_HOME": f"{HOME}/airflow", "LOGNAME": "airflow", "POD_USER": str(user)}
    environment = {name: value for name, value in os.environ.items() if name not in ("TMPDIR", "USER")}
    return subprocess.Popen([*UNSHARE, *command], env={**environment, **fresh}, **options)


class PodExecutor(BaseExecutor):
    """Runs each task in a pod."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pods: dict[Any, subprocess.Popen[bytes]] = {}

    def _process_workloads(self, workload_items: Sequence[Any]) -> None:
        """Start a pod for each task."""
        for workload in workload_items:
            assert isinstance(workload, ExecuteTask)
            key = workload.ti.key
            del self.queued_tasks[key]
            self.running.add(key)
            started = self.pods[key] = pod(EXECUTE, stdin=subprocess.PIPE)
            assert started.stdin
            started.stdin.write(workload.model_dump_json().encode())
            started.stdin.close()

    def sync(self) -> None:
        """Tell Airflow which pods have ended."""
        for key, started in list(self.pods.items()):
            if (code := started.poll()) is not None:
                del self.pods[key]
                self.fail(key) if code else self.success(key)

    def end(self) -> None:
        """Wait for the pods."""
        for started in self.pods.values():
            started.wait()
        self.sync()

    def terminate(self) -> None:
        """Kill the pods."""
        for started in self.pods.values():
            started.kill()
