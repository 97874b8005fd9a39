"""Accounts of the simulated KIE: each API key has its own credits, rate window and tasks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Account:
    """One KIE account.

    :param name: how it is called in the ledger; never the key itself unless that is a made-up one.
    :param credits: the remaining credits.
    :param settings: those that it has for itself, by name.
    """

    name: str
    credits: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    _creates: deque[float] = field(default_factory=deque)
    _asked: float = float("-inf")

    def may_create(self, limit: int, window: float) -> bool:
        """Return whether one more create fits into the rate window, and count it if it does.

        :param limit: creates allowed in a window.
        :param window: length of the window in real seconds.
        """
        now = time.monotonic()
        while self._creates and now - self._creates[0] >= window:
            self._creates.popleft()
        if len(self._creates) >= limit:
            return False
        self._creates.append(now)
        return True

    def may_ask(self, seconds: float) -> bool:
        """Return whether a question about models may be asked now: all of them share one pace.

        :param seconds: real seconds from one question to the next.
        """
        now = time.monotonic()
        if now - self._asked < seconds:
            return False
        self._asked = now
        return True


class Accounts:
    """The accounts by API key."""

    def __init__(self, keys: list[str], credits: float) -> None:
        self._by_key: dict[str, Account] = {}
        self._accounts: dict[str, Account] = {}
        self._credits = credits
        for key in keys:
            self.accept(key)

    def accept(self, key: str, account: str | None = None) -> Account:
        """Accept one more key and return its account.

        :param key: the key.
        :param account: name or key of the account that it is of; None: of a new one, or of that of a made-up key that
            was accepted before.
        :raises KeyError: if there is no such account.
        """
        # A made-up key may name its account; anything else may be somebody's real key and is never shown.
        name = key if key.startswith("sim-") else f"account-{len(self._accounts) + 1}"
        known = self.named(account) if account else self._accounts.get(name)
        self._by_key[key] = found = known or Account(name, self._credits)
        self._accounts[found.name] = found
        return found

    def revoke(self, key: str) -> None:
        """Accept a key no longer; its account stays, with its other keys and with what it was charged."""
        self._by_key.pop(key, None)

    def of(self, authorization: str | None) -> Account | None:
        """Return the account that an Authorization header belongs to, or None."""
        scheme, _, key = (authorization or "").partition(" ")
        return self._by_key.get(key.strip()) if scheme.lower() == "bearer" else None

    def named(self, name: str | None) -> Account:
        """Return the account of a name or key; the first one for None.

        :raises KeyError: if there is none.
        """
        if name is None:
            return next(iter(self._accounts.values()))
        return self._by_key.get(name) or self._accounts[name]

    def all(self) -> list[Account]:
        """Return all accounts."""
        return list(self._accounts.values())
