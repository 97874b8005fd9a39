"""One cover, made on purpose: what the live contract check does at KIE, and what keeps it from paying twice."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import BinaryIO, cast
from urllib.parse import urlsplit

from airflow_kie import settings
from airflow_kie._airflow_private import metadata
from airflow_kie.archive.content.images import check_image
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.client.answers.decode import (
    CreateAnswer,
    Created,
    Lost,
    Read,
    Refused,
    Unreadable,
    decode_create,
    may_have_paid,
)
from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.api import Kie
from airflow_kie.client.catalogue.prices import quote
from airflow_kie.client.errors import KieError, KieInvalidRequest, KieNotSent, KieTaskUnknown
from airflow_kie.client.http.download import DownloadSettings, download
from airflow_kie.client.operations.suno import COVER, MUSIC
from airflow_kie.client.requests import create_request
from airflow_kie.hooks.kie import KieHook, private_hosts
from airflow_kie.hooks.ledger import open_ledger
from airflow_kie.lifecycle.claims import AlreadyMade, RequestId
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.identity import request_digest
from airflow_kie.lifecycle.ledger import Ledger
from airflow_kie.lifecycle.record import TaskRecord
from tools.live_contract_check.http_log import RecordingTransport
from tools.live_contract_check.observations import Seen, SeenFile, Step
from tools.live_contract_check.sending import send_create

READ_EVERY = 3.0
"""Seconds between reads: dense enough to see every state, and a ninth of what KIE allows."""
_NO_CALLBACK = 422
"""Code with which KIE refuses a create without callback URL, as clients have seen it."""


@dataclass
class CoverExperiment:
    """Makes one cover for a song, asks for it a second time, and waits for it.

    :param hook: the account.
    :param archive: the song's place in the bucket, which knows of every paid cover.
    :param say: receives the cover's id at once, and the progress.
    """

    hook: KieHook
    archive: SongArchive
    say: Callable[[str], None]
    title: str | None = field(default=None, init=False)
    task_id: str | None = field(default=None, init=False)
    files: list[SeenFile] = field(default_factory=list, init=False)
    _failure_signature: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.transport = RecordingTransport(self.hook.account)
        self.kie = Kie(self.transport)

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    @property
    def music_task_id(self) -> str:
        """The song."""
        return self.archive.keys.music_task_id

    @property
    def seen(self) -> Seen:
        """Everything that was seen so far."""
        price = quote(COVER, {}).high or 0.0
        return Seen(self.music_task_id, tuple(self.transport.exchanges), tuple(self.files), price)

    def refusal(self) -> str | None:
        """Return why nothing may be asked for this song: it has a cover, or somebody works on one; None if it may."""
        known = self._paid_requests().find(self._request())
        if isinstance(known, AlreadyMade):
            known_id = known.task_id
            return f"Song {self.music_task_id} has a cover already: task {known_id}. Take another song."
        pending = self.archive.pending()
        if pending and pending.working:
            working = pending.working
            if metadata.run_is_active(working.dag_id, working.run_id):
                return f"Run {working.run_id} of {working.dag_id} works on song {self.music_task_id}: wait for it."
        return None

    def song(self) -> TaskDetails:
        """Read the song, which is free.

        :raises KieError: when it cannot be read, or is not finished.
        """
        self.transport.purpose = Step.SONG
        answer = self.kie.details(MUSIC, self.music_task_id)
        if isinstance(answer, Unreadable):
            raise answer.error
        if not isinstance(answer, Read):
            raise KieTaskUnknown(task_id=self.music_task_id)
        if not answer.details.complete:
            raise KieInvalidRequest("The song is not finished; nothing was sent", last_state=answer.details.word)
        self.title = answer.details.title
        return answer.details

    def balance(self, step: Step) -> float:
        """Ask for the balance, which is free."""
        self.transport.purpose = step
        return self.kie.credits()

    def run(self) -> None:
        """Make the cover, ask again, wait, and check its files.

        :raises KieError: when no cover was made, or it failed; what is paid is recorded by then.
        """
        url = self.hook.account.callback_url
        first = self._create(Step.WITHOUT_CALLBACK, None)
        if not isinstance(first, Created):
            if isinstance(first, Refused) and first.error.facts.code != _NO_CALLBACK:
                raise first.error
            self._must(self._create(Step.CREATE, url))
        self._try_balance(Step.BALANCE_CREATED)
        self._create(Step.REPEAT, url)
        self._try_balance(Step.BALANCE_REPEATED)
        try:
            self._files(self._followed())
        finally:
            self._try_balance(Step.BALANCE_AFTER)

    def _try_balance(self, step: Step) -> None:
        """Ask for the balance; without it some assumptions are not seen, and the paid cover matters more."""
        with contextlib.suppress(KieError):
            self.balance(step)

    def _must(self, answer: CreateAnswer) -> None:
        if not isinstance(answer, Created):
            raise answer.error

    def _create(self, step: Step, callback_url: str | None) -> CreateAnswer:
        """Send one create; a cover's id is reported and recorded before anything else happens."""
        self.transport.purpose = step
        body = {"taskId": self.music_task_id}

        def send() -> CreateAnswer:
            return self.kie.create(COVER, body, body, callback_url) if callback_url else self._without_callback()

        answer = send_create(self.hook, COVER.name, send, may_have_paid)
        if isinstance(answer, Created):
            self._known(answer)
        return answer

    def _without_callback(self) -> CreateAnswer:
        """Send a create that lacks only its callback URL; the client itself never leaves it out."""
        body = {"taskId": self.music_task_id}
        whole = create_request(COVER, body, "")
        try:
            response = self.transport.send(replace(whole, json=body))
        except KieNotSent as error:
            return Refused(error)
        except KieError as error:
            return Lost(error)
        return decode_create(COVER, body, response)

    def _known(self, answer: Created) -> None:
        if answer.task_id == self.task_id:
            return
        if self.task_id:
            self.say(f"A SECOND cover task was made, and may have been charged: {answer.task_id}.")
        else:
            self.task_id = answer.task_id
            what = "KIE names a cover task that exists already" if answer.duplicate else "Cover task made"
            self.say(f"{what}: {answer.task_id}.")
        self._paid_requests().adopt(self._request(), answer.task_id, by="the live contract check")
        self.archive.update_pending(received_from="form", kie_conn_id=self.hook.kie_conn_id, title=self.title)

    def _paid_requests(self) -> Ledger:
        return open_ledger(self.hook, self.hook.ledger_database()[0]).ledger

    def _request(self) -> RequestId:
        digest = request_digest(COVER, {"taskId": self.music_task_id}, {})
        return RequestId(self.hook.account.spending_name, COVER.name, digest)

    def _followed(self) -> TaskDetails | None:
        self.transport.purpose = Step.DETAILS
        now = time.time()
        driver = TaskDriver(deadline=now + COVER.timing.timeout, rules=settings.rules(READ_EVERY))
        record = TaskRecord.of_known_task(
            COVER.name, str(self.task_id), source={"taskId": self.music_task_id}, known_at=now
        )
        return driver.follow(record, self.kie, self._pause).details

    def _pause(self, record: TaskRecord, until: float) -> None:
        if record.last_state != self._failure_signature:
            self._failure_signature = record.last_state
            self.say(f"  successFlag {record.last_state}")
        time.sleep(max(0.0, until - time.time()))

    def _files(self, details: TaskDetails | None) -> None:
        results = details.urls if details else ()
        self.files = [seen_file(url) for url in results]
        if results:
            self.transport.purpose = Step.LINK
            try:
                self.kie.download_url(results[0])
            except KieError as error:
                self.say(f"  {error.what}: {error.facts.message}")


def seen_file(url: str) -> SeenFile:
    """Download an image, check what it is, and keep nothing of it."""
    host = urlsplit(url).hostname or ""
    with tempfile.TemporaryFile() as file:
        try:
            got = download(
                url,
                cast(BinaryIO, file),
                max_bytes=int(settings.number("max_file_mb", 500)) * 1024 * 1024,
                settings=DownloadSettings(private_hosts=private_hosts()),
            )
            image = check_image(cast(BinaryIO, file))
        except KieError as error:
            return SeenFile(host, None, f"{error.what}: {error.facts.message}")
    return SeenFile(host, image.content_type, f"{got.size:,} bytes, {image.width}x{image.height}")
