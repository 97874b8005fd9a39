"""The library's catalogue: what a search finds, and that it keeps up with an index that changes."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_kie.archive.index.entry import IndexChoice, IndexEntry, IndexFile
from airflow_kie.archive.record_base import Label
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.client.errors import KieConnectionInvalid, KieError, KieUnexpected
from airflow_kie.web.library import catalogue_file, catalogue_lines, catalogues, releases, routes
from airflow_kie.web.library.catalogue import Catalogue, Found
from airflow_kie.web.library.search import ORDERS, Search
from airflow_kie.web.pages.queries import Place

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
WRONG: tuple[dict[str, Any], ...] = (
    *({"id": 5}, {"files": [{"kind": "cover"}]}, {"archived_at": "soon"}, {"archived_at": "2026-11-20T12:00:00"}),
    *({"labels": [["album", "A"]]}, {"choice": "first"}, {"title": {"en": "x"}}, {"deleted": "no"}),
)
SOUND = IndexFile(name="track-1.mp3", kind="track", position=1, content_type="audio/mpeg", size=1)
IMAGE = IndexFile(name="cover-1.png", kind="cover", position=1, content_type="image/png", size=1)


def entry(id: str, title: str | None = None, **known: Any) -> IndexEntry:
    made = IndexEntry(id=id, operation="suno.music", title=title, archived_at=NOW, updated_at=NOW, files=(IMAGE,))
    return made.changed(**known)


def text(entry: IndexEntry) -> bytes:
    return json.dumps(entry.to_json()).encode()


@dataclass
class Segments:
    """An index in memory.

    :param lines: its objects, by key.
    :param broken: what reading it raises.
    """

    lines: dict[str, list[IndexEntry]] = field(default_factory=dict)
    broken: KieError | None = None

    def segments(self) -> list[str]:
        if self.broken:
            raise self.broken
        return sorted(self.lines, reverse=True)

    def add(self, entries: Iterable[IndexEntry]) -> None:
        """Nothing reads it again here."""

    def texts(self, keys: Iterable[str]) -> Iterator[tuple[str, list[bytes]]]:
        yield from ((key, list(map(text, self.lines[key]))) for key in keys)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every search read what is new, and wait for it."""

    def refresh(self: Catalogue) -> None:
        self._syncing.acquire()
        self._sync()

    monkeypatch.setattr(Catalogue, "_refresh", refresh)


@pytest.fixture
def found() -> Callable[..., list[str]]:
    songs = [
        entry("a1", "Été sans fin", tags="lo-fi, rain", model="V6", files=(IMAGE, SOUND)),
        entry("b2", "Paper Boats", model="V5_5", archived_at=NOW - timedelta(days=1), prompt="an ÜBER slow song"),
        entry(
            "c3",
            "paper lantern",
            archived_at=NOW - timedelta(days=40),
            labels=(Label(name="album", value="A-17"),),
            expires_at=datetime.now(UTC) + timedelta(days=1),
            files=(IMAGE, IMAGE.changed(name="cover-2.png", position=2)),
        ),
        entry("d4", None, operation="market", expires_at=NOW, archived_at=NOW - timedelta(days=2)),
    ]
    catalogue = Catalogue(Segments({"1": songs}))  # type: ignore[arg-type]

    def find(**search: str) -> list[str]:
        return [one.id for one in catalogue.find(Search(**search), 0, 10).entries]

    return find


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("ete", ["a1"]),
        ("ÉTÉ FIN", ["a1"]),
        ("e\u0301te\u0301", ["a1"]),  # as macOS writes names of files
        ("paper", ["b2", "c3"]),
        ("pap boa", ["b2"]),
        ("uber", ["b2"]),
        ("lo-fi", ["a1"]),
        ("album A-17", ["c3"]),
        ("d4", ["d4"]),
        ("market", ["d4"]),
        ("nothing", []),
        ('"paper OR', []),
        ("paper*) --", ["b2", "c3"]),
        ("  ", ["a1", "b2", "d4", "c3"]),
        ("%", ["a1", "b2", "d4", "c3"]),
    ],
)
def test_every_word_begins_a_word_of_the_result_whatever_its_case_and_accents(
    found: Callable[..., list[str]], text: str, ids: list[str]
) -> None:
    assert found(text=text) == ids


