"""What the page of a song says, and the link that leads there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.manifest import CreditsRecord, FileRecord, Manifest, SongRecord, TrackRecord
from airflow_kie.archive.pending import Failure, Options, Pending, Working, new_pending
from airflow_kie.archive.s3.objects import ObjectFacts
from airflow_kie.client.errors import KieError
from airflow_kie.links.kie import KieSongLink
from airflow_kie.web.pages import queries, routes
from airflow_kie.web.pages.files import safe_title
from airflow_kie.web.pages.view_model import SongPage, State, song_page
from archived_kinds import all_archived

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEYS = ArchiveKeys("songs").song("a1")
WORKING = Working(dag_id="music_cover", run_id="r1")


def cover(number: int = 1, **facts: Any) -> FileRecord:
    record = {
        "key": f"songs/a1/cover-{number}.png",
        "kind": "cover",
        "position": number,
        "size": 9,
        "sha256": "0" * 64,
        "content_type": "image/png",
        "archived_at": NOW,
    }
    return FileRecord(**{**record, **facts})


def manifest(*files: FileRecord, **song: Any) -> Manifest:
    files = files or (cover(),)
    return Manifest(
        music_task_id="a1",
        song=SongRecord(**song),
        files=files,
        available=all_archived(*files),
        created_at=NOW,
        updated_at=NOW,
    )


def pending(**facts: Any) -> Pending:
    return new_pending("a1", received_from="inbox", now=NOW).changed(**facts)


def page(stored: Manifest | None, pending_record: Pending | None, *, active: bool = False) -> SongPage:
    return song_page(KEYS, stored, pending_record, active=active, now=NOW)


def failed(reason: str, message: str) -> Pending:
    return pending(working=WORKING, last_failure=Failure(reason=reason, message=message, at=NOW))


@pytest.mark.parametrize(
    ("stored", "pending_record", "active", "state", "says"),
    [
        (manifest(), None, False, State.ARCHIVED, "complete and verified"),
        (manifest(), pending(working=WORKING), False, State.ARCHIVED, "complete and verified"),
        (manifest(), pending(options=Options(audio=True)), False, State.WAITING, "still pending: audio"),
        (manifest(), pending(options=Options(audio=True)), True, State.IN_PROGRESS, "still pending: audio"),
        (None, pending(unconfirmed="not_asked"), False, State.WAITING, "not confirmed yet that it is a song"),
        (None, pending(working=WORKING), True, State.IN_PROGRESS, "A run is working on it"),
        (None, pending(working=WORKING), False, State.WAITING, "has ended without it"),
        (None, pending(), False, State.WAITING, "from the inbox"),
        (None, failed("out_of_credits", "x"), False, State.FAILED, "incomplete files are neither"),
        (None, failed("out_of_credits", "x"), True, State.IN_PROGRESS, "A run is working on it"),
        (None, None, False, State.UNKNOWN, "not an audio id"),
    ],
)
def test_the_state_of_a_song_is_a_sentence(
    stored: Manifest | None, pending_record: Pending | None, active: bool, state: State, says: str
) -> None:
    shown = page(stored, pending_record, active=active)
    assert shown.state is state
    assert says in shown.sentence


@pytest.mark.parametrize("reason", sorted(KieError.by_reason))
def test_every_typed_failure_says_what_to_do_once(reason: str) -> None:
    error = KieError.by_reason[reason]("KIE's words", task_id="c1", source_id="a1")
    shown = page(None, failed(reason, str(error))).trouble
    assert shown is not None
    assert (shown.heading, shown.todo) == (error.what, error.todo)
    assert "KIE's words" in shown.happened
    assert shown.todo not in shown.happened


def test_what_happened_begins_where_the_heading_ends() -> None:
    error = KieError.by_reason["content_rejected"]("KIE's words", task_id="c1")
    shown = page(None, failed(error.reason, str(error))).trouble
    assert shown is not None and shown.happened.startswith("KIE task c1: KIE's words. ")


def test_a_failure_of_somebody_elses_error_sends_to_the_log() -> None:
    shown = page(None, failed("ZeroDivisionError", "division by zero")).trouble
    assert shown is not None
    assert (shown.happened, "log" in shown.todo) == ("Division by zero.", True)


def test_a_failure_of_an_earlier_run_is_marked_as_such_while_a_run_works_on_the_song() -> None:
    shown = page(None, failed("out_of_credits", "x"), active=True).trouble
    assert shown is not None and shown.heading.startswith("Earlier attempt: ")


@pytest.mark.parametrize(
    "facts",
    [
        {"key": "songs/a1/../b2/cover-1.png"},
        {"key": "songs/b2/cover-1.png"},
        {"key": "songs/a1/manifest.json"},
        {"key": "songs/a1/track-1.png"},
        {"key": "songs/a1/cover-1.png\n"},
        {"content_type": "text/html"},
        {"content_type": "image/svg+xml"},
        {"content_type": "application/javascript"},
        {"kind": "../cover", "key": "songs/a1/../cover-1.png"},
    ],
)
def test_a_file_that_is_not_a_harmless_one_of_the_song_is_counted_and_not_shown(facts: dict[str, Any]) -> None:
    shown = page(manifest(cover(), cover(2, **facts)), None)
    assert ([file.name for file in shown.files], shown.hidden) == (["cover-1.png"], 1)


def test_kies_own_copy_is_shown_with_its_end() -> None:
    for days, word in ((1, "kept until 21 November 2026"), (-1, "deleted on 19 November 2026")):
        facts = dict(page(manifest(cover(expires_at=NOW + timedelta(days=days))), None).facts)
        assert word in facts["KIE's own copy"]


def extra(kind: str, position: int, **facts: Any) -> FileRecord:
    known = {"content_type": "audio/mpeg", "audio_id": f"t{(position - 1) % 100 + 1}"} | facts
    return cover(position, key=f"songs/a1/extras/{kind}-{position}.mp3", kind=kind, **known)


def test_extras_are_named_by_what_they_are_and_of_which_take_and_midi_costs_what_it_needs() -> None:
    kinds = (("wav", 1), ("vocals", 1), ("vocals_instrumental", 1), ("stems_drums", 2), ("extended_track", 102))
    stored = manifest(*(extra(*one) for one in kinds), cover(437, origin="another_cover"))
    both = stored.changed(tracks=[TrackRecord(position=n, audio_id=f"t{n}") for n in (1, 2)])
    shown = page(both, None)
    captions = {file.name: file.caption for file in shown.files}
    assert captions == {
        "cover-437.png": "Another cover",
        "wav-1.mp3": "WAV, take 1",
        "vocals-1.mp3": "Vocals, take 1",
        "vocals_instrumental-1.mp3": "Instrumental, take 1",
        "stems_drums-2.mp3": "Stem: drums, take 2",
        "extended_track-102.mp3": "Extended version 2, take 2",
    }
    offered = {offer.name: (offer.price, offer.takes) for offer in shown.offers}
    assert offered["wav"] == ("0.4 credits", (1,)) and offered["midi"] == ("free", ())  # both takes have what it needs
    less = page(both.changed(files=both.files[:1]), None)
    assert {offer.name: offer.price for offer in less.offers}["midi"] == "up to 10 credits"
    assert page(stored, None).offers == ()  # without takes nothing can be asked for


def test_the_history_of_a_song_names_what_happened_in_its_order() -> None:
    made = manifest(cover(), cover(2), completed_at=NOW - timedelta(minutes=3), created_at=NOW - timedelta(minutes=5))
    later = extra("wav", 1, archived_at=NOW + timedelta(hours=1))
    happened = page(made.changed(files=(*made.files, later), first_seen_at=NOW - timedelta(minutes=4)), None).history
    assert [what for _, what in happened] == [
        "The song was requested from KIE",
        "Received here",
        "KIE finished it, after 2:00 minutes",
        "Archived: cover (2)",
        "Archived: WAV",
    ]


KEY = SimpleNamespace(dag_id="music_cover", run_id="manual__2026-11-20T12:00:00+00:00", task_id="t", map_index=0)
OF_RUN = "kie/runs/music_cover/manual__2026-11-20T12%3A00%3A00%2B00%3A00/songs/a1"


@pytest.mark.parametrize(
    ("bucket", "prefix", "dag_id", "link"),
    [
        ("covers", "songs", "music_cover", "kie/songs/a1"),
        ("covers", "/songs/", "music_cover", "kie/songs/a1"),
        ("other", "songs", "music_cover", OF_RUN),
        ("covers", "", "music_cover", OF_RUN),
        ("covers", "songs", "own dag", OF_RUN.replace("music_cover", "own%20dag")),
        (None, "songs", "music_cover", ""),
    ],
)
def test_the_link_of_a_task_leads_to_its_songs_page(
    monkeypatch: pytest.MonkeyPatch, bucket: str | None, prefix: str, dag_id: str, link: str
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__BUCKET", "covers")
    task: Any = SimpleNamespace(music_task_id="a1", bucket=bucket, prefix=prefix)
    key: Any = SimpleNamespace(**{**vars(KEY), "dag_id": dag_id})
    assert KieSongLink().get_link(task, ti_key=key) == link


@pytest.mark.parametrize("prefix", ["songs/", "/songs"])
def test_slashes_around_the_configured_prefix_make_no_other_place(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__BUCKET", "covers")
    monkeypatch.setenv("AIRFLOW__KIE__PREFIX", prefix)
    assert queries.configured_place() == queries.Place("covers", "songs")  # as runs and events name it
    task: Any = SimpleNamespace(music_task_id="a1", bucket="covers", prefix=prefix)
    assert KieSongLink().get_link(task, ti_key=KEY) == "kie/songs/a1"


@pytest.mark.parametrize("title", ["夢" * 80, "🎵" * 80, "long " * 80])
def test_a_long_title_leaves_room_for_the_rest_of_a_files_name(title: str) -> None:
    name = safe_title(page(manifest(title=title), None))
    assert len(f"{name} - {'0' * 36}".encode()) <= 255  # bytes, on Linux
    assert title.startswith(name)


@pytest.mark.parametrize(
    ("credits", "text"),
    [
        ({"music": 12.0, "cover": None}, "12 for music"),
        ({"music": 12.0, "cover": 0.0}, "12 for music, 0 for cover"),
        ({"music": None}, None),
    ],
)
def test_what_kie_does_not_say_of_a_tasks_cost_is_not_said_to_be_nothing(
    credits: dict[str, float | None], text: str | None
) -> None:
    used = [CreditsRecord(task_id=kind, kind=kind, credits=amount) for kind, amount in credits.items()]
    assert dict(page(manifest().changed(credits_used=used), None).facts).get("Credits") == text


def test_the_newest_pending_songs_of_all_are_shown_and_those_that_were_not_listed_are_mentioned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"s{n:04}" for n in range(1_200)]
    listed = [
        (ArchiveKeys("songs").song(name), ObjectFacts("", 1, NOW + timedelta(seconds=n)))
        for n, name in enumerate(names)
    ]
    answered: dict[str, Any] = {}
    monkeypatch.setattr(routes, "list_pending", lambda *_: iter(listed))
    monkeypatch.setattr(routes, "_read_many", lambda places: [SimpleNamespace(state=None, id=one) for one in places])
    monkeypatch.setattr(routes, "may_change", lambda _: False)
    monkeypatch.setattr(routes, "page_answer", lambda *_, **known: answered.update(known))
    monkeypatch.setattr(queries, "last_archived", lambda *_: ())
    place: Any = SimpleNamespace(open=lambda: None, prefix="songs")
    request: Any = None

    def shown() -> tuple[str, str, bool, int]:
        routes.songs(request, place)
        pending = [page.id for page in answered["pending"]]
        assert len(pending) == routes.PENDING_SHOWN
        return pending[0], pending[-1], answered["more"], answered["listed"]

    assert shown() == ("s1199", "s1150", True, 0)
    monkeypatch.setattr(routes, "PENDING_LISTED", 1_100)
    assert shown() == ("s1099", "s1050", True, 1_100)


def test_an_archived_song_shows_no_trouble_of_an_attempt_before() -> None:
    shown = page(manifest(), failed("out_of_credits", "x"))
    assert (shown.state, shown.trouble) == (State.ARCHIVED, None)
    assert any("An attempt failed" in what for _, what in shown.history)
