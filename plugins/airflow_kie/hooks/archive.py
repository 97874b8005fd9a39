"""The archive behind an Airflow connection: a bucket, and one song's folder in it."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cachetools import TTLCache

from airflow_kie import settings
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.s3.answer_time import bound_waiting
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3ArgumentsRefused, S3EndpointWrong, s3_errors
from airflow_kie.archive.song_folder import SongArchive

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook


ExtraArgs = Mapping[str, Any] | str | None
"""What goes to S3 with our objects: a map, its JSON text (a template renders to that), or None for the setting."""

_CLIENTS: TTLCache[bytes, tuple[Any, str]] = TTLCache(maxsize=8, ttl=60)
"""S3 clients of this process and whose credentials they use: botocore takes a tenth of a second to make one, and a task
opens several buckets. Clients are thread-safe, and renew the credentials of a role by themselves."""
_ONE_AT_A_TIME = threading.Lock()
_TIMES: dict[str, Any] = {}
"""botocore's settings of how long S3 is waited for; without them it is five minutes where nothing answers."""


def open_bucket(aws_conn_id: str | None, bucket: str, extra_args: ExtraArgs = None) -> Bucket:
    """Return a bucket behind an Airflow connection.

    :param aws_conn_id: Airflow connection of type ``aws``; None or empty: boto3's default credential chain.
    :param bucket: its name.
    :param extra_args: boto3's arguments, see :class:`~airflow_kie.archive.s3.bucket.Bucket`; None: those of
        `[kie] s3_extra_args`.
    :raises S3ArgumentsRefused: when they are no map, or name what cannot be passed on.
    :raises S3Error: when the connection gives no credentials, such as those of a role that it is not allowed to assume.
    """
    arguments = _arguments(extra_args)
    hook = _hook_class()(aws_conn_id=aws_conn_id or None)
    with s3_errors("GetCredentials", bucket):
        try:
            client, principal = _client(hook)
        except ValueError as error:  # botocore's for an endpoint that is not an address
            raise S3EndpointWrong(f"bucket {bucket}: {str(error).rstrip(': ')}") from error
    return Bucket(client, bucket, arguments, principal)


def give_up_soon() -> None:
    """Let this process wait for an S3 that does not answer for a minute at most, for people who wait for it.

    What the connection says itself in `config_kwargs` counts before this.
    """
    _TIMES.update(connect_timeout=5, read_timeout=25, retries={"total_max_attempts": 2})


def configured_archive() -> tuple[Bucket, ArchiveKeys]:
    """Return bucket and keys of the archive of `[kie]`, which has to name a bucket.

    :raises S3Error: when the connection gives no credentials.
    """
    bucket = open_bucket(settings.text("aws_conn_id", "aws_default"), settings.text("bucket"))
    return bucket, ArchiveKeys(settings.text("prefix", "songs"))


@functools.cache
def _models() -> Any:
    """Return what botocore reads of S3's interface, which is most of what a client costs: all clients share it."""
    from botocore.loaders import create_loader

    return create_loader(os.environ.get("AWS_DATA_PATH"))


@functools.cache
def _hook_class() -> type[S3Hook]:
    """Return Amazon's hook, whose clients share :func:`_models`, with one session for a client and its credentials.

    For the user agent Amazon's hook searches the stack for the operator, and reads every source file on the way: a
    quarter of a profile of a task that opens a bucket.
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    class Hook(S3Hook):
        _made: Any = None

        def get_session(self, *args: Any, **kwargs: Any) -> Any:
            if self._made is None:
                self._made = super().get_session(*args, **kwargs)
                self._made._session.register_component("data_loader", _models())
            return self._made

        def _get_caller(self, target_function_name: str = "execute") -> str:
            return "airflow_kie"

        @property
        def config(self) -> Any:
            from botocore.config import Config

            return Config(**_TIMES).merge(super().config)

    return Hook


def prepare_clients() -> None:
    """Read what every S3 client needs, once for all processes that are forked from this one."""
    from boto3.session import Session

    session = Session("none", "none", region_name="us-east-1")
    session._session.register_component("data_loader", _models())
    session.client("s3")


def _client(hook: S3Hook) -> tuple[Any, str]:
    """Return a client for the hook's connection as it is now, and whose credentials it uses."""
    config = hook.conn_config
    given = (config.conn_id, config.login, config.password, config.schema, config.extra_config)
    surroundings = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
    key = hashlib.sha256(repr((given, surroundings, sorted(_TIMES))).encode()).digest()
    with _ONE_AT_A_TIME:
        found = _CLIENTS.get(key)
        if found is None:
            found = _CLIENTS[key] = (bound_waiting(hook.get_conn()), _principal(hook))
    return found


def _principal(hook: S3Hook) -> str:
    """Return whose credentials are used; nobody knows a role by its access key, which changes every hour."""
    credentials = hook.get_session().get_credentials()
    if credentials is None:
        return "nobody (no credentials were found)"
    role = hook.conn_config.role_arn
    if credentials.method == "assume-role-with-web-identity":  # of a Kubernetes service account
        role = role or os.environ.get("AWS_ROLE_ARN")
    key = f"access key {credentials.access_key}"
    return f"role {role} ({key})" if role else key


def _arguments(extra_args: ExtraArgs) -> Mapping[str, Any]:
    given: Any = settings.text("s3_extra_args") if extra_args is None else extra_args
    if isinstance(given, str):
        try:
            given = json.loads(given) if given.strip() else {}
        except ValueError:
            given = None
    if not isinstance(given, Mapping):
        raise S3ArgumentsRefused('they are a map such as {"ServerSideEncryption": "aws:kms"}, written as JSON')
    return given


def open_song(
    aws_conn_id: str | None, bucket: str, prefix: str, music_task_id: str, extra_args: ExtraArgs = None
) -> SongArchive:
    """Return the folder of one song behind an Airflow connection; no request is made.

    :param aws_conn_id: Airflow connection of type ``aws``; None or empty: boto3's default credential chain.
    :param bucket: the archive's bucket.
    :param prefix: the archive's prefix.
    :param music_task_id: the song's id at KIE.
    :param extra_args: as in :func:`open_bucket`.
    """
    return SongArchive(open_bucket(aws_conn_id, bucket, extra_args), ArchiveKeys(prefix).song(music_task_id))
