#!/usr/bin/env python3
"""podman as podman-compose needs it for the start in order that a compose file asks for.

Podman learnt ``wait --condition=healthy`` with 4.6, Debian 12 has 4.3; and the timers that run podman's health checks
are systemd's, which containers and CI machines lack. So waiting for health is done here, by running each container's
own check until it passes.

``--requires``, which podman-compose writes for ``depends_on``, is dropped: podman would start ``init`` once more, which
has ended well, with each container that came after it (4.3 fails at that). The compose file asks for an order alone.

Everything else is podman's. Standard library only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

HEALTHY = "--condition=healthy"
KNOWS_HEALTH = (4, 6, 0)
CANNOT_CHECK = 125
"""What podman ends with where a container does not run; 1: its check has failed."""
MOST_STILL = 60
PACE = 1.0
"""Seconds between two looks; the intervals of the compose file are for systemd or Docker to keep."""


def main(arguments: Sequence[str]) -> int:
    """Answer a call of podman.

    :param arguments: what stands after ``podman``.
    :return: exit code, if podman itself did not take over.
    """
    if arguments[:1] == ["--version"]:
        print("podman version", ".".join(map(str, max(version(), KNOWS_HEALTH))))
        return 0
    if arguments[:1] == ["wait"] and HEALTHY in arguments:
        return wait_healthy([word for word in arguments[1:] if not word.startswith("-")])
    kept = [word for word in arguments if not (arguments[0] == "create" and word.startswith("--requires="))]
    return os.execvp("podman", ["podman", *kept])


def version() -> tuple[int, ...]:
    """Return podman's own version."""
    said = subprocess.run(["podman", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(number) for number in said.split()[-1].split("-")[0].split("."))


def wait_healthy(containers: Sequence[str]) -> int:
    """Wait until the health check of each container has passed once, and return 0; the caller decides for how long.

    A container that does not run for a minute could not be started, and its check never will pass: then it is 1.
    """
    for container in containers:
        still = 0
        while code := _check(container):
            still = still + 1 if code == CANNOT_CHECK else 0
            if still == MOST_STILL:
                print(f"{container} does not run: podman start {container} says why", file=sys.stderr)
                return 1
            time.sleep(PACE)
    return 0


def _check(container: str) -> int:
    return subprocess.run(["podman", "healthcheck", "run", container], capture_output=True).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
