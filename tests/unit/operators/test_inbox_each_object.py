"""Each object of the inbox is taken or rejected by itself: none stops another, whatever is in it or in its name."""

from __future__ import annotations

import collections
import functools
import json
import re
import string
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_kie.archive.inbox.bucket import InboxObject
from airflow_kie.archive.inbox.objects import InboxUnreadable, read_songs
from airflow_kie.archive.layout import ArchiveKeys, inbox_done_key, inbox_rejected_keys, is_waiting_in_inbox
from airflow_task import StoredFiles
from inbox_dag import InboxDag
from kie_simulator.server import SimulatorServer

GOOD = "0" * 31 + "1"
A, B = "a" * 32, "b" * 32
TWO = json.dumps([A, B]).encode()


def waiting(archive: StoredFiles) -> list[str]:
    return [key for key in all_keys(archive) if key.startswith("inbox/") and key.split("/")[1] not in ENDS]


ENDS = ("done", "rejected")


def all_keys(archive: StoredFiles) -> list[str]:
    pages = archive.client.get_paginator("list_objects_v2").paginate(Bucket=archive.bucket)
    return [item["Key"] for page in pages for item in page.get("Contents", ())]


def run_beside_a_good_song(archive: StoredFiles, objects: Mapping[str, bytes]) -> InboxDag:
    """Run the DAG twice with objects in the inbox, the first in order, and a good song that came alone."""
    for name, body in objects.items():
        archive.put(f"inbox/{name}", body)
    archive.put("inbox/zzz-good.json", json.dumps(GOOD).encode())
    dag = InboxDag()
    first = dag.run()
    assert dag.events == [GOOD], (first, dag.errors)
    assert waiting(archive) == [], (first, dag.errors)
    dag.run()
    assert dag.events == [GOOD], "it was started twice"
    return dag


