"""How much memory does archiving a large file take? Prints one JSON line.

    .venv/bin/python benchmarks/archive_memory.py [megabytes, default 200]

The file server and the S3 server (rclone over a temporary folder) run in processes of their own; what is measured is
the peak resident set of the archiving process, after everything it needs was loaded and used once on a small file.
"""

from __future__ import annotations

import functools
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

SERVER = """
import struct, sys, time
from media_server import media_server
MEGABYTES = int(sys.argv[1])
def sound(megabytes):
    def script(request):
        size = megabytes * 1_000_000
        head = b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt "
        head += struct.pack("<IHHIIHH", 16, 1, 2, 48000, 192000, 4, 16)
        head += b"data" + struct.pack("<I", size)
        request.send_response(200)
        request.send_header("Content-Length", str(size + 44))
        request.end_headers()
        request.wfile.write(head)
        piece = bytes(range(250)) * 400
        for _ in range(megabytes * 10):
            request.wfile.write(piece)
    return script
with media_server({"/small": sound(1), "/large": sound(MEGABYTES)}) as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""


def peak_bytes() -> int:
    """Return the highest resident set so far (ru_maxrss: kilobytes on Linux, bytes on macOS)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure(megabytes: int) -> dict[str, float]:
    """Archive a song with one track of that size and return growth in MB, seconds and MB/s."""
    from airflow_kie.archive.archiver import Source, archive_song
    from airflow_kie.archive.layout import SongKeys
    from airflow_kie.archive.manifest import FileKind, Manifest
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.archive.song_folder import SongArchive
    from airflow_kie.client.http.download import DownloadSettings, download
    from s3_servers import rclone_s3

    fetch = functools.partial(download, settings=DownloadSettings(private_hosts=frozenset({"127.0.0.1"})))
    files = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(megabytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1] / "tests",
    )
    assert files.stdout is not None
    port = int(files.stdout.readline())
    try:
        with tempfile.TemporaryDirectory() as folder, rclone_s3(Path(folder)) as s3:
            bucket = Bucket(s3.client(), "songs")
            bucket.create_on_loopback()

            def archive(name: str) -> None:
                now = datetime.now(UTC)
                source = Source(FileKind.TRACK, 1, url=f"http://127.0.0.1:{port}/{name}")
                archive_song(
                    SongArchive(bucket, SongKeys("music", name)),
                    Manifest(music_task_id=name, created_at=now, updated_at=now),
                    [source],
                    old=None,
                    download=fetch,
                    max_file_bytes=2_000_000_000,
                )

            archive("small")
            before, started = peak_bytes(), time.perf_counter()
            archive("large")
            seconds = time.perf_counter() - started
            grown = (peak_bytes() - before) / 1e6
    finally:
        files.terminate()
        files.wait(10)
    return {"megabytes": megabytes, "peak_growth_mb": round(grown, 1), "seconds": round(seconds, 2)}


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 200)))
