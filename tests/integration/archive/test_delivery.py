"""A release's folder is made whole or not at all, whatever dies, and says what nobody has told it."""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PIL import Image

from airflow_kie.archive.delivery import cover_image
from airflow_kie.archive.delivery.check import problems
from airflow_kie.archive.delivery.keys import ReleaseKeys
from airflow_kie.archive.delivery.metadata import TrackSource
from airflow_kie.archive.delivery.records import Release, ReleaseManifest
from airflow_kie.archive.delivery.release import deliver
from airflow_kie.archive.layout import ArchiveKeys, KeyRefused, SongKeys, TaskKeys
from airflow_kie.archive.manifest import Manifest, TaskManifest
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.client.errors import KieInvalidRequest, NotArchived
from media_server import picture, wav
from s3_servers import moto_s3
from songs_to_deliver import NOON, PREFIX, archive_song, stereo_wav

KEYS = ReleaseKeys(PREFIX, "My single")
WRITES = ("put_file", "put_json_if_unchanged", "delete")


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with moto_s3() as s3:
        bucket = Bucket(s3.client(), "songs")
        bucket.create_on_loopback()
        yield bucket


class Died(BaseException):
    """The process ends here."""


class Dying(Bucket):
    """A bucket whose process dies at the n-th write, before or after it."""

    left: int
    after: bool

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in WRITES:
            return found

        def write(*args: Any, **kwargs: Any) -> Any:
            object.__setattr__(self, "left", self.left - 1)
            if self.left == 0 and not self.after:
                raise Died
            done = found(*args, **kwargs)
            if self.left == 0:
                raise Died
            return done

        return write


def dying(bucket: Bucket, at: int, *, after: bool) -> Dying:
    other = Dying(bucket.client, bucket.name)
    object.__setattr__(other, "left", at)
    object.__setattr__(other, "after", after)
    return other


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_delivery_that_dies_at_any_write_leaves_no_half_release_and_the_next_one_finishes(
    bucket: Bucket, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cover_image, "SIDE", 64)  # made some thirty times
    task = archive_song(bucket, "one")
    for at in range(1, 30):
        deliver(bucket, KEYS, [TrackSource("one", wav=task)])
        try:  # another take: every file of the release changes
            deliver(dying(bucket, at, after=after), KEYS, [TrackSource("one", take=2, cover=2, wav=task)])
        except Died:
            left = list(problems(bucket, KEYS))
            unfinished = left == [f"{bucket.url(KEYS.folder)} has no manifest: the release was never completed."]
            assert unfinished or not any("missing" in line or "SHA-256" in line for line in left)
        else:
            break
        _, _, changed = deliver(bucket, KEYS, [TrackSource("one", take=2, cover=2, wav=task)])
        assert changed or after
        assert not any("manifest" in line or "SHA-256" in line for line in problems(bucket, KEYS))
    assert at > 5  # it has died at each of its writes
    _, _, changed = deliver(bucket, KEYS, [TrackSource("one", take=2, cover=2, wav=task)])
    assert not changed


def test_a_release_with_fewer_tracks_has_no_file_of_the_longer_one_wherever_a_delivery_has_died(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cover_image, "SIDE", 64)
    task = archive_song(bucket, "one")
    one, note = [TrackSource("one", wav=task)], f"{KEYS.folder}notes.txt"
    bucket.put_bytes(b"mine", note, content_type="text/plain")
    for at in range(1, 30):
        deliver(bucket, KEYS, [*one, TrackSource("one", take=2, wav=task)])
        try:
            deliver(dying(bucket, at, after=True), KEYS, one)
        except Died:
            pass
        else:
            break
        manifest, _, _ = deliver(bucket, KEYS, one)
        files = {KEYS.file(file.name) for file in manifest.files}
        assert {facts.key for facts in bucket.list(KEYS.folder)} == {*files, KEYS.manifest, note}
    assert at > 5  # it has died at each of its writes


class Overtaken(Bucket):
    """A bucket in which another delivery begins and ends after the first file of this one."""

    meanwhile: Callable[[], object]

    def put_file(self, *args: Any, **kwargs: Any) -> None:
        super().put_file(*args, **kwargs)
        self.__dict__.pop("meanwhile", lambda: None)()