def test_neighbours_are_those_of_the_search_and_counts_those_of_everything() -> None:
    songs = [entry(f"a{n}", f"Song {n}", model=f"V{n % 2}", archived_at=NOW - timedelta(days=n)) for n in range(5)]
    catalogue = Catalogue(Segments({"1": songs}))  # type: ignore[arg-type]

    def around(id: str, **search: str) -> list[str | None]:
        return [one and one.id for one in catalogue.neighbours(Search(**search), f"suno.music/{id}")]

    assert [around("a0"), around("a2"), around("a4")] == [[None, "a1"], ["a1", "a3"], ["a3", None]]
    assert around("a2", model="V0") == ["a0", "a4"] and around("a2", order="oldest") == ["a3", "a1"]
    assert around("a1", model="V0") == around("none") == [None, None]
    counts = catalogue.find(Search(model="V1"), 0, 1).counts
    assert counts["model"] == {"V0": 3, "V1": 2} and counts["medium"]["image"] == 5
    assert counts["state"]["no audio yet"] == 5 and counts["label"] == {}
    catalogue.add(songs[0].changed(model="V1", updated_at=NOW + timedelta(days=1)))
    assert catalogue.find(Search(), 0, 1).counts["model"] == {"V1": 3, "V0": 2}


@pytest.mark.parametrize(
    ("search", "ids"),
    [
        ({"medium": "audio"}, ["a1"]),
        ({"medium": "nonsense"}, ["a1", "b2", "d4", "c3"]),
        ({"model": "V5_5"}, ["b2"]),
        ({"since": "2026-11-19"}, ["a1", "b2"]),
        ({"label": "album: A-17"}, ["c3"]),
        ({"label": "album"}, []),
        ({"state": "no audio yet"}, ["b2", "c3"]),
        ({"state": "KIE deletes soon"}, ["c3"]),
        ({"state": "needs a choice"}, ["c3"]),
        ({"state": "1 = 1"}, ["a1", "b2", "d4", "c3"]),
        ({"until": "2026-11-18"}, ["d4", "c3"]),
        ({"since": "2026-11-18", "until": "2026-11-19"}, ["b2", "d4"]),
        ({"text": "paper", "model": "V5_5"}, ["b2"]),
        ({"order": "oldest"}, ["c3", "d4", "b2", "a1"]),
        ({"order": "title"}, ["d4", "a1", "b2", "c3"]),
        ({"order": "expires"}, ["d4", "c3", "a1", "b2"]),
        ({"order": "drop table"}, ["a1", "b2", "d4", "c3"]),
    ],
)
def test_results_are_filtered_and_sorted(
    found: Callable[..., list[str]], search: dict[str, str], ids: list[str]
) -> None:
    assert found(**search) == ids


def test_the_longest_label_that_can_be_set_is_a_filter() -> None:
    label = Label(name="n" * 256, value="v" * 256)
    catalogue = Catalogue(Segments({"1": [entry("a", labels=(label,)), entry("b")]}))  # type: ignore[arg-type]
    search = routes.search_of(label=f"{label.name}: {label.value}")
    assert [one.id for one in catalogue.find(search, 0, 10).entries] == ["a"]


@pytest.mark.parametrize("order", sorted(ORDERS))
@pytest.mark.parametrize("words", ["", "paper"])
def test_neighbours_are_beside_a_result_on_the_page_however_much_they_have_in_common(order: str, words: str) -> None:
    times = (NOW, NOW - timedelta(days=1))
    facts = product(("Paper", "paper boats", None), times, (None, *times))
    songs = [
        entry(f"s{n}", title, archived_at=at, expires_at=ends)
        for n, (title, at, ends) in enumerate([*facts] * 2)  # each twice
    ]
    catalogue = Catalogue(Segments({"1": songs}))  # type: ignore[arg-type]
    search = Search(words, order=order)
    shown = [None, *(one.id for one in catalogue.find(search, 0, 100).entries), None]
    assert len(shown) == (26 if words else 38)
    for before, id, after in zip(shown, shown[1:], shown[2:], strict=False):
        around = catalogue.neighbours(search, f"suno.music/{id}")
        assert [one and one.id for one in around] == [before, after], id


