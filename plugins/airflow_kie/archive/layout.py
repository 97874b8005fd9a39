"""Which key in the bucket holds what; the names are fixed, because other people's programs read them."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

from airflow_kie.client.task_ids import KeyRefused, checked_task_id, is_task_id

INBOX = "inbox/"
INBOX_DONE = "inbox/done/"
INBOX_REJECTED = "inbox/rejected/"

MAX_KEY_BYTES = 1024
"""S3's limit for a whole key; it refuses a longer one, as it does an empty one, as if S3 itself had failed."""
MAX_PREFIX_BYTES = 512
"""This leaves room for the id and the longest file name."""
MAX_NAME_BYTES = 130
"""Of each name in the folder of a list: DAG, run and task may have 250 characters, each of up to twelve bytes in a key
where it is outside of ASCII."""
_REASON = ".reason.txt"

_EXTENSION = re.compile(r"[a-z0-9]{1,5}")
_OPERATION = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_DIGEST = re.compile(r"[0-9a-f]{32}")
RETRY = "_retry"
FAILED = "_failed"
UNARCHIVED = "_unarchived"


def checked_prefix(prefix: str) -> str:
    """Return the prefix without slashes at either end; an empty one means the bucket's root.

    :param prefix: folder of the archive inside the bucket, such as ``music`` or ``team a/music``.
    :raises KeyRefused: for ``..``, empty parts, control characters, or a folder that begins with ``_``: those are the
        archive's own.
    """
    trimmed = prefix.strip("/")
    if not trimmed:
        return ""
    if len(trimmed.encode()) > MAX_PREFIX_BYTES:
        raise KeyRefused(f"The prefix is longer than {MAX_PREFIX_BYTES} bytes.")
    if "\\" in trimmed or not trimmed.isprintable():
        raise KeyRefused(f"The prefix {prefix!r} contains a backslash or a character that cannot be printed.")
    parts = trimmed.split("/")
    for part in parts:
        if part in ("", ".", "..") or part.startswith("_") or part != part.strip():
            raise KeyRefused(
                f"The prefix {prefix!r} contains the part {part!r}. A folder's name is not empty, is not . or .., "
                "does not begin with _ and has no blank at its ends."
            )
    if parts[0] == INBOX.rstrip("/"):
        raise KeyRefused("The prefix cannot be 'inbox': that folder is for songs to process.")
    return trimmed


def inbox_done_key(inbox_key: str) -> str:
    """Return where an inbox object goes once its songs were started."""
    return INBOX_DONE + _inbox_name(inbox_key, MAX_KEY_BYTES - len(INBOX_DONE))


def inbox_rejected_keys(inbox_key: str) -> tuple[str, str]:
    """Return where an unreadable inbox object goes, and the key of the text that says why."""
    rejected = INBOX_REJECTED + _inbox_name(inbox_key, MAX_KEY_BYTES - len(INBOX_REJECTED + _REASON))
    return rejected, rejected + _REASON


def is_waiting_in_inbox(key: str) -> bool:
    """Say whether the key is an object that a person or a program left in the inbox, not one that was moved already."""
    return key.startswith(INBOX) and not key.endswith("/") and not key.startswith((INBOX_DONE, INBOX_REJECTED))


