"""A small client of the control plane, for tests and scripts."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx


@cache
def certificates() -> ssl.SSLContext:
    """Return what HTTPS clients trust; a process loads it once."""
    return httpx.create_ssl_context()


@dataclass(frozen=True)
class Song:
    """A song that the simulator has made."""

    task_id: str
    title: str


class ControlClient:
    """Calls ``/_sim`` of a running simulator.

    :param url: the simulator's URL.
    """

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/_sim", verify=certificates(), trust_env=False, timeout=200)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Call an endpoint and return its JSON.

        :raises ValueError: with the simulator's reason if it refuses.
        """
        response = self._http.request(method, path, json=body)
        if response.is_error:
            raise ValueError(f"The simulator rejected {method} {path}: {response.text}")
        answer: dict[str, Any] = response.json()
        return answer

    def make_music(self, *titles: str, count: int = 1, **order: Any) -> list[Song]:
        """Make songs without charge and return them.

        :param titles: one song for each; invented ones if none is given.
        :param count: how many songs to invent.
        :param order: ``state``, ``tracks``, ``age_days``, ``account``, ``model``, ``prompt``, ``tags``,
            ``error_message``, ``callback_url``, ``form`` (dedicated or unified).
        """
        answer = self.call("POST", "/music", {"titles": list(titles), "count": count, **order})
        return [Song(**song) for song in answer["songs"]]

    def add_fault(self, phase: str, action: str, **fault: Any) -> str:
        """Switch a fault on and return its id.

        :param fault: what it matches (``kind``, ``path``, ``task_id``, ``source_id``, ``title``, ``account``,
            ``role``, ``form``, ``model``), how often (``times``, ``skip``, ``probability``, ``seconds_active``) and its
            parameters.
        """
        return str(self.call("POST", "/faults", {"phase": phase, "action": action, **fault})["id"])

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults that are switched on, with how often each struck."""
        return list(self.call("GET", "/faults")["faults"])

    def clear_faults(self, fault_id: str | None = None) -> None:
        """Switch one fault off, or all."""
        self.call("DELETE", f"/faults/{fault_id}" if fault_id else "/faults")

    def ledger(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return every create that KIE would have charged.

        :param kind: only those of a kind, such as ``cover``.
        """
        charges = self.call("GET", "/ledger")["charges"]
        return [charge for charge in charges if kind in (None, charge["kind"])]

    def state(self) -> dict[str, Any]:
        """Return what the simulator has seen: requests, reads, refusals, callbacks, leaks."""
        return self.call("GET", "/state")

    def tasks(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the tasks with their states."""
        return [task for task in self.call("GET", "/tasks")["tasks"] if kind in (None, task["kind"])]

    def advance(self, seconds: float) -> float:
        """Move the simulated clock forward and return its new unix time.

        :param seconds: simulated seconds.
        """
        return float(self.call("POST", "/clock", {"advance_seconds": seconds})["now"])

    def set(self, *, account: str | None = None, **settings: Any) -> dict[str, Any]:
        """Change settings by name and return all of them.

        :param account: whose alone, of a setting in `settings.OF_ACCOUNT`; None: everybody's.
        """
        return self.call("PATCH", "/settings", settings | ({"account": account} if account else {}))

    def set_credits(self, credits: float, account: str | None = None) -> None:
        """Set an account's credits."""
        self.call("PATCH", "/credits", {"credits": credits, "account": account})

    def accept_key(self, key: str, account: str | None = None) -> None:
        """Accept one more API key: of an account that is named, otherwise of a new one."""
        self.call("PATCH", "/keys", {"key": key, "account": account})

    def revoke_key(self, key: str) -> None:
        """Accept an API key no longer."""
        self.call("PATCH", "/keys", {"key": key, "revoked": True})

    def send_callback(self, task_id: str, **order: Any) -> dict[str, Any]:
        """Send a task's callback now and return what became of it.

        :param order: ``stage`` (index of the state), ``code``, ``msg``, ``data`` (members to replace), ``signature``
            (valid, forged or none) and ``url``.
        """
        return self.call("POST", f"/callbacks/{task_id}", order)

    def callbacks(self, task_id: str | None = None) -> list[dict[str, Any]]:
        """Return what became of each callback.

        :param task_id: only those of a task.
        """
        return [sent for sent in self.state()["callbacks"] if task_id in (None, sent["task_id"])]

    def reset(self) -> None:
        """Forget everything that happened and return to the first settings."""
        self.call("POST", "/reset")