def page(catalogue: Catalogue, **search: str) -> Found:
    return catalogue.find(Search(**search), 0, 10)


def test_a_result_that_changes_is_found_by_its_new_words_alone() -> None:
    index = Segments({"1": [entry("a", "Old Name")]})
    catalogue = Catalogue(index)  # type: ignore[arg-type]
    assert page(catalogue, text="old").count == 1
    index.lines["2"] = [entry("a", "New Name", updated_at=NOW + timedelta(minutes=1))]
    assert (page(catalogue, text="old").count, page(catalogue, text="new").count, page(catalogue).total) == (0, 1, 1)
    index.lines["3"] = [entry("a", "Old Name")]  # a compacted object that repeats the earlier line
    assert (page(catalogue, text="old").count, page(catalogue, text="new").count) == (0, 1)


def test_what_is_deleted_from_the_archive_is_found_no_more() -> None:
    index = Segments({"1": [entry("a", "Gone"), entry("b", "Here")]})
    catalogue = Catalogue(index)  # type: ignore[arg-type]
    assert page(catalogue).total == 2
    index.lines["2"] = [entry("a", updated_at=NOW + timedelta(minutes=1), deleted=True)]
    assert [one.id for one in page(catalogue).entries] == ["b"]
    assert catalogue.entry("suno.music/a") is None
    found = catalogue.entry("suno.music/b")
    assert found is not None and found.title == "Here"


def test_a_damaged_line_is_left_out_and_named_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    whole = entry("a", "Whole")
    wrong = [
        b"",
        b'{"half',
        b"[1]",
        b'"\xff"',
        *(json.dumps({**whole.to_json(), "id": "b", **fields}).encode() for fields in WRONG),
    ]
    index = Segments({"1": [whole]})
    index.texts = lambda keys: ((key, [*wrong, text(whole), *wrong]) for key in keys)  # type: ignore[method-assign]
    catalogue = Catalogue(index)  # type: ignore[arg-type]
    assert [one.id for one in page(catalogue).entries] == ["a"]
    assert f"1: {2 * len(wrong)} lines are damaged. `airflow kie index --rebuild` repairs it." in caplog.text


def test_a_line_with_a_wrong_part_that_no_search_needs_is_not_shown_and_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong = json.dumps({**entry("b", "Wrong").to_json(), "credits": "many"}).encode()
    index = Segments()
    catalogue = Catalogue(index)  # type: ignore[arg-type]
    index.lines = {"1": []}
    index.texts = lambda keys: ((key, [wrong, text(entry("a", "Whole"))]) for key in keys)  # type: ignore[method-assign]
    assert [one.id for one in page(catalogue).entries] == ["a"]
    assert catalogue.entry("suno.music/b") is None and "A line of the index is damaged: credits." in caplog.text
    index.lines = {"2": []}
    index.texts = lambda keys: ((key, [wrong, text(entry("b", "Mended"))]) for key in keys)  # type: ignore[method-assign]
    assert [one.title for one in page(catalogue, text="mended").entries] == ["Mended"]
    assert page(catalogue, text="wrong").count == 0


def test_lines_of_one_result_are_one_result_however_they_come() -> None:
    chosen = IndexChoice(cover=2, by="ann", at=NOW)
    lines = [
        entry("a", "First"),
        entry("a", "Chosen", choice=chosen),
        entry("a", "Last", updated_at=NOW + timedelta(minutes=1)),
        entry("b", "Gone", updated_at=NOW - timedelta(minutes=1)),
        entry("b", deleted=True),
        entry("c", deleted=True),
        entry("c", "Made again", updated_at=NOW + timedelta(minutes=1)),
    ]
    together = Catalogue(Segments({"1": lines}))  # type: ignore[arg-type]
    apart = Catalogue(Segments({str(-n): [line] for n, line in enumerate(lines)}))  # type: ignore[arg-type]
    for catalogue in (together, apart):
        again, one = page(catalogue, order="title").entries[::-1]
        assert (one.id, one.title, one.choice, again.title) == ("a", "Last", chosen, "Made again")
        assert page(catalogue, state="chosen").count == 1 and page(catalogue, text="first").count == 0


