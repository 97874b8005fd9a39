"""The images of docker-compose.yaml, built on this machine: ours by the Dockerfile, the others as stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import local_stack.statsd_exporter
from compose.engine import Engine
from compose_file import ComposeFile
from local_stack.settings import PROJECT

SUITE = "bookworm"
BASE = f"localhost/debian-python:{SUITE}"
MIRROR = os.environ.get("DEBIAN_MIRROR", "")
"""Where debootstrap gets packages from; empty: what it takes by itself."""
STAND_INS = Path(__file__).parent / "stand_ins"
OURS: Mapping[str, str] = {"airflow": "api-server", "simulator": "simulator"}
"""Targets of the Dockerfile, and a service that each is the image of."""
THEIRS: Mapping[str, str] = {
    "postgres": "postgres",
    "redis": "redis",
    "rclone": "s3",
    "caddy": "callback-proxy",
    "prometheus": "prometheus",
    "statsd-exporter": "statsd-exporter",
}
"""Targets of the stand-ins, and the service that each is the image of. Grafana has none: Debian does not have it."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
SECONDS = 1800.0


def make_images(engine: Engine, compose: ComposeFile) -> None:
    """Make every image that lacks or whose sources have changed; podman keeps the layers that have not.

    :param compose: the compose file, which says under which names.
    """
    make_base(engine)
    context = stand_in_context(engine.home / "stand_ins")
    for target, service in THEIRS.items():
        build(engine, context, "Containerfile", target, full_name(compose.services[service]["image"]))
    for target, service in OURS.items():
        described = compose.services[service]
        assert described["build"]["target"] == target
        build(engine, PROJECT, "Dockerfile", target, full_name(described["image"]))


def make_base(engine: Engine) -> None:
    """Make the base of all images, if it is not there: Debian with Python, and this machine's certificates."""
    if engine.has_image(BASE):
        return
    root = engine.home / "base"
    engine.call(("umount", "--lazy", str(root / "proc")), check=False, seconds=60)  # of a debootstrap that was killed
    shutil.rmtree(root, ignore_errors=True)
    packages = "ca-certificates,python3,python3-venv"
    debootstrap = ("debootstrap", "--variant=minbase", f"--include={packages}", SUITE, str(root))
    engine.call((*debootstrap, MIRROR) if MIRROR else debootstrap, seconds=SECONDS)
    if CERTIFICATES.exists():  # of a proxy that looks into TLS, where there is one
        shutil.copyfile(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    with subprocess.Popen(("tar", "--create", "--directory", root, "."), stdout=subprocess.PIPE) as tar:
        imported = ("podman", "import", "--change", "ENV LANG=C.UTF-8", "-", BASE)
        subprocess.run(imported, stdin=tar.stdout, env=dict(engine.environment), check=True, timeout=600)
    assert tar.returncode == 0
    shutil.rmtree(root)


def stand_in_context(folder: Path) -> Path:
    """Put together what the stand-ins are built from.

    :param folder: for the files.
    :return: the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    exporter = shutil.which("statsd_exporter") or local_stack.statsd_exporter.__file__
    for name, program in {"rclone": PROJECT / ".venv" / "bin" / "rclone", "statsd_exporter": exporter}.items():
        shutil.copy2(program, folder / name)
    for source in STAND_INS.iterdir():
        shutil.copy2(source, folder / source.name)
    return folder


def build(engine: Engine, context: Path, file: str, target: str, name: str) -> None:
    """Build one image on the base.

    :param context: folder that the build sees.
    :param file: the file in it that says how.
    :param target: the stage to build.
    :param name: the image's full name.
    """
    what = ("--target", target, "--tag", name, "--build-arg", f"BASE={BASE}", "--file", str(context / file))
    # The machine's network: a build needs no more than package registries.
    engine.run("build", "--network", "host", *what, str(context), seconds=SECONDS)


def full_name(image: str) -> str:
    """Return the name under which podman looks for an image that Docker calls so."""
    if image.startswith("airflow-kie"):
        return f"localhost/{image}"
    return f"docker.io/{image}" if "/" in image else f"docker.io/library/{image}"
