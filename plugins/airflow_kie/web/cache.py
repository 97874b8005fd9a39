"""A cache for what each request would otherwise load again: secrets, accounts and S3 clients."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from cachetools import TTLCache

Value = TypeVar("Value")
SECONDS = 60.0


def cached_for_a_minute(
    load: Callable[[str], Value], clock: Callable[[], float] = time.monotonic
) -> Callable[[str], Value]:
    """Return the function with a cache; of many threads at once, one loads. An exception is not cached.

    :param load: gives the value of a name; names come from the configuration, never from a request.
    :param clock: seconds that only grow.
    """
    cache: TTLCache[str, Value] = TTLCache(maxsize=1000, ttl=SECONDS, timer=clock)
    lock = threading.Lock()

    def get(name: str) -> Value:
        with lock:
            value: Value | None = cache.get(name)
            if value is None:
                value = cache[name] = load(name)
            return value

    return get