def test_of_two_deliveries_of_a_release_at_a_time_one_is_there_whole(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cover_image, "SIDE", 64)
    task = archive_song(bucket, "one", sound=stereo_wav(60))  # uploaded in parts
    other = Overtaken(bucket.client, bucket.name)
    first, second = [TrackSource("one", wav=task)], [TrackSource("one", take=2, cover=2, wav=task)]
    object.__setattr__(other, "meanwhile", lambda: deliver(bucket, KEYS, second))
    manifest, _, _ = deliver(other, KEYS, first)
    assert ReleaseManifest.read(bucket, KEYS)[0] == manifest
    assert not any("missing" in line or "SHA-256" in line for line in problems(bucket, KEYS))


def test_a_source_is_given_up_before_the_next_one_is_read(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cover_image, "SIDE", 64)
    task, sources, read = archive_song(bucket, "one"), list[Any](), Bucket.read_facts

    def noted(self: Bucket, key: str, out: Any = None) -> Any:
        assert all(source.closed for source in sources)
        sources.append(out)
        return read(self, key, out)

    monkeypatch.setattr(Bucket, "read_facts", noted)
    deliver(bucket, KEYS, [TrackSource("one", wav=task), TrackSource("one", take=2, wav=task)])
    assert len(sources) == 7


def test_what_nobody_has_said_is_listed_and_not_invented(bucket: Bucket) -> None:
    archive_song(bucket, "one", artist="Label's own", genre="", explicit="no")
    archive_song(bucket, "hum", instrumental=True)
    manifest, release, _ = deliver(
        bucket, KEYS, [TrackSource("one"), TrackSource("hum")], defaults={"p_line": "2026 Us", "ai_lyrics": "none"}
    )
    assert (release.tracks[0].artist, release.tracks[0].explicit, release.artist) == ("Label's own", False, None)
    assert release.tracks[1].language == "zxx"
    assert (release.tracks[1].ai.vocals, release.tracks[0].ai.lyrics) == ("none", "none")
    assert set(manifest.missing) == {
        *("title", "artist", "genre", "release_date", "c_line"),
        *(f"tracks[1].{name}" for name in ("genre", "language", "writers", "wav")),
        *(f"tracks[2].{name}" for name in ("artist", "genre", "explicit", "writers", "wav")),
    }
    assert Release.from_json(bucket.get_json(KEYS.file("metadata.json")), "x") == release
    found = list(problems(bucket, KEYS))
    assert "metadata.json lacks title (required by DistroKid, AMM)." in found
    assert "metadata.json lacks c_line (required by iMusician (credits), AMM)." in found
    assert any(line.startswith("metadata.json lacks tracks[1].wav (required by Labelcaster, ") for line in found)


def test_a_field_of_the_release_is_what_the_labels_of_all_its_songs_say(bucket: Bucket) -> None:
    known = {"artist": "The Examples", "p_line": "2026 Us", "upc": "036000291452", "release_date": "2026-12-24"}
    archive_song(bucket, "one", **known, c_line="2026 Us", genre="Pop")
    archive_song(bucket, "two", **known, c_line="2026 Them", genre="Rock")
    sources = [TrackSource("one"), TrackSource("two")]
    _, release, _ = deliver(bucket, KEYS, sources, defaults={"genre": "Jazz", "artist": "Setting"})
    assert {name: str(getattr(release, name)) for name in known} == known
    assert (release.genre, release.c_line) == ("Jazz", None)
    assert [track.genre for track in release.tracks] == ["Pop", "Rock"]
    _, release, _ = deliver(bucket, KEYS, sources, credits={"artist": "A person"})
    assert release.artist == "A person"


