"""Sends the callback receiver ten thousand requests that are not KIE's, new ones each time, and counts its answers.

    .venv/bin/python benchmarks/receiver_fuzz.py [--requests 10500]

Bodies, encodings, sizes, headers, paths and tokens come from hypothesis: into the app itself (with the keys of an
account that signs, of one that does not, and with none), as raw bytes to a real server, and from schemathesis by the
route's description. Ends with an error at the first answer that is not a refusal, and at the first call that reaches
Airflow: none of these requests proves itself. `tests/integration/web/test_receiver_fuzz.py` does the same with
1,500.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from asgi_server import serving
from webhook_fuzz import KEYS, Target, fuzz_app, fuzz_description, fuzz_server


def main() -> None:
    """Send them, and print what was answered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_500, help="how many (default: %(default)s)")
    wanted: int = parser.parse_args().requests
    logging.disable(logging.CRITICAL)  # thousands of refusals are written down otherwise
    total: Counter[int] = Counter()
    ways = [*((f"app, keys: {name}", name) for name in KEYS), ("raw bytes", "signed"), ("schemathesis", "signed")]
    for way, keys in ways:
        target, began = Target(KEYS[keys]), time.monotonic()
        if way.startswith("app"):
            fuzz_app(target, wanted // 4, same=False)
        else:
            with serving(target.app) as port:
                fuzz = fuzz_server if way == "raw bytes" else fuzz_description
                fuzz(target, port, wanted // 4 if fuzz is fuzz_server else wanted // 50, same=False)
        total.update(target.seen)
        print(f"{way:22} {_summary(target.seen)}  {time.monotonic() - began:.0f} s")
    print(f"{'together':22} {_summary(total)}")


def _summary(seen: dict[int, int]) -> str:
    answers = ", ".join(f"{count} times {status}" for status, count in sorted(seen.items()))
    return f"{sum(seen.values()):6} answers: {answers}"


if __name__ == "__main__":
    main()
