"""`airflow kie run`: one task from the command line, paid once, waited for and archived; no DAG and no scheduler."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_kie import settings
from airflow_kie.archive.index.entry import entry_of
from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.local_folder import LocalFolder
from airflow_kie.archive.manifest import AirflowRecord
from airflow_kie.archive.s3.address import bucket_and_key
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.task_archiver import archive_task
from airflow_kie.cli.terminal import (
    INTERRUPTED,
    InvalidArgument,
    agreed,
    command,
    complain,
    only_warnings_on_a_terminal,
    say,
    user_name,
)
from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.catalogue.prices import quote
from airflow_kie.client.errors import KieSpendingStopped
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.client.operations.registry import OPERATIONS, task_kind
from airflow_kie.hooks.archive import open_bucket
from airflow_kie.hooks.kie import KieHook, fetching
from airflow_kie.hooks.tasks import Caller
from airflow_kie.hooks.unarchived import record_archived
from airflow_kie.lifecycle.claims import AlreadyMade
from airflow_kie.lifecycle.identity import digest_of
from airflow_kie.lifecycle.record import TaskRecord

if TYPE_CHECKING:
    from airflow_kie.archive.manifest import TaskManifest

_NEARLY_AN_ADDRESS = re.compile(r"\s*(s3[an]?|gs|https?|file)(:|//)", re.IGNORECASE)
SLICE = 0.2
"""Seconds after which a wait checks whether it was interrupted."""


class Interrupted(Exception):
    """The person has pressed Ctrl-C; nothing is being sent."""


@command()
@only_warnings_on_a_terminal()
def run(args: Namespace) -> int:
    """Make a task, wait for it and archive what it has made; the same line once more continues with the same task.

    :param args: `operation`, `request`, `to`, `key`, `kie_conn_id`, `yes`, `unchecked`.
    :return: 0; 1 where the person did not agree, or new paid tasks are stopped; 130 after Ctrl-C.
    """
    row, body = _row(args.operation), _request(args.request)
    hook = KieHook(args.kie_conn_id or settings.allowed_connections()[0])
    key = args.key or digest_of({"command": "airflow kie run", "request": row.named(body)})
    caller, to = Caller("airflow kie run", user=user_name()), args.to if "://" in args.to else ""
    record, driver = hook.paid_task(row.name, body, key, caller=caller, to=to, check_fields=not args.unchecked)
    bucket, keys = archive_at(args.to)
    known = driver.paid.find() if driver.paid else None
    quoted = quote(row, body)
    why = f" ({quoted.why})" if quoted.why else ""
    if isinstance(known, AlreadyMade):
        say(f"KIE task {known.task_id} exists for this request. Nothing is paid; --key NAME requests another one.")
    elif not _may_pay(hook) or not agreed(
        f"{_title(row, body)} costs {quoted}{why}; the balance is {hook.credits():g}.", yes=args.yes
    ):
        return 1
    with _interruptible() as asked_to_stop:
        progress = _Progress(asked_to_stop)
        try:
            followed = driver.follow(record, hook.get_conn(), progress.pause)
        except Interrupted:
            made = f"KIE task {progress.task_id} continues and is paid for" if progress.task_id else "Nothing was sent"
            complain(f"Interrupted. {made}; run the same command to continue.")
            return INTERRUPTED
        finally:
            progress.end()
    if followed.details is None:
        raise AssertionError("A task that is followed to its end has details.")
    manifest = archived(bucket, keys, hook, row, followed.details)
    for file in manifest.files:
        say(f"{bucket.url(file.key)}  {file.size:,} bytes")
    used = "unknown" if manifest.credits is None else f"{manifest.credits:g}"
    say(f"KIE task {manifest.task_id}: credits used {used}, quoted {quoted}.")
    return 0


def _may_pay(hook: KieHook) -> bool:
    try:
        hook.spending_switch.check()
    except KieSpendingStopped as stopped:
        complain(f"{stopped} If this Airflow is new, run `airflow db migrate` first.")
        return False
    return True


def _row(name: str) -> TaskOperation:
    tasks = sorted(known for known, row in OPERATIONS.items() if isinstance(row, TaskOperation))
    if name not in tasks:
        raise InvalidArgument(f"{name!r} is not an operation that makes a task; these are: {', '.join(tasks)}.")
    return task_kind(name)


def _title(row: TaskOperation, body: Mapping[str, Any]) -> str:
    model = row.named(body).get("model")
    return f"{row.title} ({model})" if model else row.title


def _request(text: str) -> Mapping[str, Any]:
    """Return the request of the command line: JSON, ``@file``, or ``-`` for the standard input."""
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        body = json.loads(text.removeprefix("\ufeff"))  # a byte order mark, as Windows writes it
    except OSError as error:
        raise InvalidArgument(f"The request's file {text[1:]} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"The request is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidArgument('The request is not a JSON object such as {"prompt": "a red fox"}.')
    return body


def archive_at(to: str) -> tuple[Bucket, ArchiveKeys]:
    """Return where the results go; it is tried before anything is paid.

    :raises InvalidArgument: for what looks like an address in S3 and is none: it would become a folder's name.
    """
    if "://" not in to:
        if _NEARLY_AN_ADDRESS.match(to):
            raise InvalidArgument(
                f"--to {to[:200]!r} is not an address such as s3://bucket/folder. For a local folder of that name, "
                "put ./ before it. Nothing was sent to KIE."
            )
        # Shells leave the ~ of --to=~/songs to us; a folder that is called so would be deleted like a person's home.
        return LocalFolder.as_bucket(Path(to).expanduser()), ArchiveKeys("")
    name, prefix = bucket_and_key(to)
    bucket, keys = open_bucket(settings.text("aws_conn_id", "aws_default"), name), ArchiveKeys(prefix)
    bucket.try_to_write(keys.probe)
    return bucket, keys


def archived(
    bucket: Bucket, keys: ArchiveKeys, hook: KieHook, row: TaskOperation, details: TaskDetails
) -> TaskManifest:
    """Return the manifest of a task's results, which are archived now, and listed: a folder has no library.

    :param bucket: where.
    :param keys: the archive's keys.
    :param hook: the account.
    :param row: the operation.
    :param details: of the task, which has ended.
    """
    manifest, _ = archive_task(
        bucket,
        keys.task(row.name, details.task_id),
        details,
        AirflowRecord(task_id="airflow kie run"),
        kie_conn_id=hook.kie_conn_id,
        account=hook.account.account or None,
        **fetching(hook),
    )
    if isinstance(bucket, Bucket):
        Index(bucket, keys).add([entry_of(manifest)])
    record_archived(row, details.task_id)
    return manifest


class _Progress:
    """Shows how a wait goes on: one line that changes on a terminal, otherwise a line for each state.

    :param stop: returns whether the person has pressed Ctrl-C.
    """

    def __init__(self, stop: Callable[[], bool]) -> None:
        self.task_id: str | None = None
        self._stop = stop
        self._began = time.monotonic()
        self._shown = ""

    def pause(self, record: TaskRecord, until: float) -> None:
        """Spend the time until then (epoch seconds).

        :raises Interrupted: when the person has pressed Ctrl-C.
        """
        self.task_id = record.task_id
        state = f"in KIE's state {record.last_state}" if record.last_state else "made"
        state = f"KIE task {record.task_id}: {state}" if record.task_id else "waiting to be sent"
        if not sys.stderr.isatty():
            if state != self._shown:
                complain(state)
            self._shown = state
        while (left := until - time.time()) > 0 and not self._stop():
            if sys.stderr.isatty():
                self._shown = f"\r{state}, {time.monotonic() - self._began:.0f} s "
                sys.stderr.write(self._shown)
                sys.stderr.flush()
            time.sleep(min(SLICE, left))
        if self._stop():
            raise Interrupted

    def end(self) -> None:
        """Leave the line."""
        if self._shown and sys.stderr.isatty():
            sys.stderr.write("\n")


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C end a wait between two requests, so that the answer to a paid one is read; a second ends at once.

    Gives what says whether it was pressed.
    """
    pressed: list[int] = []

    def press(number: int, _: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
