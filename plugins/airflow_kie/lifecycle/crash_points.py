"""Named points between two steps of a paid task, at which tests stop a process, delay it or run something else.

Nothing happens at a point unless a test has asked for it; production code only names where it is:

- ``before intent``, ``after intent``: around the ledger's first write,
- ``before post``, ``after post``: around the request to KIE,
- ``before answer``, ``after answer``: around keeping an answer that is the result itself,
- ``before task``, ``after task``: around the ledger's second write, and so around ``refused``, ``unanswered``,
  ``repeated`` and ``failed``, whichever is written.
"""

from __future__ import annotations

from collections.abc import Callable

_actions: dict[str, Callable[[], None]] = {}


def reached(point: str) -> None:
    """Do what was requested at a point, if anything was.

    :param point: its name.
    """
    if _actions and (action := _actions.get(point)):
        action()


def at(point: str, action: Callable[[], None] | None) -> None:
    """Ask for something at a point: raise, block, or call back.

    :param point: its name.
    :param action: what happens each time; None: nothing any more.
    """
    if action is None:
        _actions.pop(point, None)
    else:
        _actions[point] = action