def test_objects_that_are_not_compacted_yet_go_in_together_and_the_first_page_of_them_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index, taken = Segments({f"{n:03}": [entry(f"a{n}")] for n in range(250)}), []

    def put(base: Any, texts: list[bytes]) -> int:
        taken.append(len(texts))
        return catalogue_lines.put(base, texts)

    monkeypatch.setattr("airflow_kie.web.library.catalogue.put", put)
    assert page(Catalogue(index)).total == 250  # type: ignore[arg-type]
    assert taken == [*[8] * 6, 100, 100, 2]


def test_what_is_read_of_the_index_is_not_read_by_its_slow_class(monkeypatch: pytest.MonkeyPatch) -> None:
    index = Segments({"1": [entry(f"a{n}") for n in range(20)]})
    catalogue, read = Catalogue(index), IndexEntry.model_validate_json  # type: ignore[arg-type]
    calls: list[bytes] = []
    monkeypatch.setattr(IndexEntry, "model_validate_json", lambda line: calls.append(line) or read(line))
    catalogue.find(Search(), 0, 3)
    assert len(calls) == 3  # those that are shown


def test_ids_of_different_operations_are_different_results() -> None:
    catalogue = Catalogue(Segments({"1": [entry("a"), entry("a", operation="market")]}))  # type: ignore[arg-type]
    assert page(catalogue).total == 2


def test_pages_follow_each_other() -> None:
    songs = [entry(f"s{number}", archived_at=NOW - timedelta(minutes=number)) for number in range(25)]
    catalogue = Catalogue(Segments({"1": songs}))  # type: ignore[arg-type]
    pages = [catalogue.find(Search(), first, 10).entries for first in (0, 10, 20)]
    assert [one.id for some in pages for one in some] == [f"s{number}" for number in range(25)]


def test_an_index_that_cannot_be_read_is_an_error_only_where_nothing_was_read_before() -> None:
    index = Segments(broken=KieUnexpected("S3 is down"))
    catalogue = Catalogue(index)  # type: ignore[arg-type]
    with pytest.raises(KieUnexpected, match="S3 is down"):
        page(catalogue)
    index.broken, index.lines = None, {"1": [entry("a")]}
    assert page(catalogue).total == 1
    index.broken = KieUnexpected("down again")
    assert page(catalogue).total == 1


def test_the_newest_object_is_read_first() -> None:
    read: list[str] = []

    class Watched(Segments):
        def texts(self, keys: Iterable[str]) -> Iterator[tuple[str, list[bytes]]]:
            for key, texts in super().texts(keys):
                read.append(key)
                yield key, texts

    page(Catalogue(Watched({"2026-09/x": [], "2026-11/x": [], "2026-10/x": []})))  # type: ignore[arg-type]
    assert read == ["2026-11/x", "2026-10/x", "2026-09/x"]


@pytest.mark.parametrize(
    ("search", "query"),
    [
        (Search(), ""),
        (Search("newest", order="title"), "q=newest&sort=title"),
        (Search("a&b=c", medium="audio"), "q=a%26b%3Dc&medium=audio"),
        (Search(since="2026-11-20", zone="Asia/Tokyo"), "since=2026-11-20&zone=Asia%2FTokyo"),
    ],
)
def test_the_address_of_another_page_has_the_whole_search(search: Search, query: str) -> None:
    assert routes.query_of(search) == query
    assert routes.query_of(search, "list") == f"{query}{'&' if query else ''}view=list"
    assert routes.query_of(search, "<b>") == query


