"""A proxy before S3 that counts requests by their kind, for ``./run bench``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from fault_suite.s3_proxy import Rule, S3Proxy
from local_stack.bench_meter import without_ids


@dataclass
class RecordingProxy(S3Proxy):
    """A proxy that counts the requests by their kind: method, key without ids.

    :param seen: the counts.
    """

    seen: Counter[str] = field(default_factory=Counter)

    def strike(self, method: str, path: str) -> Rule | None:
        """Count a request, and return what strikes it."""
        parts = urlsplit(path)
        prefix = parse_qs(parts.query).get("prefix", [])
        key = f"list of {prefix[0]}" if prefix else parts.path.split("/", 2)[-1]
        self.seen[f"S3 {method} {without_ids(unquote(key))}"] += 1
        return super().strike(method, path)
