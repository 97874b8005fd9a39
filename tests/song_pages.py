"""Song pages that listen, over an S3 server with songs in every state: archived, failed, half, hostile, tampered."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from airflow_connections import aws_connection
from airflow_kie.archive.inbox.song_request import SongsRefused
from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.manifest import AirflowRecord, CreditsRecord, FileRecord, Manifest, SongRecord, TaskManifest
from airflow_kie.archive.pending import Failure, Options, WaitingFor, Working, new_pending
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.client.errors import KieContentRejected
from archived_kinds import all_archived
from media_server import picture
from s3_servers import S3Server, rclone_s3

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n" + b"a picture" * 500
MP3 = bytes(range(256)) * 40
LARGE = 200 * 1024 * 1024
LYRICS = "Ä song".encode()
TITLES = {
    "script": "<script>alert(1)</script>",
    "breakout": '"><img src=x onerror=alert(1)>',
    "rtl": "\u202egnp.exe \u05e9\u05dc\u05d5\u05dd",
    "lines": 'two\r\nSet-Cookie: a=b\nlines "quoted"; filename=x',
    "template": "{{ 7 * 7 }}{% raw %}",
    "long": "endless " * 4000,
    "slashes": "../../etc/passwd\\..\\x",
}
"""Songs, named after what is wrong with their titles."""
RUN = "/runs/own_dag/manual__2026-11-20T12:00:00+00:00"
"""The run that archives into bucket ``other``."""
_STARTS_WITHIN_SECONDS = 120.0


@dataclass(frozen=True)
class SongPages:
    """Song pages that listen.

    :param url: where the app is mounted.
    :param tokens: a login for each user.
    :param process: the server.
    """

    url: str
    tokens: dict[str, str]
    process: psutil.Process
    client: httpx.Client
    home: Path

    def change(self, path: str, body: Any, user: str | None = "editor", **headers: str) -> httpx.Response:
        """Change something as a page of ours does it."""
        sent = {"X-Kie-Change": "1", "Sec-Fetch-Site": "same-origin", **headers}
        cookie = {"Cookie": f"_token={self.tokens[user]}"} if user else {}
        return self.client.post(self.url + path, content=json.dumps(body), headers={**sent, **cookie})

    def stored(self, query: str) -> list[tuple[Any, ...]]:
        """Ask Airflow's database."""
        with closing(sqlite3.connect(self.home / "airflow.db")) as base:
            return base.execute(query).fetchall()

    def get(self, path: str, user: str | None = "viewer", **headers: str) -> httpx.Response:
        """Open a page as a browser does: the login is a cookie."""
        cookie = {"Cookie": f"_token={self.tokens[user]}"} if user else {}
        return self.client.get(self.url + path, headers={**headers, **cookie})


@contextmanager
def song_pages(
    home: Path, fill: Callable[[Bucket, Bucket], None] | None = None, server: S3Server | None = None, **variables: str
) -> Iterator[SongPages]:
    """Serve the pages from a process of its own, with songs in buckets ``songs`` and ``other``.

    :param fill: stores them; None: songs in every state.
    :param server: where; None: rclone over a folder, with a large file.
    :param variables: further environment variables of the process.
    """
    large = home / "s3" / "songs" / "songs" / "large" / "track-1.mp3"
    large.parent.mkdir(parents=True)
    with large.open("wb") as file:
        file.truncate(LARGE)  # before the server lists it: it remembers folders
    with nullcontext(server) if server else rclone_s3(home) as s3:
        client = s3.client()
        client.create_bucket(Bucket="other")
        if server:
            client.create_bucket(Bucket="songs")
        (fill or archive_songs)(Bucket(client, "songs"), Bucket(client, "other"))
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{Path(__file__).parents[1] / 'plugins'}",
            "AIRFLOW_HOME": str(home),
            "TMPDIR": str(home),
            "AIRFLOW__CORE__AUTH_MANAGER": "song_pages_server.PerDagAuthManager",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
            "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-this-test-that-is-long-enough-for-its-algorithm-0123456789",
            "AIRFLOW__KIE__BUCKET": "songs",
            "AIRFLOW_CONN_AWS_DEFAULT": aws_connection(s3),
            **variables,
        }
        with _serving(home, environment) as (started, process), httpx.Client(trust_env=False, timeout=60) as http:
            url = f"http://127.0.0.1:{started['port']}/airflow/kie"
            yield SongPages(url, started["tokens"], process, http, home)


@contextmanager
def _serving(home: Path, environment: dict[str, str]) -> Iterator[tuple[dict[str, Any], psutil.Process]]:
    server, started, log = Path(__file__).with_name("song_pages_server.py"), home / "started.json", home / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(server), json.dumps(_runs()), str(started)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )
        assert process.stdin is not None
        try:
            deadline = time.monotonic() + _STARTS_WITHIN_SECONDS
            while not started.exists():
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
                time.sleep(0.05)
            yield json.loads(started.read_text()), psutil.Process(process.pid)
        finally:
            process.stdin.close()
            process.wait(120)  # on a busy machine


# --- what is in the buckets ---


