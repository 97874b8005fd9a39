"""KieHook: a KIE account behind an Airflow connection."""

from __future__ import annotations

import functools
import logging
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, conf

from airflow_kie import settings
from airflow_kie.client.account import API_URL, NO_CALLBACK_URL, UPLOAD_URL, KieAccount
from airflow_kie.client.callbacks.auth import TokenSecretTooShort, keys_in, waking_secret
from airflow_kie.client.callbacks.url import receiver_url
from airflow_kie.client.errors import KieConnectionInvalid, KieError
from airflow_kie.hooks.connected import extra_of
from airflow_kie.hooks.ledger import kept_answers
from airflow_kie.hooks.spending_switch import SpendingSwitch
from airflow_kie.hooks.tasks import TaskMethods
from airflow_kie.threads import in_thread

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_kie.client.api import Kie, KieAsync
    from airflow_kie.client.rate_limiter.limiter import Caps, CreateLimiter
    from airflow_kie.client.rate_limiter.paid_requests import DatabaseLedgerStore
    from airflow_kie.client.rate_limiter.store import Store
    from airflow_kie.client.rate_limiter.turns import CreateTurn


_LOCAL = {"LocalExecutor": "local", "SequentialExecutor": "sequential", "DebugExecutor": "debug"}
_LOCAL_EXECUTORS = frozenset(_LOCAL) | {
    f"airflow.executors.{module}_executor.{name}" for name, module in _LOCAL.items()
}
"""What runs tasks on the scheduler's machine alone; any other executor counts as one that spreads them."""

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


