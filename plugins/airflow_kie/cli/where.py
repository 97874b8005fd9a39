"""`airflow kie where <id>`: what is known of one song or other KIE task, and what happens next. Reads only."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime

from airflow_kie import settings
from airflow_kie._airflow_private import metadata
from airflow_kie.archive.inbox.song_request import id_errors
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.manifest import Manifest
from airflow_kie.archive.pending import Pending
from airflow_kie.archive.removing.places import Place, places_of
from airflow_kie.archive.run_songs import read_claims
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.archive.unarchived import unarchived_of
from airflow_kie.cli.arguments import open_archive
from airflow_kie.cli.terminal import InvalidArgument, command, complain, say
from airflow_kie.client.answers.decode import DetailsAnswer, Read, Unreadable
from airflow_kie.client.errors import KieError, Scope
from airflow_kie.client.operations.suno import COVER
from airflow_kie.durable.task_state import source_key
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.ledger import ledger_stores
from airflow_kie.lifecycle.claims import RequestId
from airflow_kie.lifecycle.identity import request_digest
from airflow_kie.lifecycle.ledger import Ledger
from airflow_kie.monitoring.checks.account import COVERS_SEEN
from airflow_kie.monitoring.checks.findings import error_text
from airflow_kie.web.pages.view_model import song_page

Runs = list[tuple[str, str, str]]
"""DAG id, run id and state of each."""


@command()
def where(args: Namespace) -> int:
    """Print what is known of a KIE task; the exit code is 1 if nothing is known of the id.

    :param args: `id`, `archive` (None: that of [kie]).
    """
    if problems := id_errors([args.id]):
        raise InvalidArgument(problems[0])
    bucket, keys = open_archive(args.archive)
    if _show(SongArchive(bucket, keys.song(args.id))):
        return 0
    if _show_task(bucket, keys, args.id):
        return 0
    song, unread = _song_of_cover(args.id)
    if song and _show(SongArchive(bucket, keys.song(song))):
        return 0
    for conn_id, error in unread.items():
        complain(f"Connection {conn_id}: {error_text(error)}")
    known = "whether KIE knows such a cover could not be read" if unread else "KIE knows no such cover"
    complain(
        f"{args.id} is neither archived nor pending here, no run works on it, and {known}. Use the task id from "
        "kie.ai/logs, not an audio id. To archive a song, trigger music_cover with it."
    )
    return 1


def _song_of_cover(cover_task_id: str) -> tuple[str | None, dict[str, KieError]]:
    """Return the song that a cover belongs to, as KIE's details say, which are free.

    :return: and why the details could not be read, by connection.
    """
    unread: dict[str, KieError] = {}
    for conn_id in settings.allowed_connections():
        try:
            answer: DetailsAnswer = KieHook(conn_id).details(COVER.name, cover_task_id)
        except KieError as error:
            answer = Unreadable(error)
        if isinstance(answer, Unreadable) and answer.error.scope is not Scope.TASK:
            unread[conn_id] = answer.error  # another account's connection may know it
        if isinstance(answer, Read) and answer.details.parent_id:
            return answer.details.parent_id, unread
    return None, unread


def _show_task(bucket: Bucket, keys: ArchiveKeys, task_id: str) -> bool:
    """Print what is known of a task other than a song; return False if nothing is."""
    places, outstanding = places_of(bucket, keys, task_id), unarchived_of(bucket, keys, task_id)
    for place in places:
        if place.song and not place.whole:
            say(f"KIE task {task_id} made a part of song {place.song.music_task_id}:")
        else:
            whole = "Archived." if place.manifest else "Incomplete: its folder has no readable manifest."
            say(f"{place.keys.name}: {whole}")
        for line in _task_facts(bucket, place):
            say(f"  {line}")
    for one in outstanding:
        by = one.expires_at.isoformat(timespec="minutes")
        say(f"KIE task {task_id} ({one.operation}): paid but not archived. KIE deletes its results by {by}.")
        say(f"  requested by: DAG {one.dag_id}, run {one.run_id}, task {one.airflow_task_id}")
        say(f"  what to do: clear that task, or run `airflow kie redrive {task_id}`, which archives it at no cost")
    return bool(places or outstanding)


def _task_facts(bucket: Bucket, place: Place) -> Iterator[str]:
    if manifest := place.manifest:
        yield f"manifest: {bucket.url(place.keys.manifest)}"
        yield from (f"file: {bucket.url(file.key)}, {file.size:,} bytes" for file in place.files)
        used = [cost.credits for cost in manifest.credits_used if cost.task_id == place.task_id]
        yield f"credits used: {'not known' if not used or used[0] is None else format(used[0], 'g')}"
        if manifest.airflow.dag_id and manifest.airflow.run_id:
            yield f"run: {manifest.airflow.dag_id} {manifest.airflow.run_id}, archived it"


def _in_ledger(music_task_id: str) -> tuple[dict[str, str], bool]:
    """Return the cover tasks of a song that the accounts' ledgers name, with the API variant of each request.

    :return: the tasks with their API variant, and whether a ledger could not be read (a message names it).
    """
    digest = request_digest(COVER, {"taskId": music_task_id}, {})
    found: dict[str, str] = {}
    unread = False
    for conn_id in settings.allowed_connections():
        try:
            hook = KieHook(conn_id)
            request = RequestId(hook.account.spending_name, COVER.name, digest)
            for store in ledger_stores(hook).values():
                ledger = Ledger(store)
                for attempt in ledger.attempts(request):
                    found |= dict.fromkeys(attempt.task_ids, ledger.form(request, attempt.number))
        except KieError as error:
            unread = True
            complain(f"Connection {conn_id}: {error_text(error)}")
    return found, unread


def _show(archive: SongArchive) -> bool:
    """Print what is known of a song; return False if nothing is."""
    manifest, pending = archive.manifest(), archive.pending()
    music_task_id = archive.keys.music_task_id
    runs = metadata.runs_of_song(music_task_id, source_key("cover", music_task_id))
    if not (manifest or pending or runs):
        return False
    active = any(state in ("queued", "running") for _, _, state in runs)
    if pending and pending.working and not active:
        active = metadata.run_is_active(pending.working.dag_id, pending.working.run_id)
    page = song_page(archive.keys, manifest, pending, active=active, now=datetime.now(UTC))
    say(f"{page.title}, music task {music_task_id}")
    say(f"{page.state.value}. {page.sentence}")
    for line in _facts(archive, manifest, pending, runs):
        say(f"  {line}")
    if trouble := page.trouble:
        say(f"  {trouble.heading} ({trouble.at.isoformat(timespec='seconds')}): {trouble.happened}")
        say(f"  what to do: {trouble.todo}")
    return True


def _facts(archive: SongArchive, manifest: Manifest | None, pending: Pending | None, runs: Runs) -> Iterator[str]:
    """Yield where the song is stored, what is paid, and its runs."""
    covers: tuple[str, ...] = ()
    known = {(dag_id, run_id): state for dag_id, run_id, state in runs}
    if manifest:
        yield f"manifest: {archive.bucket.url(archive.keys.manifest)}"
        yield from (f"file: {archive.bucket.url(file.key)}, {file.size:,} bytes" for file in manifest.files)
        covers = manifest.cover_task_ids
    if pending:
        yield f"pending record: {archive.bucket.url(archive.keys.pending)}"
        if working := pending.working:
            known.setdefault((working.dag_id, working.run_id), "as the pending record says")
        for claim in read_claims(archive.bucket, ArchiveKeys(archive.keys.prefix)).values():
            if archive.keys.music_task_id in claim.songs:
                known.setdefault((claim.dag_id, claim.run_id), "has taken it")
    if manifest and manifest.airflow.dag_id and manifest.airflow.run_id:
        known.setdefault((manifest.airflow.dag_id, manifest.airflow.run_id), "archived it")
    asked, unread = _in_ledger(archive.keys.music_task_id)
    yield f"cover tasks: {', '.join(covers or asked) or ('not known' if unread else 'none')}"
    for task_id, form in asked.items():
        if form:
            yield f"requested in KIE's {form} API variant: {task_id}. {COVERS_SEEN}"
    yield from (f"run: {dag_id} {run_id}, {state}" for (dag_id, run_id), state in known.items())
