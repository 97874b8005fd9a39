"""How many requests one song's chain makes to S3: each costs money, and time in a worker."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from dag_runner import dag_runner
from kie_simulator.server import SimulatorServer
from s3_servers import S3Server, moto_s3

CHAIN: Mapping[str, tuple[str, ...]] = {
    "song_list: what is known of it, and its pending record": ("GET manifest", "GET pending", "PUT pending"),
    "generate_cover: the ledger's intent": ("PUT intent",),
    "generate_cover: the ledger's task": ("PUT task",),
    "archive_to_s3: what is there already": ("GET manifest",),
    "two covers: the answers prove that they are whole": ("PUT cover", "PUT cover"),
    "who asked for more": ("GET pending",),
    "the manifest: created unless another run has done so, which would be merged with": ("PUT manifest",),
    "the song is listed in the index, then its pending record goes": ("PUT index", "DELETE pending"),
}
"""What a song of one run asks S3, in this order, where the service honours conditional writes."""
MOST = 12
"""Requests. The ledger's share of them is two, and no read."""
_LINE = re.compile(r"(?P<method>HEAD|GET|PUT|POST|DELETE) /songs(?P<key>[^ ?]*)\S* HTTP")
_NAMES = (
    ("bucket", r"^$"),
    ("manifest", r"/manifest\.json$"),
    ("pending", r"/_pending/"),
    ("intent", r"/_paid/.*\.intent$"),
    ("task", r"/_paid/.*\.task\."),
    ("cover", r"/cover-\d\.png$"),
    ("index", r"/_index/"),
    ("_raw", r"/_raw/"),
    ("_probe", r"^/songs/_probe$"),
)


class Asked(logging.Handler):
    """What an S3 server in this process is asked, as its log has it."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.requests: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note a request by its method and by what it is about; an unknown key stands for itself."""
        if found := _LINE.search(record.getMessage()):
            names = [name for name, pattern in _NAMES if re.search(pattern, found["key"])]
            self.requests.append(f"{found['method']} {(names or [found['key']])[0]}")


@pytest.fixture
def s3() -> Iterator[S3Server]:
    with moto_s3() as server:
        yield server


@pytest.fixture
def asked(s3: S3Server) -> Iterator[Asked]:
    log, handler = logging.getLogger("werkzeug"), Asked()
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)
    log.setLevel(level)


def test_the_chain_of_one_song_makes_no_more_requests_to_s3_than_these(
    tmp_path: Path, s3: S3Server, asked: Asked
) -> None:
    s3.client().create_bucket(Bucket="songs")
    made: list[list[str]] = []
    with (
        SimulatorServer(cover_seconds=1, plain_images=True) as kie,
        dag_runner(tmp_path / "home", kie, s3) as airflow,
    ):
        assert airflow.stdin is not None and airflow.stdout is not None
        for title in ("The one that asks whether S3 honours conditions", "The next one"):
            asked.requests.clear()
            [song] = kie.control.make_music(title)
            print(json.dumps({"music_task_ids": [song.task_id]}), file=airflow.stdin, flush=True)
            ended = next(line for line in airflow.stdout if line.startswith('{"state":'))
            assert json.loads(ended)["state"] == "success"
            made.append(list(asked.requests))
        airflow.kill()
    print(f"One song's chain: {len(made[1])} requests to S3.", *made[1], sep="\n")
    assert made[1] == [request for part in CHAIN.values() for request in part]
    assert len(made[1]) == MOST
    # The first song of a day asks for more: the probe of conditional writes, and the raw answer of its kind.
    assert len(made[0]) == MOST + 5