class KieHook(TaskMethods, BaseHook):
    """Calls KIE with the account of an Airflow connection of type ``kie``.

    The connection is read on first use, not when the hook is created.

    :param kie_conn_id: the Airflow connection: the API key as its password, an optional host, and the extra fields
        shown in the connection form.
    """

    conn_name_attr = "kie_conn_id"
    default_conn_name = "kie_default"
    conn_type = "kie"
    hook_name = "KIE.ai"

    def __init__(self, kie_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kie_conn_id = kie_conn_id
        self._account: KieAccount | None = None
        self._switch: SpendingSwitch | None = None

    @property
    def account(self) -> KieAccount:
        """The account that the connection describes.

        :raises KieConnectionInvalid: when the connection does not exist, or is of another type or lacks a key.
        """
        if self._account is None:
            with self._missing_connection():
                self._account = account_of(self.get_connection(self.kie_conn_id))
        return self._account

    def get_conn(self) -> Kie:
        """Return the client for blocking code; its HTTP client is shared by the whole process."""
        from airflow_kie.client.api import Kie
        from airflow_kie.client.http.transport import shared_transport

        return Kie(shared_transport(self.account), self.spending_switch.check, kept_answers(self))

    @property
    def spending_switch(self) -> SpendingSwitch:
        """The switch that stops new paid tasks of the connection's account."""
        if self._switch is None:
            self._switch = SpendingSwitch(self.account.spending_name)
        return self._switch

    async def aget_conn(self, *, fresh: bool = False) -> KieAsync:
        """Return the client for an event loop; its HTTP client is shared by all triggers on the loop.

        :param fresh: read the connection again, for example after a 401, when the key may have been changed.
        """
        from airflow_kie.client.api import KieAsync
        from airflow_kie.client.http.transport import shared_async_transport

        account = self._account
        if account is None or fresh:
            with self._missing_connection():
                connection = await self.aget_connection(self.kie_conn_id)
                account = self._account = await in_thread(account_of, connection)
        return KieAsync(await shared_async_transport(account), kept_answers(self))

    @contextmanager
    def _missing_connection(self, what: str = "") -> Iterator[None]:
        """Raise for a connection that Airflow does not know what is raised for an unusable one: no retry helps."""
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            yield
        except AirflowNotFoundException as error:
            raise KieConnectionInvalid(what or f"Connection {self.kie_conn_id} does not exist") from error

    def _missing_limiter(self, conn_id: str) -> AbstractContextManager[None]:
        names = f"limiter_conn_id of connection {self.kie_conn_id} names {conn_id}, which does not exist"
        return self._missing_connection(names)

    def limiter(self, *, bulk: bool = False) -> CreateLimiter:
        """Return the limiter of the account's new tasks, shared by all its processes.

        :param bulk: of a task that sends many: it takes `[kie] bulk_share` of the rate while another one waits.
        """
        from airflow_kie.client.rate_limiter.limiter import CREATES, SECONDS, CreateLimiter

        extra = self._limits()
        given = extra.get("rate_limit")
        try:
            creates = CREATES if given in (None, "") else int(given)
        except (TypeError, ValueError, OverflowError):
            creates = 0
        if creates < 1:
            raise KieConnectionInvalid(f"rate_limit of connection {self.kie_conn_id} is not a whole number, 1 or more")
        limiter = CreateLimiter(
            self.account.name,
            store=self._limiter_store(_limiter_conn_id(extra)),
            creates=creates,
            seconds=SECONDS,
            caps=self._caps_in(extra),
            bulk_share=settings.number("bulk_share", 0.7) if bulk else None,
        )
        if not self._is_shared(limiter.store):
            _warn_of_local_limiter(self.kie_conn_id)
        return limiter

    @property
    def caps(self) -> Caps:
        """The connection's caps in credits, as they are now."""
        return self._caps_in(self._limits())

    @property
    def unknown_price(self) -> float | None:
        """What a request counts as under a cap if its price is not known; None: it is refused then."""
        return self._credits_in(self._limits(), "unknown_price_credits")

    def _caps_in(self, extra: Mapping[str, Any]) -> Caps:
        from airflow_kie.client.rate_limiter.limiter import Caps

        names = ("request", "run", "day", "month")
        return Caps(**{name: self._credits_in(extra, f"max_credits_per_{name}") for name in names})

    def _credits_in(self, extra: Mapping[str, Any], field: str) -> float | None:
        """Return an amount of the connection; a cap that cannot be read is an error and never no cap."""
        value = extra.get(field)
        try:
            credits = None if value in (None, "") else float(value)
        except (TypeError, ValueError):
            credits = math.nan
        if credits is not None and not credits >= 0:
            raise KieConnectionInvalid(f"{field} of connection {self.kie_conn_id} is not an amount of credits")
        return credits

    async def create_turn(self, holder: str) -> CreateTurn:
        """Return the turn to send many new tasks of the account, for an event loop.

        :param holder: who wants it.
        """
        from airflow_kie.client.rate_limiter.limiter import CreateLimiter

        with self._missing_connection():
            connection = await self.aget_connection(self.kie_conn_id)
        account = await in_thread(account_of, connection)
        conn_id = _limiter_conn_id(await in_thread(extra_of, connection))
        with self._missing_limiter(conn_id):
            address = await in_thread((await self.aget_connection(conn_id)).get_uri) if conn_id else ""
        return CreateLimiter(account.name, store=address).turn(holder)

    def ledger_database(self) -> tuple[DatabaseLedgerStore, bool]:
        """Return the ledger's rows in the limiter's database, and whether every worker shares them."""
        from airflow_kie.client.rate_limiter.paid_requests import DatabaseLedgerStore
        from airflow_kie.client.rate_limiter.store import store_at

        store = store_at(self._limiter_store(_limiter_conn_id(self._limits())))
        return DatabaseLedgerStore(store), self._is_shared(store)

    def _is_shared(self, store: Store) -> bool:
        return not (store.local and spreads_over_machines())

    def _limits(self) -> Mapping[str, Any]:
        with self._missing_connection():
            return extra_of(self.get_connection(self.kie_conn_id))

    def _limiter_store(self, conn_id: str) -> str:
        """Return the store's address; its password stays in a connection of its own."""
        with self._missing_limiter(conn_id):
            return self.get_connection(conn_id).get_uri() if conn_id else ""

    def test_connection(self) -> tuple[bool, str]:
        """Check the key by asking for the balance, which is free; works outside of tasks too."""
        try:
            return True, f"The key works: {self.credits():g} credits are left."
        except KieError as error:
            return False, str(error)


def account_of(connection: Connection) -> KieAccount:
    """Return the account that a connection describes.

    :param connection: an Airflow connection of type ``kie``.
    :raises KieConnectionInvalid: when it is of another type, its host is not an address, or it lacks a key.
    """
    name = connection.conn_id or "kie_default"
    if connection.conn_type != KieHook.conn_type:
        raise KieConnectionInvalid(f"Connection {name} is of type {connection.conn_type!r}, not 'kie'")
    extra = extra_of(connection)
    return KieAccount(
        api_key=connection.password or "",
        api_url=_address(connection) or API_URL,
        upload_url=_with_scheme(str(extra.get("upload_host") or "")) or UPLOAD_URL,
        callback_url=_callback_url(str(extra.get("callback_url") or ""), name),
        webhook_secret=_waking_secret(extra, name),
        connection=name,
        account=str(extra.get("account") or ""),
        api=str(extra.get("api") or "").strip().lower(),
        simulators=simulator_hosts(),
    )


def _limiter_conn_id(extra: Mapping[str, Any]) -> str:
    return str(extra.get("limiter_conn_id") or "").strip()


def simulator_hosts() -> frozenset[str]:
    """Return the simulators of KIE, as ``host:port``, that `[kie] simulator_hosts` names."""
    return frozenset(settings.names("simulator_hosts"))


def private_hosts() -> frozenset[str]:
    """Return the hosts from which files may come over http and at addresses that are not public: simulators of KIE."""
    return simulator_hosts() | (LOOPBACK_HOSTS if settings.flag("allow_loopback_files") else frozenset())


def fetching(hook: KieHook, max_file_bytes: int | None = None) -> dict[str, Any]:
    """Return how an account's files are fetched: `download`, `refresh` and `max_file_bytes`.

    :param hook: the account.
    :param max_file_bytes: no file may be larger; None takes `[kie] max_file_mb`.
    """
    from airflow_kie.client.http.download import DownloadSettings, download

    how = DownloadSettings(private_hosts=private_hosts(), proxy=settings.text("download_proxy"))
    return {
        "download": functools.partial(download, settings=how),
        "refresh": hook.download_url,
        "max_file_bytes": max_file_bytes or int(settings.number("max_file_mb", 500)) * 1024 * 1024,
    }


def _waking_secret(extra: Mapping[str, Any], conn_id: str) -> str:
    try:
        return waking_secret(keys_in(extra, conn_id))
    except TokenSecretTooShort as error:
        raise KieConnectionInvalid(str(error)) from None


def _callback_url(public_url: str, conn_id: str) -> str:
    """Return the receiver's URL for this connection, below the public URL."""
    try:
        return receiver_url(public_url, conn_id) if public_url.strip() else NO_CALLBACK_URL
    except ValueError:  # brackets that hold no address
        raise KieConnectionInvalid(f"The callback_url of connection {conn_id} is not an address") from None


def _address(connection: Connection) -> str:
    """Return the host field as an address: people type a bare name, a name with scheme, or fill schema and port."""
    host = _with_scheme(connection.host or "", connection.schema or "https")
    return f"{host}:{connection.port}" if host and connection.port else host


def _with_scheme(host: str, scheme: str = "https") -> str:
    return f"{scheme}://{host}" if (host := host.strip().rstrip("/")) and "://" not in host else host


def spreads_over_machines() -> bool:
    """Return whether Airflow's executors can run tasks on other machines: all but Airflow's own local ones can.

    The option can name several, each with an alias before a colon or a team before an equals sign:
    ``LocalExecutor;team_a=remote:my.own.Executor``.
    """
    named = re.split("[,;]", str(conf.get("core", "executor", fallback="")))
    classes = (re.split("[:=]", name)[-1].strip() for name in named)
    return any(name not in _LOCAL_EXECUTORS for name in classes if name)


@functools.cache
def _warn_of_local_limiter(conn_id: str) -> None:
    """Tell once for a process that a file cannot limit several machines."""
    logging.getLogger(__name__).warning(
        "The limiter of connection %s is a file on this machine, but the executor runs tasks on several: together "
        "they can exceed KIE's rate. Name a Postgres connection in its field limiter_conn_id.",
        conn_id,
    )
