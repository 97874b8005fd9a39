"""What an account has spent, according to its ledger of paid requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any
from urllib.parse import quote

from airflow_kie.lifecycle.claims import Attempt, Intent, attempts_in
from airflow_kie.lifecycle.ledger import Ledger, LedgerStore

READERS = 16
"""Objects of the ledger that are read at a time."""


@dataclass(frozen=True)
class Spent:
    """One request that KIE has accepted, or may have.

    :param operation: such as ``suno.music``.
    :param at: epoch seconds at which it was sent.
    :param owner: DAG, run, Airflow task and user, if known.
    :param labels: user-defined labels.
    :param low: credits that it was quoted at, at least; None: the price is not known.
    :param high: the same, at most.
    :param used: credits that it has used; None: neither KIE nor an exact quote says.
    :param in_doubt: it is not known whether KIE has made its task.
    :param balance: credits of the account shortly before it was sent.
    """

    operation: str
    at: float
    owner: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    used: float | None = None
    in_doubt: bool = False
    balance: float | None = None


@dataclass(frozen=True)
class Total:
    """The totals of some requests.

    :param tasks: how many they are.
    :param low: credits that they were quoted at, at least.
    :param high: the same, at most.
    :param used: credits that they have used, if known.
    :param unknown: requests for which this is not known.
    """

    tasks: int = 0
    low: float = 0.0
    high: float = 0.0
    used: float = 0.0
    unknown: int = 0


def total(requests: Iterable[Spent]) -> Total:
    """Add requests up."""
    them = list(requests)
    low, high, used = (round(sum(map(amount, them)), 4) for amount in (_low, _high, _used_credits))
    return Total(len(them), low, high, used, sum(one.used is None for one in them))


def _low(one: Spent) -> float:
    return one.low or 0.0


def _high(one: Spent) -> float:
    return one.high or 0.0


def _used_credits(one: Spent) -> float:
    return one.used or 0.0


GROUPS: Mapping[str, Callable[[Spent], list[str]]] = {
    "operation": lambda one: [one.operation],
    "dag": lambda one: [str(one.owner.get("dag") or "(no DAG)")],
    "user": lambda one: [str(one.owner.get("user") or "(no user)")],
    "label": lambda one: [f"{name}={value}" for name, value in sorted(one.labels.items())] or ["(no label)"],
}
"""By what a month can be split; a request with several labels counts under each."""


def by_group(requests: Iterable[Spent], group: str) -> dict[str, Total]:
    """Return what each DAG, user, label or operation has spent, the most first.

    :param group: a key of :data:`GROUPS`.
    """
    found: dict[str, list[Spent]] = {}
    for one in requests:
        for name in GROUPS[group](one):
            found.setdefault(name, []).append(one)
    totals = {name: total(them) for name, them in found.items()}
    return dict(sorted(totals.items(), key=lambda item: (-item[1].used, item[0])))


def spent(ledger: Ledger, account: str, since: float, until: float) -> list[Spent]:
    """Return the account's requests of a time, in the order in which they were sent.

    :param ledger: where.
    :param account: whose.
    :param since: epoch seconds.
    :param until: epoch seconds, exclusive.
    """
    written = dict(_written(ledger.store, f"{quote(account, safe='')}/"))
    asked = [
        (folder, attempt)
        for folder, names in groupby(sorted(written), key=lambda key: key.rpartition("/")[0])
        for attempt in attempts_in(name.rpartition("/")[2] for name in names)
        if "refused" not in attempt.endings
        and _may_be_of(written.get(f"{folder}/{attempt.number}.intent"), since, until)
    ]
    names = [f"{folder}/{one.number}." for folder, one in asked]
    keys = [key for name in names for key in (f"{name}intent", f"{name}used") if key in written]
    bodies = _read(ledger.store, keys)
    found = (_spent(bodies, *one) for one in asked)
    return sorted((one for one in found if since <= one.at < until), key=lambda one: one.at)


CLOCKS = 24 * 3600.0
"""Seconds by which the time in an intent and that of its object may differ, since clocks do."""


def _may_be_of(written: float | None, since: float, until: float) -> bool:
    """Return whether an intent that was written then can be of a time; one whose age is not known can."""
    return written is None or since - CLOCKS <= written < until + CLOCKS


def _written(store: LedgerStore, prefix: str) -> Iterable[tuple[str, float | None]]:
    """Return the keys below a prefix, each with the epoch seconds at which it was written, where a listing says it."""
    dated: Callable[[str], Iterable[tuple[str, float]]] | None = getattr(store, "list_dated", None)
    return dated(prefix) if dated else ((key, None) for key in store.list(prefix))


def _read(store: LedgerStore, keys: Sequence[str]) -> Mapping[str, bytes | None]:
    """Return the content of objects: in few requests where the store can, else several at a time."""
    read_many: Callable[[Sequence[str]], Mapping[str, bytes]] | None = getattr(store, "read_many", None)
    if read_many:
        return read_many(keys)
    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip(keys, pool.map(store.read, keys), strict=True))


def balances(requests: Iterable[Spent]) -> Iterator[tuple[float, float]]:
    """Yield the times and balances that requests name."""
    for one in requests:
        if one.balance is not None:
            yield one.at, one.balance


def _spent(bodies: Mapping[str, bytes | None], folder: str, attempt: Attempt) -> Spent:
    intent = Intent.from_bytes(bodies.get(f"{folder}/{attempt.number}.intent"))
    low, high = (*intent.quoted, None, None)[:2]
    used = low if low == high else None
    if "failed" in attempt.endings:
        used = 0.0
    elif "used" in attempt.endings:
        used = _used(bodies.get(f"{folder}/{attempt.number}.used"))
    elif not attempt.task_ids:
        used = None
    return Spent(
        folder.split("/")[1],
        intent.at,
        intent.owner,
        intent.labels if isinstance(intent.labels, Mapping) else {},
        low,
        high,
        used,
        in_doubt=not attempt.task_ids and "used" not in attempt.endings,
        balance=intent.balance,
    )


def _used(body: bytes | None) -> float | None:
    try:
        return float(json.loads(body or b"{}")["credits"])
    except (ValueError, KeyError, TypeError):
        return None
