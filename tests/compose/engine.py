"""Podman with a storage of its own: what the check makes can neither meet nor touch what a person has in podman."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from local_stack.settings import PROJECT

HOME = PROJECT / ".local" / "compose"
PROGRAMS = ("podman", "netavark", "iptables", "aardvark-dns", "catatonit", "debootstrap")
HELPERS = ("/usr/lib/podman", "/usr/libexec/podman")
LIMIT = 16384
"""Processes and open files of a container: podman's own million is more than root without CAP_SYS_RESOURCE may ask."""


class Missing(Exception):
    """What the check needs is not on this machine; the text says what to do."""


def look_for_programs() -> None:
    """See that this machine has what the check needs.

    :raises Missing: when it has not.
    """
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *HELPERS])
    missing = [name for name in PROGRAMS if shutil.which(name, path=places) is None]
    if missing or os.geteuid() != 0:
        raise Missing(
            f"The check of docker-compose.yaml needs root, and it lacks {', '.join(missing) or 'that'}: "
            f"apt-get install --yes --no-install-recommends {' '.join(PROGRAMS)} runc"
        )


@dataclass(frozen=True)
class Engine:
    """Podman.

    :param home: folder for its images, containers, volumes and networks.
    """

    home: Path = HOME

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """The environment in which podman finds its own storage."""
        booted = Path("/run/systemd/system").is_dir()
        ulimits = [f"{name}={LIMIT}:{LIMIT}" for name in ("nofile", "nproc")]
        containers: dict[str, dict[str, object]] = {
            "containers": {"default_ulimits": ulimits},
            "engine": {
                "events_logger": "file",
                "cgroup_manager": "systemd" if booted else "cgroupfs",
                "tmp_dir": str(self.home / "run" / "libpod"),
                "runtime": "runc" if shutil.which("runc") else "crun",  # crun refuses a mix of cgroups 1 and 2
            },
            "network": {"network_config_dir": str(self.home / "networks")},
        }
        storage: dict[str, dict[str, object]] = {
            "storage": {"driver": "overlay", "graphroot": f"{self.home}/storage", "runroot": f"{self.home}/run"}
        }
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "containers.conf").write_text(_toml(containers))
        (self.home / "storage.conf").write_text(_toml(storage))
        (self.home / "registries.conf").write_text('unqualified-search-registries = ["docker.io"]\n')
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {
            **kept,
            "CONTAINERS_CONF": f"{self.home}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{self.home}/storage.conf",
            "CONTAINERS_REGISTRIES_CONF": f"{self.home}/registries.conf",
            "BUILDAH_FORMAT": "docker",  # the other format has no health checks
            "DISABLE_HC_SYSTEMD": "true",  # podman_front.py runs the checks
        }

    def run(self, *arguments: str, check: bool = True, seconds: float = 120.0) -> str:
        """Run podman and return what it wrote.

        :param check: whether an exit code other than 0 is an error.
        :param seconds: the longest that it may take.
        """
        return self.call(("podman", *arguments), check=check, seconds=seconds)

    def call(self, command: Sequence[str], *, check: bool = True, seconds: float) -> str:
        """Run a program that uses podman and return what it wrote.

        :raises AssertionError: when it failed, with the end of what it wrote.
        """
        done = subprocess.run(
            command, env=dict(self.environment), cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=seconds,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout[-6000:]}"
        return done.stdout

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        """Return what podman knows of a container, image, volume or network."""
        said = self.call(("sh", "-c", 'exec podman "$1" inspect "$2" 2>/dev/null', "-", kind, name), seconds=60)
        found: dict[str, Any] = json.loads(said)[0]
        return found

    def has_image(self, name: str) -> bool:
        """Whether there is an image of this name."""
        return name in self.run("images", "--format", "{{.Repository}}:{{.Tag}}").split()


def _toml(sections: Mapping[str, Mapping[str, object]]) -> str:
    """Write sections with texts and lists of texts, which JSON writes as TOML does."""
    return "".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in entries.items())
        for section, entries in sections.items()
    )
