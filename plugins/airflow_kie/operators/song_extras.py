"""The operators of song extras: which takes they are made of, and each extra, paid for once, in its song's folder."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_kie import settings
from airflow_kie.archive.extras.table import EXTRAS, Extra, Take, with_needs
from airflow_kie.client.errors import KieInvalidRequest, NotArchived
from airflow_kie.durable.defaults import optional, required
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.durable.rendered_fields import HidesCredentials
from airflow_kie.durable.retried import Retried
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lineage.asset_events import NewFiles
from airflow_kie.lineage.facts import TaskLineage
from airflow_kie.lineage.songs import of_song_extras, to_song_extras
from airflow_kie.operators.lists.task_list import run_list
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.triggers.event import Given

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.manifest import FileRecord, Manifest
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.hooks.archive import ExtraArgs
    from airflow_kie.operators.lists.song_extras import SongExtraArchive

PROMPT = 1000
"""Characters of a prompt that the image model takes."""
MOST_SONGS = 1000
"""Songs of one run: its XCom has a line for each of their takes."""


class KieSongExtrasPlanOperator(HidesCredentials, Retried, BaseOperator):
    """Lists the takes that extras are made from. It pays nothing.

    Returns ``{"bucket", "prefix", "kie_conn_id", "extras": […], "takes": […]}``, with a map ``{"song", "position",
    "audio_id", "model"}`` for each take.

    All songs have to be archived. Without songs, in a run that an event of ``kie://api.kie.ai/suno/cover`` or
    ``…/suno/chosen`` started, the plan is for that event's song.

    :param songs: the songs' music task ids, as a list or in any text.
    :param extras: any of ``wav``, ``vocals``, ``stems``, ``midi``, ``timed_lyrics``, ``video``, ``extended``,
        ``another_cover``. MIDI is made from stems or vocals: without stems, vocals are requested too.
    :param take: ``chosen`` (the take chosen on the song's page, else the first), ``all``, or a number from 1.
    :param kie_conn_id: Airflow connection of the account that made the songs; empty: as their manifests say, which must
        then be one account.
    :param bucket: bucket of the archive; empty: `[kie] bucket`.
    :param prefix: key prefix in the bucket; empty: `[kie] prefix`.
    :param aws_conn_id: Airflow connection for S3; None or empty: boto3's default credential chain.
    :param extra_args: for S3; None: `[kie] s3_extra_args`.
    """

    template_fields: Sequence[str] = (
        *("songs", "extras", "take", "kie_conn_id", "bucket", "prefix", "aws_conn_id", "extra_args"),
    )
    ui_color = "#eeeeee"

    def __init__(
        self,
        *,
        songs: Any = None,
        extras: Any = None,
        take: str | int = "chosen",
        kie_conn_id: str = "",
        bucket: str = "",
        prefix: str = "",
        aws_conn_id: str | None = "aws_default",
        extra_args: ExtraArgs = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.songs = songs
        self.extras = extras
        self.take = take
        self.kie_conn_id = kie_conn_id
        self.bucket = bucket
        self.prefix = prefix
        self.aws_conn_id = aws_conn_id
        self.extra_args = extra_args

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the plan.

        :raises KieInvalidRequest: naming an extra or a take that does not exist.
        :raises NotArchived: naming the songs that are not archived.
        """
        return run_with_outage_backoff(context, lambda: self._plan(context))

    def _plan(self, context: Context) -> dict[str, Any]:
        from airflow_kie.archive.inbox.song_request import ids_in
        from airflow_kie.hooks.archive import open_bucket

        of_event = str(context.get("partition_key") or "")
        songs, names = ids_in(self.songs) or ([of_event] if of_event else []), ids_in(self.extras)
        place = {
            "bucket": self.bucket or settings.text("bucket"),
            "prefix": self.prefix or settings.text("prefix", "songs"),
        }
        required(self.task_id, songs=songs and "given", extras=names and "given", bucket=place["bucket"])
        if unknown := [name for name in names if name not in EXTRAS]:
            raise KieInvalidRequest(f"{', '.join(unknown)} cannot be made, only {', '.join(EXTRAS)}; nothing was paid")
        if len(songs) > MOST_SONGS:
            raise KieInvalidRequest(f"A run takes at most {MOST_SONGS} songs, not {len(songs)}; nothing was paid")
        bucket = open_bucket(self.aws_conn_id, place["bucket"], self.extra_args)
        takes, made_under = _takes(bucket, place["prefix"], songs, str(self.take).strip() or "chosen")
        place["kie_conn_id"] = optional(self.kie_conn_id) or _connection_of(made_under)
        extras = with_needs(names)
        self.log.info("%d songs, %d takes; of each: %s.", len(songs), len(takes), ", ".join(extras))
        return {**place, "extras": list(extras), "takes": [asdict(take) for take in takes]}


class KieSongExtraOperator(KieTaskOperator):
    """Makes one extra for each take of a plan, and archives it in the song's folder, below ``extras/``.

    Each is paid for once across all runs (docs/paying-once.md), and not made again if it is already archived. If one
    fails, the others continue, and the task fails at the end. The task is skipped if the plan does not include its
    extra. As for a list of requests, `results` is a table in S3 with one row per take.

    :param extra: such as ``wav``.
    :param plan: what :class:`KieSongExtrasPlanOperator` returned.
    :param kwargs: arguments of :class:`~airflow_kie.operators.task.KieTaskOperator`, except its requests.
    """

    template_fields: Sequence[str] = ("plan", "kie_conn_id", "labels", "fail_on", "aws_conn_id", "extra_args")
    ui_color = "#fff4d6"

    def __init__(self, *, extra: str, plan: Any, **kwargs: Any) -> None:
        super().__init__(operation=EXTRAS[extra].operation.name, requests=(), **kwargs)
        self.extra = extra
        self.plan = plan

    def check_body(self, body: Mapping[str, Any], which: str) -> None:
        """Check the fields of one request; what is made from other extras needs one of them in the archive."""
        if (needs := EXTRAS[self.extra].needs) and not body:
            raise KieInvalidRequest(f"{EXTRAS[self.extra].title} needs {' or '.join(needs)}, which the song lacks")
        super().check_body(body, which)

    def lineage_at_start(self) -> TaskLineage:
        """Return the songs that extras are made of."""
        plan = self.plan if isinstance(self.plan, Mapping) else {}
        return to_song_extras(self.operation, self.kie_conn_id, [take["song"] for take in plan.get("takes", ())])

    def leg(self, context: Context, event: Given = None, awaited: str | None = None, records: Given = None, /) -> Any:
        """Make what is not there, and wait."""
        from airflow_kie.hooks.archive import open_bucket
        from airflow_kie.operators.lists.archive import open_archive
        from airflow_kie.operators.lists.song_extras import SongExtraArchive

        extra = EXTRAS[self.extra]
        takes, prefix = planned_takes(self.plan, self.extra)
        bucket = open_bucket(self.aws_conn_id, self.plan["bucket"], self.extra_args)
        since = NewFiles(context, self.extra).begin()
        if extra.needs or extra.market:
            takes = [_completed(bucket, prefix, extra, take) for take in takes]
        self.requests = [extra.body(take) for take in takes]
        self.to = bucket.url(prefix)
        made_by = functools.partial(SongExtraArchive, extra=extra, takes=takes)

        def archive(hook: KieHook) -> SongExtraArchive:
            return cast("SongExtraArchive", open_archive(self, hook, context, made_by))

        waited = None if event is None else records or {}
        result = self._with_backoff(context, lambda: run_list(self, context, waited, event, archive))
        self.set_lineage(
            of_song_extras(self.lineage_at_start(), bucket.name, new_files(bucket, prefix, extra, takes, since))
        )
        return result


def planned_takes(plan: Any, extra: str) -> tuple[list[Take], str]:
    """Return the takes of a plan, and the archive's prefix.

    :param extra: whose turn it is.
    :raises AirflowSkipException: when the plan does not ask for it.
    """
    if not isinstance(plan, Mapping) or extra not in plan["extras"]:
        raise AirflowSkipException(f"{EXTRAS[extra].title}: not requested.")
    return [Take(**take) for take in plan["takes"]], str(plan["prefix"]).strip("/")


def _connection_of(made_under: Iterable[str | None]) -> str:
    """Return the connection of the account that made some songs.

    :param made_under: the connections that their manifests name; one that may no longer be used counts as the first.
    :raises KieInvalidRequest: when they are of several accounts: each has a run of its own.
    """
    allowed = settings.allowed_connections()
    names = sorted({name if name in allowed else allowed[0] for name in made_under})
    if len(names) > 1 and len({KieHook(name).account.spending_name for name in names}) > 1:
        raise KieInvalidRequest(
            f"These songs were made with the accounts of {', '.join(names)}: make the extras of each account in a run "
            "of its own, or name one in kie_conn_id; nothing was paid"
        )
    return names[0]


def _takes(bucket: Bucket, prefix: str, songs: Sequence[str], asked: str) -> tuple[list[Take], set[str | None]]:
    """Return the takes that are meant, in the order of the songs, and the connections under which these were made."""
    from airflow_kie.archive.layout import SongKeys
    from airflow_kie.archive.manifest import Manifest
    from airflow_kie.client.operations.music_limits import MODELS

    found: list[Take] = []
    missing: list[str] = []
    made_under: set[str | None] = set()
    for song in songs:
        keys = SongKeys(prefix, song)
        manifest = Manifest.read(bucket, keys)[0]
        if manifest is None:
            missing.append(song)
            continue
        model = manifest.song.model if manifest.song.model in MODELS else None
        known = {track.position: track.audio_id for track in manifest.tracks if track.audio_id}
        positions = list(known) if asked == "all" else [_position(bucket, keys, manifest, asked)]
        if absent := [position for position in positions if position not in known] or not positions:
            raise KieInvalidRequest(f"Song {song} has no take {absent or asked}, only {list(known)}; nothing was paid")
        found += [Take(song, position, str(known[position]), model) for position in positions]
        made_under.add(manifest.kie_conn_id)
    if missing:
        raise NotArchived(f"these songs are not archived, so no extras were made: {', '.join(missing)}")
    return found, made_under


def _position(bucket: Bucket, keys: Any, manifest: Manifest, asked: str) -> int:
    """Return which take is meant.

    :raises KieInvalidRequest: when it is none.
    """
    from airflow_kie.archive.choice import Choice

    if asked == "chosen":
        choice = Choice.read(bucket, keys)[0]
        return (choice and choice.position_in(manifest.files, "track")) or 1
    if not (asked.isascii() and asked.isdigit()):
        raise KieInvalidRequest(f"A take is a number, chosen or all, not {asked[:50]!r}; nothing was paid")
    return int(asked)


def new_files(
    bucket: Bucket, prefix: str, extra: Extra, takes: Sequence[Take], since: float
) -> list[tuple[str, FileRecord]]:
    """Return the files of an extra that were archived since then, each with its song.

    :param since: epoch seconds.
    """
    from airflow_kie.archive.extras.storing import files_of
    from airflow_kie.archive.layout import SongKeys
    from airflow_kie.archive.manifest import Manifest

    songs = {song: Manifest.read(bucket, SongKeys(prefix, song))[0] for song in {take.song for take in takes}}
    files = [(take.song, file) for take in takes for file in files_of(songs[take.song], extra, take)]
    return [(song, file) for song, file in files if file.archived_at.timestamp() >= since]


def _completed(bucket: Bucket, prefix: str, extra: Extra, take: Take) -> Take:
    """Return a take with what only its song's manifest says: the task that it is made from, or what is to be drawn."""
    from airflow_kie.archive.extras.storing import files_of
    from airflow_kie.archive.layout import SongKeys
    from airflow_kie.archive.manifest import Manifest

    manifest = Manifest.read(bucket, SongKeys(prefix, take.song))[0]
    made = (file.task_id for need in extra.needs for file in files_of(manifest, EXTRAS[need], take))
    song = manifest.song if manifest else None
    about = (f"called {song.title}" if song and song.title else "", song and song.tags, song and song.prompt)
    text = ". ".join(str(part).strip() for part in about if part)
    return replace(
        take, made_from=next(made, None), prompt=f"A square album cover without any text, for a song {text}"[:PROMPT]
    )