def _file(bucket: Bucket, key: str, content: bytes, content_type: str, **record: Any) -> FileRecord:
    """Store a file, with another type in S3 than the manifest says."""
    bucket.put_bytes(content, key, content_type="text/html")
    kind, _, number = key.rpartition("/")[2].partition(".")[0].partition("-")
    facts = {
        "key": key,
        "kind": kind,
        "position": int(number),
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "content_type": content_type,
        "archived_at": NOW,
    }
    return FileRecord(**{**facts, **record})


def _song(bucket: Bucket, prefix: str, song: str, title: str, *files: FileRecord) -> None:
    manifest = Manifest(
        music_task_id=song,
        song=SongRecord(title=title, tags="synthwave, <b>driving</b>", duration_seconds=138.4),
        files=files,
        available=all_archived(*files),
        airflow=AirflowRecord(dag_id="music_cover", run_id="r+1"),
        created_at=NOW,
        updated_at=NOW,
    )
    bucket.put_json(manifest.to_json(), ArchiveKeys(prefix).song(song).manifest)


def archive_songs(songs: Bucket, other: Bucket) -> None:
    """Store songs in every state."""
    cover = "songs/{}/cover-{}.png".format
    _song(
        songs,
        "songs",
        "whole",
        "Velvet Harbour",
        _file(songs, cover("whole", 1), PNG, "image/png", width=1024, height=1024),
        _file(songs, cover("whole", 2), PNG + b"2", "image/png"),
        _file(songs, "songs/whole/track-1.mp3", MP3, "audio/mpeg", duration_seconds=138.4),
        _file(songs, "songs/whole/lyrics-1.txt", LYRICS, "text/plain; charset=utf-8"),
    )
    for song, title in TITLES.items():
        _song(songs, "songs", song, title, _file(songs, cover(song, 1), PNG, "image/png"))
    secret = _file(songs, "secret/cover-1.png", b"not for you", "image/png")
    _song(
        songs,
        "songs",
        "tampered",
        "Tampered",
        secret,
        _file(songs, "songs/tampered/cover-2.html", b"<script>", "text/html"),
        _file(songs, "songs/tampered/cover-3.svg", b"<svg/>", "image/svg+xml"),
        _file(songs, "songs/tampered/cover-4.png", PNG, "image/png", size=len(PNG) + 5),
        secret.changed(key="songs/tampered/../../secret/cover-1.png"),
        secret.changed(key="songs/tampered/sub/cover-1.png"),
    )
    songs.put_bytes(PNG, cover("half", 1), content_type="image/png")
    for key in ("songs/damaged/manifest.json", "songs/_pending/broken.json"):
        songs.put_bytes(b"{", key, content_type="application/json")
    large = {"kind": "track", "content_type": "audio/mpeg", "sha256": "0" * 64, "archived_at": NOW}
    _song(songs, "songs", "large", "", FileRecord(key="songs/large/track-1.mp3", position=1, size=LARGE, **large))
    failed = KieContentRejected("The prompt has <i>sensitive</i> words", task_id="c1", source_id="failed")
    failure = Failure(reason=failed.reason, message=str(failed), at=NOW)
    _pending(songs, "songs", "failed", title="Rude <b>Words</b>", last_failure=failure)
    _pending(songs, "songs", "half", working=Working(dag_id="music_cover", run_id="gone"))
    _pending(
        songs,
        "songs",
        "held",
        waiting_for=WaitingFor(reason="out_of_credits", since=NOW),
        working=Working(dag_id="own_dag", run_id=RUN[14:]),
    )
    _pending(songs, "songs", "strange", last_failure=Failure(reason="ZeroDivisionError", message="a / 0", at=NOW))
    _pending(songs, "songs", "called", unconfirmed="not_found")
    _pending(songs, "songs", "whole", options=Options(audio=True, lyrics=True))
    _song(songs, "songs", "more", "More", _file(songs, cover("more", 1), PNG, "image/png"))
    _pending(songs, "songs", "more", options=Options(audio=True))
    _song(other, "deep/er", "inother", "Elsewhere", _file(other, "deep/er/inother/cover-1.png", PNG, "image/png"))
    _song(other, "deep/er", "early", "Early")
    own_run = RUN.rpartition("/")[2]
    _pending(other, "deep/er", "waits", title="Waits", working=Working(dag_id="own_dag", run_id=own_run))
    _song(other, "deep/er", "private", "Of no run")
    other.put_bytes("".join(_LINES).encode(), _LIST, content_type="application/x-ndjson")
    _library(songs)


def _library(songs: Bucket) -> None:
    """Store a song with a real picture and what another task has made, and list everything for the library."""
    sound = _file(songs, "songs/seen/track-1.mp3", MP3, "audio/mpeg", duration_seconds=61.0)
    _song(
        songs,
        "songs",
        "seen",
        "Été <i>sans</i> fin",
        _file(songs, "songs/seen/cover-1.png", picture(1), "image/png"),
        sound,
    )
    keys = ArchiveKeys("songs")
    result = _file(songs, keys.task("market", "task1").file("result", 1, "png"), picture(2), "image/png")
    page = _file(songs, keys.task("market", "task1").file("page", 1, "html"), b"<script>", "text/html")
    made = TaskManifest(
        operation="market",
        task_id="task1",
        files=(result, page),
        created_at=NOW,
        updated_at=NOW,
        credits_used=(CreditsRecord(task_id="task1", kind="market", credits=6.0),),
    )
    songs.put_json(made.to_json(), keys.task("market", "task1").manifest)
    Index(songs, keys).rebuild()


