"""`airflow kie index`, `deliver` and `delete`: the library's index, releases made from the archive, what leaves it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator

from airflow_kie._airflow_private import process
from airflow_kie.archive.delivery.check import problems
from airflow_kie.archive.delivery.keys import ReleaseKeys
from airflow_kie.archive.delivery.rules import DISTRIBUTORS
from airflow_kie.archive.inbox.song_request import counted, id_errors
from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.manifest import AirflowRecord
from airflow_kie.archive.record_base import utc_text
from airflow_kie.archive.removing.places import places_of
from airflow_kie.archive.removing.removal import Removal, kept_at_kie_until, removal_of
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.archive.unarchived import unarchived_keys
from airflow_kie.cli.arguments import open_archive
from airflow_kie.cli.terminal import InvalidArgument, command, complain, say
from airflow_kie.client.operations.operation import MEDIA_LIFETIME
from airflow_kie.hooks.ledger import ledger_address
from airflow_kie.monitoring.restart import why_busy


@command("The index could not be read or written:", code=1)
def index(args: Namespace) -> int:
    """Say how large the index is, or rebuild it.

    :param args: `archive` (None: that of [kie]), `rebuild`.
    :return: 0.
    """
    bucket, keys = open_archive(args.archive)
    library = Index(bucket, keys)
    if args.rebuild:
        say(f"{counted(library.rebuild(), 'result')} of {bucket.url(keys.prefix)} listed from their manifests.")
    else:
        count = len(library.segments())
        say(f"The index in {bucket.url(keys.index)} has {counted(count, 'object')}. --rebuild writes it again.")
    return 0


@command("The release could not be read:", code=2)
def deliver(args: Namespace) -> int:
    """Read a release's files and say what distributors would refuse.

    :param args: `action` (check), `release`, `archive` (None: that of [kie]).
    :return: 0: nothing was found; 1: something was.
    """
    bucket, keys = open_archive(args.archive)
    release = ReleaseKeys(keys.prefix, args.release)
    found = list(problems(bucket, release))
    for line in found:
        say(f"- {line}")
    asked = ", ".join(row.name for row in DISTRIBUTORS)
    end = f"{counted(len(found), 'problem')}." if found else "Nothing was found that they would reject."
    say(f"{bucket.url(release.folder)} was compared with the known requirements of {asked}. {end}")
    return 1 if found else 0


@command("Not everything could be deleted:", "Run the command again to continue.")
def delete(args: Namespace) -> int:
    """List what the archive has of a KIE task, and with --yes delete it; say what remains elsewhere, and until when.

    :param args: `id`, `archive` (None: that of [kie]), `yes`.
    :return: 0: it was listed or deleted; 1: nothing is there, or a run works on it.
    """
    if problems := id_errors([args.id]):
        raise InvalidArgument(problems[0])
    bucket, keys = open_archive(args.archive)
    removals = [removal_of(bucket, keys, place) for place in places_of(bucket, keys, args.id)]
    if not removals and unarchived_keys(bucket, keys, args.id):
        complain(
            f"KIE task {args.id} is paid but not archived: there is nothing to delete. `airflow kie forget {args.id}` "
            "ends the alerts about it."
        )
        return 1
    if not removals:
        complain(
            f"Nothing of {args.id} is in {bucket.url(keys.prefix)}. A part of a song, such as a cover or a WAV, is "
            "found by the index: `airflow kie index --rebuild` writes it again."
        )
        return 1
    for removal in removals:
        for line in _report(removal):
            say(line)
        if why := _busy(removal):
            complain(f"Nothing was deleted: {why}. Wait until it has ended, or mark the run as failed first.")
            return 1
    if not args.yes:
        say("Nothing was deleted. To delete it, pass --yes.")
        return 0
    return _DELETE(Namespace(**vars(args), removals=removals))


def kie_delete(args: Namespace) -> int:
    """Delete; the audit log's event has this name.

    :param args: `id`, `removals`.
    """
    for removal in args.removals:
        if why := _busy(removal):
            complain(f"Not deleted: {why}.")
            return 1
        removal.carry_out()
    say(f"Deleted: {args.id}.")
    return 0


_DELETE = process.audited(kie_delete)


def _busy(removal: Removal) -> str:
    place = removal.place
    song = SongArchive(removal.bucket, place.song) if place.song else None
    airflow = place.manifest.airflow if place.manifest else AirflowRecord()
    return why_busy(song.keys.music_task_id if song else "", airflow, song.pending() if song else None)


def _report(removal: Removal) -> Iterator[str]:
    """Yield what would be deleted, then what remains where and until when."""
    place, url = removal.place, removal.bucket.url
    of = "" if place.whole else f", a part of which was made by KIE task {place.task_id}"
    yield f"{place.keys.name}{of}:"
    sizes = {file.key: f", {file.size:,} bytes" for file in place.files}
    yield from (f"  delete {url(key)}{sizes.get(key, '')}" for key in removal.keys)
    if place.whole:
        yield f"  delete its line in the index, {url(removal.archive.index)}"
    else:
        yield f"  change {url(place.keys.manifest)} and the song's line in the index"
    yield "  Thumbnails are only in the memory of api-servers, which no longer show them."
    yield from (f"  remains: {line}" for line in _remains(removal))


def _remains(removal: Removal) -> Iterator[str]:
    place, url = removal.place, removal.bucket.url
    until, days = kept_at_kie_until(place), MEDIA_LIFETIME.days
    yield (
        f"KIE's own copies until {utc_text(until)}"
        if until
        else f"KIE's own copies, for {days} days after KIE made them"
    )
    bucket, prefix = ledger_address()
    where = f"s3://{bucket}/{prefix}" if bucket else "the limiter's database"
    yield (
        f"in the ledger of paid requests, {where}: who requested it and its credits, but no texts. It stays, so that "
        "the same request is not paid for again unnoticed: it uses this task as long as KIE has it"
    )
    yield "answers that are results themselves, such as timestamped lyrics, in _answers/ there, until you delete them"
    airflow = place.manifest.airflow if place.manifest else AirflowRecord()
    if airflow.dag_id and airflow.run_id:
        yield (
            f"run {airflow.run_id} of DAG {airflow.dag_id} in Airflow: ids, titles and keys in XCom and logs, until "
            "the run and its logs are deleted (`airflow db clean`)"
        )
    yield from (f"{url(folder)}, a release that is made of it, until you delete it" for folder in removal.releases)
    yield from (f"{url(key)} names other songs too" for key in removal.shared)
    yield from (f"{url(key)} is not a file of this archive" for key in place.foreign)
    yield f"ids, keys and labels in the lists of runs, {url(removal.archive.runs)} and {url(removal.archive.lists)}"
    yield "older versions of these objects, where the bucket keeps versions, until its lifecycle rules delete them"