@pytest.mark.parametrize(
    ("missing", "sentences"),
    [
        ([], []),
        (["title", "upc"], ["metadata.json lacks title, upc."]),
        (
            [
                "c_line",
                "tracks[1].wav",
                "tracks[1].ai.lyrics",
                "tracks[2].wav",
                "tracks[10].wav",
                "tracks[10].ai.lyrics",
            ],
            ["metadata.json lacks c_line.", "For tracks 1, 10 it lacks wav, ai.lyrics.", "For track 2 it lacks wav."],
        ),
    ],
)
def test_what_a_release_lacks_is_said_once_for_all_tracks_that_lack_the_same(
    missing: list[str], sentences: list[str]
) -> None:
    assert list(releases.lacking(missing)) == sentences


def test_an_archive_has_one_catalogue_however_many_requests_come(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client = SimpleNamespace(meta=SimpleNamespace(endpoint_url="http://s3"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(Place, "open", lambda place: Bucket(client, place.bucket))
    monkeypatch.setattr(catalogues, "_catalogues", {})
    places = [Place("songs", "music"), Place("songs", "music"), Place("songs", "other")]
    first, second, other = map(catalogues.catalogue_of, places)
    assert first is second and first is not other


def test_the_index_is_read_with_the_s3_connection_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(catalogues, "_catalogues", {})
    for key in ("old key", "new key"):
        client = SimpleNamespace(meta=SimpleNamespace(endpoint_url="http://s3"), key=key)
        monkeypatch.setattr(Place, "open", lambda place, client=client: Bucket(client, place.bucket))
        assert catalogues.catalogue_of(Place("songs", "music")).index.bucket.client.key == key

    def refused(place: Place) -> Bucket:
        raise KieConnectionInvalid("S3 connection aws_default cannot be opened")

    monkeypatch.setattr(Place, "open", refused)
    assert catalogues.catalogue_of(Place("songs", "music")).index.bucket.client.key == "new key"
    with pytest.raises(KieConnectionInvalid):
        catalogues.catalogue_of(Place("songs", "other"))


# --- the file of a catalogue ---


def ids(catalogue: Catalogue, **search: str) -> list[str]:
    return [one.id for one in catalogue.find(Search(**search), 0, 10).entries]


def test_a_process_that_begins_finds_what_another_has_read_and_reads_only_what_is_new(tmp_path: Path) -> None:
    index, read = Segments({"1": [entry("a", "Paper")]}), []
    ids(Catalogue(index, tmp_path / "c.sqlite"))  # type: ignore[arg-type]
    index.lines = {"1": [], "2": [entry("b", "Boats")]}
    texts = index.texts
    index.texts = lambda keys: texts(read.append(key) or key for key in keys)  # type: ignore
    assert sorted(ids(Catalogue(index, tmp_path / "c.sqlite"))) == ["a", "b"]  # type: ignore[arg-type]
    assert read == ["2"]


def test_a_process_that_begins_shows_what_another_has_read_before_it_has_listed_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, listed = Segments({"1": [entry("a")]}), threading.Event()
    ids(Catalogue(index, tmp_path / "c.sqlite"))  # type: ignore[arg-type]
    monkeypatch.undo()  # a thread reads, as in life
    monkeypatch.setattr("airflow_kie.web.library.catalogue.PATIENT", 20.0)
    monkeypatch.setattr(index, "segments", lambda: [str(listed.wait(60))])
    catalogue = Catalogue(index, tmp_path / "c.sqlite")  # type: ignore[arg-type]
    found = catalogue.find(Search(), 0, 10)
    assert ([one.id for one in found.entries], found.complete, catalogue._some.is_set()) == (["a"], False, True)
    index.lines = {"True": []}
    listed.set()


def test_a_catalogue_of_objects_of_which_none_is_left_is_made_anew(tmp_path: Path) -> None:
    index = Segments({"1": [entry("a", "Paper", labels=(Label(name="x", value="y"),))]})
    catalogue = Catalogue(index, tmp_path / "c.sqlite")  # type: ignore[arg-type]
    assert ids(catalogue, text="paper") == ["a"]
    index.lines = {"2": [entry("b", "Boats")]}
    assert ids(catalogue) == ["b"] and ids(catalogue, text="paper") == []
    assert catalogue.find(Search(), 0, 1).counts["label"] == {}
    index.lines = {}
    assert ids(catalogue) == []


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    assert ids(Catalogue(Segments({"1": [entry("a")]}), tmp_path / "c.sqlite")) == ["a"]  # type: ignore[arg-type]


def test_processes_that_read_the_same_objects_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    index = Segments({str(n): [entry(f"s{n}-{m}") for m in range(20)] for n in range(10)})

    def total(_: int) -> int:  # each has connections of its own, as processes have
        return Catalogue(index, tmp_path / "c.sqlite").find(Search(), 0, 1).total  # type: ignore[arg-type]

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(total, range(8))) == {200}


@pytest.mark.parametrize("gone", ["file", "folder"])
def test_a_file_that_somebody_has_deleted_is_made_again(tmp_path: Path, gone: str) -> None:
    index, file = Segments({"1": [entry("a", "Paper")]}), tmp_path / "kept" / "c.sqlite"
    file.parent.mkdir()
    catalogue = Catalogue(index, file)  # type: ignore[arg-type]
    assert ids(catalogue) == ["a"]
    file.unlink() if gone == "file" else shutil.rmtree(file.parent)
    assert ids(catalogue) == ["a"]
    assert ids(catalogue, text="paper") == ["a"]


def test_the_folder_of_catalogues_is_this_users_alone_or_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    file = catalogue_file.shared_file("http://s3", "songs")
    assert file is not None and file.parent.stat().st_mode & 0o777 == 0o700
    assert file == catalogue_file.shared_file("http://s3", "songs") != catalogue_file.shared_file("http://s3", "other")
    for path, age in ((file, 0), (file.with_name("old.sqlite"), catalogue_file.UNUSED + 60)):
        path.write_bytes(b"")
        os.utime(path, (time.time() - age, time.time() - age))
    catalogue_file.shared_file("http://s3", "songs")
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    file.parent.chmod(0o755)
    assert catalogue_file.shared_file("http://s3", "songs") is None
    shutil.rmtree(file.parent)
    file.parent.symlink_to(tmp_path)
    assert catalogue_file.shared_file("http://s3", "songs") is None


def test_the_first_lines_of_a_large_object_are_found_before_all_of_it_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_kie.web.library.catalogue._AT_ONCE", 50)
    catalogue, found = Catalogue(Segments()), []  # type: ignore[arg-type]

    def lines() -> Iterator[bytes]:
        yield from (text(entry(f"a{number}")) for number in range(50))
        with catalogue._open() as base:
            found.extend(base.execute("select count(*) from entry").fetchone())
        yield text(entry("last"))

    catalogue._take({"1": lines()})
    assert found == [50]
    catalogue._take({"1": lines()})  # it is read already
    assert found == [50]


@pytest.mark.parametrize(
    ("zone", "day", "is_found"),
    [
        ("", "2026-11-20", True),
        ("Asia/Tokyo", "2026-11-20", True),
        ("Asia/Tokyo", "2026-11-21", False),
        ("Pacific/Kiritimati", "2026-11-21", True),
        ("Pacific/Kiritimati", "2026-11-20", False),
        ("America/New_York", "2026-11-20", True),
    ],
)
def test_a_day_that_is_searched_for_is_one_of_the_readers_zone(zone: str, day: str, is_found: bool) -> None:
    catalogue = Catalogue(Segments({"1": [entry("a")]}))  # type: ignore[arg-type]  # archived at noon in UTC
    assert page(catalogue, since=day, until=day, zone=zone).count == is_found


@pytest.mark.parametrize("text", ["", "x", "2026-13-01", "0020-01-01", "9999-12-31", "2026-11-20T00:00", "' or 1"])
def test_what_is_no_day_and_no_zone_is_no_filter(text: str) -> None:
    assert routes.search_of(since=text, until=text, zone=text) == Search()


@pytest.mark.parametrize("zone", ["../etc/passwd", "America", "/etc/localtime", "x" * 5000, "No/Such", "\0"])
def test_a_zone_that_there_is_not_is_utc(zone: str) -> None:
    assert routes.search_of(until="2026-11-20", zone=zone) == Search(until="2026-11-20")
    assert routes.search_of(zone="Asia/Tokyo") == Search()  # without a day it says nothing