def _pending(bucket: Bucket, prefix: str, song: str, **facts: Any) -> None:
    record = new_pending(song, received_from="inbox", now=NOW).changed(**facts)
    SongArchive(bucket, ArchiveKeys(prefix).song(song)).merge_pending(record)


# --- what is in Airflow's database ---


SONGS_OF_BATCHES = (["inother", "early"], ["waits"])
_LIST = f"deep/er/_runs/{'a' * 32}/{'b' * 32}.jsonl"
_LINES = ["".join(json.dumps({"music_task_id": song}) + "\n" for song in songs) for songs in SONGS_OF_BATCHES]


def _batches() -> list[dict[str, Any]]:
    """Return batches of songs as a list of many pushes them, and some that name what is not theirs."""
    place, start = {"bucket": "other", "prefix": "deep/er"}, 0
    found = []
    for lines, songs in zip(_LINES, SONGS_OF_BATCHES, strict=True):
        found.append({"songs": len(songs), "list": _LIST, "start": start, "end": start + len(lines), **place})
        start += len(lines)
    wrong = ({"list": "secret/x.jsonl"}, {"end": 1 << 40}, {"start": "x"}, {"songs": 7}, {"prefix": "../.."})
    return [*({**found[0], **change} for change in wrong), *found]


def _runs() -> list[dict[str, Any]]:
    listed = [{"music_task_id": song, "bucket": "other", "prefix": "deep/er"} for song in ("inother", "waits")]
    archive = {"operator": "KieCoverToS3Operator", "task_id": "archive_to_s3"}

    def archived(song: str, bucket: str = "songs", prefix: str = "songs") -> dict[str, str]:
        return {"music_task_id": song, "bucket": bucket, "manifest_key": f"{prefix}/{song}/manifest.json"}

    return [
        {
            "archived": [
                archived("whole"),
                archived("rtl"),
                archived("whole"),
                archived("inother", "other", "deep/er"),
                archived("private", prefix="elsewhere"),
                archived("deleted"),
                archived("script", "other", "deep/er"),
                archived("more"),
                {"music_task_id": "../secret", "bucket": "songs", "manifest_key": "songs/../secret/manifest.json"},
                ["another shape"],
                archived("slashes"),
            ],
            "dag_id": "own_dag",
            "run_id": "manual__2026-11-20T12:00:00+00:00",
            "state": "running",
            "tasks": [
                {
                    "operator": "KieSongListOperator",
                    "task_id": "song_list",
                    "map_index": -1,
                    "xcoms": {
                        "return_value": listed,
                        "archived_already": [
                            {"music_task_id": "early", "bucket": "other", "manifest_key": "deep/er/early/manifest.json"}
                        ],
                    },
                    "rendered": {"bucket": "other"},
                },
                {**archive, "map_index": 0, "xcoms": {"return_value": listed[1]}},
                {**archive, "map_index": 1, "rendered": {"music_task_id": "inother", "bucket": "other"}},
            ],
        },
        {
            "dag_id": "own_dag",
            "run_id": "generated",
            "state": "success",
            "tasks": [
                {
                    "operator": "KieGenerateMusicOperator",
                    "task_id": "generate_music",
                    "map_index": -1,
                    "xcoms": {"return_value": "waits"},
                    "rendered": {"prompt": "a <b>song</b>", "bucket": "other", "prefix": "deep/er"},
                }
            ],
        },
        {
            "dag_id": "own_dag",
            "run_id": "batches",
            "state": "success",
            "tasks": [
                {
                    "operator": "KieSongListOperator",
                    "task_id": "song_list",
                    "map_index": -1,
                    "xcoms": {"return_value": _batches()},
                }
            ],
        },
        {
            "dag_id": "own_dag",
            "run_id": "refused",
            "state": "failed",
            "tasks": [
                {
                    "operator": "KieSongListOperator",
                    "task_id": "song_list",
                    "map_index": -1,
                    "xcoms": {"failure": {"reason": "songs_refused", "message": str(SongsRefused("'<b>' is no id."))}},
                }
            ],
        },
        {
            "dag_id": "own_dag",
            "run_id": "no_bucket",
            "state": "failed",
            "tasks": [
                {
                    **archive,
                    "map_index": -1,
                    "rendered": {"music_task_id": "whole", "bucket": "nowhere", "prefix": ""},
                }
            ],
        },
        {
            "dag_id": "other_dag",
            "run_id": "r",
            "state": "success",
            "tasks": [
                {
                    "operator": "PythonOperator",
                    "task_id": "t",
                    "map_index": -1,
                    "xcoms": {"return_value": [{"music_task_id": "whole", "bucket": "songs", "prefix": "songs"}]},
                }
            ],
        },
    ]
