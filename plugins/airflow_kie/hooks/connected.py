"""What the hooks' own modules use of KieHook."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
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