def test_whatever_objects_of_two_songs_are_called_each_makes_one_run_and_stops_nobody(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    names = (
        "two songs.json",
        "Jürgens Lieder.json",
        "a..b.json",
        "{{ x.json",
        "{% x",
        "a\x07b.json",
        "l" * 1012 + ".json",
    )
    dag = run_beside_a_good_song(archive, dict.fromkeys(names, TWO))
    assert len(dag.runs) == len(names)
    done = [key for key in all_keys(archive) if key.startswith("inbox/done/")]
    assert (len(done), max(len(key.encode()) for key in done) <= 1024) == (len(names) + 1, True)


BAD = (
    ("quote.csv", b"music_task_id,album\n" + A.encode() + b',"' + b"x" * 140_000, "Line 2"),
    (
        "half.json",
        b'{"music_task_id": "%b", "labels": {"emoji": "\\ud83d"}}' % A.encode(),
        "labels 'emoji': Input should be a valid string",
    ),
    (
        "nul.json",
        b'{"music_task_id": "%b", "labels": {"x": "a\\u0000"}}' % A.encode(),
        "character that cannot be stored",
    ),
    ("deep.json", b"[" * 100_000, "nested too deeply"),
    ("deep2.json", b"[" * 900 + b'"' + A.encode() + b'"' + b"]" * 900, "nested too deeply"),
    ("lone.json", b"{{", "It is not JSON"),
    ("number.json", b'{"music_task_id": 7}', "music_task_id: Input should be a valid string"),
    ("list.json", b'{"music_task_id": ["a"]}', "music_task_id: Input should be a valid string"),
    (
        "conn.json",
        b'{"music_task_id": "%b", "kie_conn_id": ["x"]}' % A.encode(),
        "kie_conn_id: Input should be a valid string",
    ),
    (
        "flag.json",
        b'{"music_task_id": "%b", "archive_audio": {"x": 1}}' % A.encode(),
        "archive_audio: Input should be a valid boolean",
    ),
    ("cover.json", b'{"music_task_id": "%b", "cover_task_id": "../x"}' % A.encode(), "is not a KIE task id"),
    ("big.json", b"9" * 5000, "It is not JSON"),
    ("surrogate.json", b'"\\ud83d"', "is not a KIE task id"),
)
"""Name, content, and what its reason says."""


def test_objects_that_cannot_be_taken_are_each_rejected_with_their_reason_and_stop_nobody(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    dag = run_beside_a_good_song(archive, {name: body for name, body, _ in BAD})
    assert dag.runs == {}
    for name, body, reason in BAD:
        assert reason in archive.body(f"inbox/rejected/{name}.reason.txt").decode()
        assert archive.body(f"inbox/rejected/{name}") == body


def test_a_carriage_return_alone_ends_a_row_and_a_line_separator_inside_of_a_text_ends_no_line(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    line = json.dumps({"music_task_id": A, "labels": {"x": "one\u2028two"}}, ensure_ascii=False)
    objects = {
        "old mac.csv": f"music_task_id\r{A}\r{B}\r".encode(),
        "x.jsonl": f"{line}\n".encode() + json.dumps(B).encode(),
    }
    dag = run_beside_a_good_song(archive, objects)
    assert len(dag.runs) == 2
    assert not any(key.startswith("inbox/rejected/") for key in all_keys(archive))


@pytest.mark.parametrize("beside", [False, True])
def test_a_song_that_names_its_cover_has_a_run_that_finds_it_and_its_object_is_done(
    kie: SimulatorServer, archive: StoredFiles, beside: bool
) -> None:
    cover = {"cover.json": json.dumps({"music_task_id": A, "cover_task_id": B}).encode()}
    if beside:
        dag = run_beside_a_good_song(archive, cover)
    else:
        archive.put("inbox/cover.json", cover["cover.json"])
        dag = InboxDag()
        assert (dag.run()["move_to_done"], dag.errors) == ("success", {})
    assert waiting(archive) == []
    ((_, conf),) = dag.runs.items()
    (song,) = archive.json(f"songs/_inbox/{conf['inbox_order']}.json")["songs"]
    assert (song["music_task_id"], song["cover_task_id"]) == (A, B)


def test_a_damaged_record_of_one_song_rejects_its_object_and_stops_nobody(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    archive.put(f"songs/_pending/{B}.json", b"{")
    run_beside_a_good_song(archive, {"a.json": TWO})
    assert f"_pending/{B}.json is not JSON" in archive.body("inbox/rejected/a.json.reason.txt").decode()
    assert f"songs/_pending/{A}.json" not in all_keys(archive)


def test_a_run_that_airflow_does_not_start_keeps_its_object_and_the_good_song_is_started_once(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    archive.put("inbox/a.json", TWO)
    archive.put("inbox/good.json", json.dumps(GOOD).encode())
    dag = InboxDag(refuses_runs=True)
    dag.run()
    assert waiting(archive) == ["inbox/a.json"]
    dag.refuses_runs = False
    dag.run()
    assert (waiting(archive), dag.events, len(dag.runs)) == ([], [GOOD], 1)


# --- objects of every kind ---

_id = st.one_of(
    st.text(string.hexdigits, min_size=1, max_size=40), st.text(max_size=40), st.sampled_from([A, B, "", "..", "_x"])
)
_scalar = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), _id)
_json = st.recursive(_scalar, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))
_song = st.fixed_dictionaries(
    {"music_task_id": _id | _json},
    optional={
        "labels": st.dictionaries(st.text(max_size=10), _scalar, max_size=3) | _json,
        "kie_conn_id": _json,
        "archive_audio": _json,
        "cover_task_id": _json,
    },
)
_good = st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), min_size=1, max_size=3, unique=True)
_values = st.one_of(
    _good, _id, _json, _song, st.lists(_song, max_size=3), st.fixed_dictionaries({"songs": st.lists(_song, max_size=3)})
)
_csv = st.lists(st.lists(st.text(max_size=12), max_size=3).map(",".join), max_size=4).flatmap(
    lambda rows: st.sampled_from(["\n", "\r", "\r\n", "\n\n", ";"]).map(
        lambda end: end.join(["music_task_id,album", *rows])
    )
)
_bodies = st.one_of(
    _values.map(lambda value: json.dumps(value).encode()),
    st.lists(_values, max_size=3).map(lambda values: "\n".join(map(json.dumps, values)).encode()),
    _csv.map(lambda text: text.encode("utf-8", "replace")),
    st.binary(max_size=60),
)
_SPECIAL = ("{{ conn.kie_default.password }}", "{% raw %}", "../..", "..", "a/b/c", "inbox__", "x" * 1000)
_names = st.builds(
    lambda stem, ending: f"{stem}{ending}",
    st.one_of(
        st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\n\r"), min_size=1, max_size=60),
        st.sampled_from(_SPECIAL),
    ),
    st.sampled_from(["", ".json", ".jsonl", ".csv", ".CSV", ".reason.txt", "/"]),
)


