"""What the hooks' own modules use of KieHook, and the extra fields of its connection."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from airflow_kie.client.errors import KieConnectionInvalid
from airflow_kie.get_provider_info import get_provider_info

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_kie.client.account import KieAccount
    from airflow_kie.client.api import Kie
    from airflow_kie.client.rate_limiter.limiter import Caps, CreateLimiter
    from airflow_kie.client.rate_limiter.paid_requests import DatabaseLedgerStore
    from airflow_kie.hooks.spending_switch import SpendingSwitch


@dataclass(frozen=True)
class Upload:
    """A file that KIE holds for a day.

    :param url: where KIE reads it; it is a credential, so do not store or log it.
    :param size: bytes.
    :param expires_at: when it is to be sent again.
    """

    url: str = field(repr=False)
    size: int
    expires_at: datetime


class Connected(Protocol):
    """A KIE account behind an Airflow connection: see :class:`~airflow_kie.hooks.kie.KieHook`."""

    kie_conn_id: str

    @property
    def account(self) -> KieAccount: ...
    @property
    def caps(self) -> Caps: ...
    @property
    def unknown_price(self) -> float | None: ...
    @property
    def spending_switch(self) -> SpendingSwitch: ...
    def get_conn(self) -> Kie: ...
    def upload(self, file: BinaryIO, *, name: str, folder: str) -> Upload: ...
    def credits(self) -> float: ...
    def limiter(self, *, bulk: bool = False) -> CreateLimiter: ...
    def ledger_database(self) -> tuple[DatabaseLedgerStore, bool]: ...


@functools.cache
def extra_fields() -> tuple[str, ...]:
    """Return the names of the extra fields that a connection can have."""
    kinds = {kind["connection-type"]: kind for kind in get_provider_info()["connection-types"]}
    return tuple(kinds["kie"]["conn-fields"])


def extra_of(connection: Connection) -> Mapping[str, Any]:
    """Return the extra of a connection; without one it is empty.

    :raises KieConnectionInvalid: when it is not a JSON object, or a field of it resembles a known one. Airflow takes
        broken JSON for an empty one, and `max_credit_per_day` would be no cap.
    """
    try:
        extra = json.loads((connection.extra or "").strip() or "{}") or {}
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise KieConnectionInvalid(f"The extra of connection {connection.conn_id} is not a JSON object")
    for name in extra.keys() - {*extra_fields()}:
        if meant := difflib.get_close_matches(name.lower(), extra_fields(), 1, 0.8):
            raise KieConnectionInvalid(
                f"The extra of connection {connection.conn_id} has an unknown field {name[:100]!r}; perhaps "
                f"{meant[0]} is meant"
            )
    return connection.extra_dejson or {}