class _Below:
    """A folder or an object of the archive itself, below its prefix.

    :param name: as it follows the prefix.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, keys: ArchiveKeys, owner: type[ArchiveKeys]) -> str:
        return f"{keys.root}{self.name}"


@dataclass(frozen=True)
class ArchiveKeys:
    """The keys that belong to an archive, not to one of its songs.

    :param prefix: folder of the archive inside the bucket; empty for the bucket's root.
    """

    prefix: str

    pending = _Below("_pending/")
    """The folder of the pending records."""
    raw_answers = _Below("_raw/")
    """The folder of KIE's first answers, redacted."""
    paid_requests = _Below("_paid/")
    """The folder of the ledger of paid requests, where `[kie] ledger` names no other place."""
    index = _Below("_index/")
    """The folder of the index, which lists everything that is archived."""
    runs = _Below("_runs/")
    """The folder with the songs of each run that works on many."""
    tasks = _Below("_tasks/")
    """The folder of the results of all tasks but songs."""
    lists = _Below("_lists/")
    """The folder with what became of each request of a list."""
    uploads = _Below("_uploads/")
    """The folder of the records of files that KIE was given."""
    releases = _Below("release/")
    """The folder of the releases."""
    catalogue = _Below("_catalogue/models.json")
    """What KIE says of its models."""
    probe = _Below("_probe")
    """What is written and deleted to learn whether the bucket can be written."""
    inbox_taken = _Below("_inbox.json")
    """What the inbox took in the last 24 hours, counted."""
    inbox_orders = _Below("_inbox/")
    """The folder with the songs of each inbox object that was taken."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", checked_prefix(self.prefix))

    @property
    def root(self) -> str:
        """Return the prefix with its slash, or nothing for the bucket's root."""
        return f"{self.prefix}/" if self.prefix else ""

    def raw(self, account: str, operation: str) -> str:
        """Return the key of the first answer of an operation that an account has had."""
        return f"{self.raw_answers}{operation}.{quote(account, safe='')}.json"

    def inbox_order(self, digest: str) -> str:
        """Return the key of the songs of one inbox object.

        :param digest: 32 hex digits, of the object's key and version.
        :raises KeyRefused: for anything else.
        """
        if not _DIGEST.fullmatch(digest):
            raise KeyRefused("An inbox object is named by the 32 hex digits of its digest.")
        return f"{self.inbox_orders}{digest}.json"

    def song(self, music_task_id: str) -> SongKeys:
        """Return the keys of one song."""
        return SongKeys(self.prefix, music_task_id)

    def task(self, operation: str, task_id: str) -> TaskKeys:
        """Return the keys of one task's results."""
        return TaskKeys(self.prefix, operation, task_id)

    def upload(self, account: str, digest: str) -> str:
        """Return the key of the record of a file that an account was given.

        :raises KeyRefused: for anything but a digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise KeyRefused("An upload is named by the 32 hex digits of its digest.")
        return f"{self.uploads}{quote(account, safe='')}/{digest}.json"

    def list_of(self, *names: str) -> str:
        """Return the folder of one list, with its slash.

        :param names: of DAG, run and Airflow task; of a longer one than :data:`MAX_NAME_BYTES` the beginning.
        """
        return f"{self.lists}{'/'.join(_shortened(quote(name, safe=''), MAX_NAME_BYTES) for name in names)}/"

    def at(self, folder: str) -> SongKeys | TaskKeys:
        """Return whose folder this is.

        :param folder: as :attr:`SongKeys.folder` and :attr:`TaskKeys.folder` write it.
        :raises KeyRefused: when it is neither a song's nor a task's.
        """
        operation, _, task_id = folder.removeprefix(self.tasks).rstrip("/").partition("/")
        if folder.startswith(self.tasks):
            return self.task(operation, task_id)
        return self.song(folder.removeprefix(self.root).rstrip("/"))

    def pending_song(self, key: str) -> SongKeys | None:
        """Return the song whose pending record is stored at a key; None for a stray object in the folder."""
        name = key.removeprefix(self.pending)
        task_id = name.removesuffix(".json")
        is_record = key.startswith(self.pending) and name.endswith(".json") and is_task_id(task_id)
        return self.song(task_id) if is_record else None


class _Folder:
    """A folder with files and a manifest."""

    @property
    @abstractmethod
    def folder(self) -> str:
        """Return the folder, with its slash."""

    @property
    def manifest(self) -> str:
        """Return the key that is written last: a folder with a manifest is archived whole."""
        return f"{self.folder}manifest.json"

    def file(self, kind: str, n: int, extension: str) -> str:
        """Return the key of the n-th file of a kind: cover, track or lyrics of a song, otherwise the result's role."""
        if n < 1:
            raise KeyRefused(f"Positions of files start at 1, not at {n}.")
        if not _EXTENSION.fullmatch(extension):
            raise KeyRefused(f"{extension!r} is not a file extension.")
        return f"{self.folder}{kind}-{n}.{extension}"


@dataclass(frozen=True)
class TaskKeys(_Folder):
    """The keys of one task's results.

    :param prefix: folder of the archive inside the bucket; empty for the bucket's root.
    :param operation: what has made them, such as ``suno.wav``.
    :param task_id: its id at KIE.
    :raises KeyRefused: when one of them cannot be part of a key.
    """

    prefix: str
    operation: str
    task_id: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", checked_prefix(self.prefix))
        checked_task_id(self.task_id)
        if not _OPERATION.fullmatch(self.operation):
            raise KeyRefused(f"{self.operation!r} is not an operation's name.")

    @property
    def folder(self) -> str:
        """Return the task's folder, with its slash."""
        return f"{ArchiveKeys(self.prefix).tasks}{self.operation}/{self.task_id}/"

    @property
    def name(self) -> str:
        """Return what a log calls it."""
        return f"KIE task {self.task_id} ({self.operation})"


@dataclass(frozen=True)
class SongKeys(_Folder):
    """The keys of one song; ``n`` in them is the position in KIE's answer, from 1.

    :param prefix: folder of the archive inside the bucket; empty for the bucket's root.
    :param music_task_id: the song's id at KIE.
    :raises KeyRefused: when one of them cannot be part of a key.
    """

    operation: ClassVar[str] = "suno.music"
    prefix: str
    music_task_id: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", checked_prefix(self.prefix))
        checked_task_id(self.music_task_id)
        if not self.prefix and self.music_task_id == INBOX.rstrip("/"):
            raise KeyRefused("A song with the id 'inbox' cannot be stored at the bucket's root: the inbox is there.")

    @property
    def folder(self) -> str:
        """Return the song's folder, with its slash."""
        return f"{ArchiveKeys(self.prefix).root}{self.music_task_id}/"

    @property
    def task_id(self) -> str:
        """Return the id of the task whose folder this is."""
        return self.music_task_id

    @property
    def name(self) -> str:
        """Return what a log calls it."""
        return f"Song {self.music_task_id}"

    @property
    def choice(self) -> str:
        """Return the key of what people have chosen of the song: its cover, its take."""
        return f"{self.folder}choice.json"

    @property
    def pending(self) -> str:
        """Return the key of the record that is there while something of the song is not archived."""
        return f"{ArchiveKeys(self.prefix).pending}{self.music_task_id}.json"


def _inbox_name(inbox_key: str, most: int) -> str:
    """Return an inbox object's name, in so many bytes at most."""
    if not is_waiting_in_inbox(inbox_key):
        raise KeyRefused(f"{inbox_key[:200]!r} is not an object that waits in the inbox.")
    return _shortened(inbox_key.removeprefix(INBOX), most)


def _shortened(name: str, most: int) -> str:
    """Return a name; one of more than so many bytes is cut, and a digest makes it unique."""
    encoded = name.encode()
    if len(encoded) <= most:
        return name
    ending = f"~{hashlib.sha256(encoded).hexdigest()[:12]}"
    return encoded[: most - len(ending)].decode(errors="ignore") + ending