def test_a_cover_that_a_person_has_uploaded_is_not_said_to_be_made_by_a_model_unless_it_says_so_itself(
    bucket: Bucket,
) -> None:
    archive_song(bucket, "one", side=64)
    keys = SongKeys(PREFIX, "one")
    song = Manifest.read(bucket, keys)[0]
    assert song
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "JPEG", xmp=b"<x:xmpmeta>trainedAlgorithmicMedia</x:xmpmeta>")
    marked = out.getvalue()
    for position, body in ((101, picture(7, size=(64, 64))), (102, marked)):
        key = keys.file("cover", position, "png")
        bucket.put_bytes(body, key, content_type="image/png")
        news = song.files[0].changed(
            key=key, position=position, origin="upload", size=len(body), sha256=hashlib.sha256(body).hexdigest()
        )
        song = song.changed(files=(*song.files, news))
    bucket.put_json(song.to_json(), keys.manifest)
    told = {}
    for cover in (1, 101, 102):
        manifest, release, _ = deliver(bucket, KEYS, [TrackSource("one", cover=cover)])
        out = io.BytesIO()
        bucket.read_facts(KEYS.file("cover.jpg"), out)
        says = b"trainedAlgorithmicMedia" in out.getvalue()
        told[cover] = (says, release.tracks[0].ai.cover, "tracks[1].ai.cover" in manifest.missing)
    assert told == {1: (True, "generated", False), 101: (False, None, True), 102: (True, None, True)}
    larger = song.files[0].changed(key=f"{PREFIX}/_tasks/market/larger/result-1.png", kind="result")
    bucket.put_bytes(first := picture(1, size=(64, 64)), larger.key, content_type="image/png")
    assert larger.sha256 == hashlib.sha256(first).hexdigest()
    task = TaskKeys(PREFIX, "market", "larger")
    made = TaskManifest(operation="market", task_id="larger", files=(larger,), created_at=NOON, updated_at=NOON)
    bucket.put_json(made.to_json(), task.manifest)
    _, release, _ = deliver(bucket, KEYS, [TrackSource("one", cover=101)], enlarged=task)
    out = io.BytesIO()
    bucket.read_facts(KEYS.file("cover.jpg"), out)
    assert b"/algorithmicallyEnhanced" in out.getvalue()
    assert release.cover_upscaled_with == "topaz/image-upscale and Lanczos"  # what was made is still too small


def test_a_file_that_was_changed_or_refused_by_distributors_is_named(bucket: Bucket) -> None:
    task = archive_song(bucket, "one", sound=wav())
    deliver(bucket, KEYS, [TrackSource("one", wav=task)])
    bucket.delete(KEYS.file("track-01.mp3"))
    bucket.put_bytes(b"other", KEYS.file("cover.jpg"), content_type="image/jpeg")
    found = list(problems(bucket, KEYS))
    assert "track-01.mp3 is missing." in found
    assert "cover.jpg is not the file that was delivered: its SHA-256 differs." in found
    assert "track-01.wav: Symphonic requires 44,100 Hz; this one has 8,000 Hz." in found
    assert "track-01.wav: Symphonic requires 2 channels; this one has 1." in found
    deliver(bucket, KEYS, [TrackSource("one", wav=task)])
    assert not any("missing" in line or "SHA-256" in line for line in problems(bucket, KEYS))


@pytest.mark.parametrize(
    ("tracks", "credits", "error", "says"),
    [
        ([], {}, KieInvalidRequest, "1 to 100 tracks"),
        ([TrackSource("nobody")], {}, NotArchived, "song nobody is not archived"),
        ([TrackSource("one", take=7)], {}, NotArchived, "track 7 of song one is not archived"),
        ([TrackSource("one")], {"upc": "123"}, KieInvalidRequest, "upc: a UPC or EAN has 12 or 13 digits"),
        ([TrackSource("one", credits={"isrc": "x"})], {}, KieInvalidRequest, "isrc: an ISRC has two letters"),
        ([TrackSource("one", credits={"ai": "none"})], {}, KieInvalidRequest, "ai: Input should be"),
        ([TrackSource("one")], {"release_date": "soon"}, KieInvalidRequest, "release_date: "),
    ],
)
def test_what_cannot_be_delivered_is_named_and_nothing_is_stored(
    bucket: Bucket, tracks: list[TrackSource], credits: dict[str, Any], error: type[Exception], says: str
) -> None:
    archive_song(bucket, "one")
    with pytest.raises(error, match=re.escape(says)):
        deliver(bucket, KEYS, tracks, credits=credits)
    assert list(bucket.list(ArchiveKeys(PREFIX).releases)) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "x" * 101, " x", "x\n", "{{ x }}", "a\\b"])
def test_a_release_has_a_name_that_can_be_part_of_a_key(name: str) -> None:
    with pytest.raises(KeyRefused):
        ReleaseKeys(PREFIX, name)


@pytest.mark.parametrize("name", ["हिन्दी गीत", "เพลงช้า", "Ete\u0301 sans fin"])
def test_a_release_is_named_in_any_script_and_however_an_accent_was_typed(name: str) -> None:
    assert ReleaseKeys(PREFIX, name).folder == f"{PREFIX}/release/{unicodedata.normalize('NFC', name)}/"
