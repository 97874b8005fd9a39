"""What can be held up as a whole, a KIE account or a bucket, and the Airflow Variable that notes its outage."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from airflow.sdk import Variable

from airflow_kie import settings
from airflow_kie.client.errors import KieConnectionInvalid, KieError
from airflow_kie.monitoring.incidents import is_moment

if TYPE_CHECKING:
    from airflow_kie.hooks.archive import ExtraArgs
    from airflow_kie.hooks.kie import KieHook

log = logging.getLogger(__name__)

FIRST_PAUSE = 15.0
"""Seconds before an outage is probed first, unless `[kie] outage_probe_seconds` says otherwise; each further pause is
twice as long."""
LONGEST_PAUSES = 20
"""The longest pause, in first pauses: five minutes by default."""
ONLY_NEW_TASKS = frozenset({"out_of_credits", "key_limit", "daily_cap"})
"""Reasons that refuse new tasks and nothing else."""
_OF_THE_ACCOUNT = ONLY_NEW_TASKS | {
    "unauthorized",
    "wrong_connection",
    "maintenance",
    "server_error",
    "unreachable",
    "not_sent",
    "bad_answer",
}


@dataclass(frozen=True)
class Outage:
    """An outage as the Variable notes it.

    :param reason: the error's reason, such as ``unauthorized``.
    :param message: what was met first, in words.
    :param since: epoch seconds.
    :param probe_at: epoch seconds of the next probe.
    :param pause: seconds between the last two probes.
    """

    reason: str
    message: str
    since: float
    probe_at: float
    pause: float = FIRST_PAUSE

    def __post_init__(self) -> None:
        """Refuse what a person has written into the Variable and what nobody can wait for."""
        texts = isinstance(self.reason, str) and isinstance(self.message, str)
        if not (texts and all(is_moment(at) for at in (self.since, self.probe_at, self.pause))):
            raise TypeError("this is no note of an outage")

    def is_of_the_future(self, now: float) -> bool:
        """Return whether its probe is later than any pause lasts: a clock that was wrong has noted it."""
        return self.probe_at > now + 2 * first_pause() * LONGEST_PAUSES

    def next_probe(self, now: float) -> Outage:
        """Return the outage with its next probe later."""
        pause = min(first_pause() * LONGEST_PAUSES, self.pause * 2)
        return Outage(self.reason, self.message, self.since, now + pause, pause)


def first_pause() -> float:
    """Return the seconds before an outage is probed first."""
    return settings.number("outage_probe_seconds", FIRST_PAUSE)


class OutageNote:
    """The Variable that notes an outage for everybody.

    :param name: whose outage: ``account_<name>`` or ``bucket_<name>``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.key = f"kie_outage__{name}"

    def read(self) -> Outage | None:
        """Return the outage that is noted, None when there is none."""
        return self.outage_in(Variable.get(self.key, default=None))

    def outage_in(self, text: str | None) -> Outage | None:
        """Return the outage that the Variable's text notes, None when it notes none."""
        try:
            return Outage(**json.loads(text)) if text else None
        except (TypeError, ValueError):
            log.warning("Variable %s is no outage note of ours and is overwritten.", self.key)
            return None

    def write(self, outage: Outage) -> None:
        """Note an outage."""
        description = f"{outage.message[:200]} Tasks wait for its end by themselves; deleting this makes them ask."
        Variable.set(self.key, json.dumps(asdict(outage)), description=description)

    def delete(self) -> None:
        """Note that it is over."""
        Variable.delete(self.key)


@dataclass(frozen=True)
class Place:
    """What can be held up as a whole: a KIE account, or a bucket.

    :param title: how a log names it.
    :param note: where its outage is noted.
    :param probe: a free request that fails as long as the outage lasts.
    :param tells: whether an error tells of an outage here.
    """

    title: str
    note: OutageNote
    probe: Callable[[], object]
    tells: Callable[[KieError], bool]


def account_place(hook: KieHook) -> Place:
    """Return the KIE account of a connection; connections of one account share its outage."""
    try:
        name = hook.account.name
    except KieConnectionInvalid:
        name = hook.kie_conn_id

    def tells(error: KieError) -> bool:
        return error.reason in _OF_THE_ACCOUNT and error.facts.connection in (None, hook.kie_conn_id)

    return Place(f"The KIE account of {hook.kie_conn_id}", OutageNote(f"account_{name}"), hook.credits, tells)


def bucket_place(aws_conn_id: str | None, bucket: str, prefix: str, extra_args: ExtraArgs = None) -> Place:
    """Return the bucket of an archive."""
    from airflow_kie.archive.layout import ArchiveKeys
    from airflow_kie.archive.s3_errors import S3Error
    from airflow_kie.hooks.archive import open_bucket

    def probe() -> None:
        open_bucket(aws_conn_id, bucket, extra_args).probe(ArchiveKeys(prefix).probe)

    name = re.sub(r"[^\w.-]", "_", bucket)  # an access point's ARN has colons and a slash
    return Place(f"Bucket {bucket}", OutageNote(f"bucket_{name}"), probe, lambda error: isinstance(error, S3Error))