@functools.cache
def generated(count: int = 500) -> dict[str, bytes]:
    """Return so many objects of every kind, the same in each run of the tests."""
    made: dict[str, bytes] = {}

    @settings(max_examples=count + count // 4, derandomize=True, database=None)
    @given(name=_names, body=_bodies)
    def collect(name: str, body: bytes) -> None:
        key = f"{len(made):04d}{name}"
        if len(made) < count and len(key.encode()) <= 1018:
            made[f"inbox/{key}"] = body

    collect()
    assert len(made) == count
    return made


def outcome_of(key: str, body: bytes) -> str:
    """Return what reading an object comes to: its number of songs, or the kind of reason for which it is rejected."""
    try:
        songs = read_songs(key, body)
    except InboxUnreadable as error:
        assert 0 < len(str(error)) < 5000
        return re.sub(r"\d+|'.*|:.*", "", str(error))[:30]
    item = InboxObject(key=key, etag="e", digest="0" * 32, songs=tuple(songs))
    stored = json.loads(json.dumps(item.to_json(), ensure_ascii=False).encode())
    assert InboxObject.from_json(stored, "here") == item
    assert all(ArchiveKeys("songs").song(song.music_task_id) for song in songs)
    return f"{key.rpartition('.')[2].lower() if '.' in key else ''} {min(len(songs), 2)}"


def test_each_of_five_hundred_objects_is_read_or_rejected_and_can_be_moved_whatever_is_in_it() -> None:
    outcomes = collections.Counter(outcome_of(key, body) for key, body in generated().items())
    assert sum(outcomes.values()) == 500
    assert len(outcomes) > 15, outcomes
    for key in filter(is_waiting_in_inbox, generated()):
        moved = (inbox_done_key(key), *inbox_rejected_keys(key))
        assert max(len(name.encode()) for name in moved) <= 1024


def chosen(each: int) -> dict[str, bytes]:
    """Return so many objects of each outcome, and with each special name."""
    groups = collections.defaultdict(list)
    for key, body in generated().items():
        groups[outcome_of(key, body)].append(key)
        for name in (*_SPECIAL, "/"):
            if key.removeprefix("inbox/")[4:].startswith(name) or key.endswith(name):
                groups["named", name].append(key)
    return {key: generated()[key] for keys in groups.values() for key in keys[:each]}


def test_objects_of_every_kind_are_each_taken_or_rejected_and_the_good_song_beside_them_is_started_once(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__INBOX_SONGS_PER_DAY", "100000")
    objects = chosen(2)
    assert len(objects) > 45
    for key, body in objects.items():
        archive.put(key, body)
    archive.put("inbox/0000-good.json", json.dumps(GOOD).encode())
    dag = InboxDag()
    for _ in range(2):
        states = dag.run()
        assert "failed" not in states.values(), (states, dag.errors)
        assert dag.events.count(GOOD) == 1
    folders = [key for key in objects if key.endswith("/")]  # an empty folder of an S3 browser is no object of anybody
    assert waiting(archive) == sorted(folders, key=str.encode)
    done = [key for key in all_keys(archive) if key.startswith("inbox/done/")]
    assert len(done) > 10, "too few of the objects could be taken for this to say much"
    assert len(dag.runs) > 2


def test_an_object_of_one_song_is_moved_though_no_object_of_many_has_come(archive: StoredFiles) -> None:
    archive.put("inbox/alone.json", json.dumps("a" * 32).encode())
    dag = InboxDag()
    assert dag.run()["move_to_done"] == "success"
    assert [key for key in archive.listed() if key.startswith("inbox/")] == ["inbox/done/alone.json"]
    assert dag.run()["move_to_done"] == "skipped"
    assert dag.events == ["a" * 32]


def test_an_object_whose_run_cannot_be_started_stays_and_the_task_says_so_after_moving_the_others(
    archive: StoredFiles,
) -> None:
    archive.put("inbox/alone.json", json.dumps("a" * 32).encode())
    archive.put("inbox/many.json", json.dumps(["b" * 32, "c" * 32]).encode())
    dag = InboxDag(refuses_runs=True)
    assert dag.run()["move_to_done"] == "failed"
    assert "The songs of 1 inbox object were not started" in str(dag.errors["move_to_done"])
    assert [key for key in archive.listed() if key.startswith("inbox/")] == ["inbox/done/alone.json", "inbox/many.json"]


def test_without_a_bucket_the_inbox_is_skipped_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__BUCKET", "")
    assert set(InboxDag().run().values()) == {"skipped"}
