"""Words that a newcomer would need a glossary for, each with the standard term: ``.venv/bin/python tools/words.py``.

Part of ``./run test lint``. It reads the package, the DAGs, the pages' templates, README.md and docs/, identifiers
included, and prints each line that holds one of them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
READ = ("plugins/**/*.py", "plugins/**/*.html", "dags/*.py", "README.md", "CHANGELOG.md", "SECURITY.md", "docs/**/*.md")

WORDS: dict[str, str] = {
    r"told|tells?(?= of\b)|tells|untold|telling": "notified, reported, says",
    r"owed|owes?": "pending, outstanding",
    r"looker|looked|looks?(?! up\b)(?! like\b)": "check, health check",
    r"noted|notes?": "recorded, record",
    r"heard|hears?": "source, received",
    r"stood|stands?": "is, is stored in",
    r"said|in words|in_words": "message, text, says",
    r"held up|held_up|holds? up": "blocked, outage",
    r"patience|patiently": "outage backoff",
    r"anew": "again, reset",
    r"hand(?:s|ed|ing)? on|put(?:s|ting)? away|sweeps?|swept": "dispatch, clean up, reconcile",
    r"put(?:s|ting)? back|put_back": "rescheduled",
    r"mend(?:s|ed|ing)?": "fix, resolve",
    r"tak(?:e|es|en|ing) up|take_up": "resume, adopt",
    r"mistakes?|mistakes_in_\w+": "validation errors",
    r"is no(?= (?!longer\b))": "is not a, invalid",
    r"in work": "in progress",
    r"of (?:ours|yours)": "our, your",
    r"whoever|whom": "the client that, target",
    r"parted by": "separated by",
    r"go(?:es)? by": "is identified by, is deleted",
    r"c(?:omes?|ame) about": "is made, happens",
    r"in vain|in the midst": "without a result, during",
}
_FOUND = {re.compile(rf"(?<![A-Za-z])(?:{word})(?![A-Za-z])", re.IGNORECASE): say for word, say in WORDS.items()}


def found_in(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line number, word and standard term of each word of the list in a text."""
    for number, line in enumerate(text.splitlines(), start=1):
        for word, say in _FOUND.items():
            for match in word.finditer(line):
                yield number, match[0], say


def main() -> int:
    """Print each place; exit code 1 if there is one."""
    places = 0
    for pattern in READ:
        for file in sorted(ROOT.glob(pattern)):
            for number, word, say in found_in(file.read_text(encoding="utf-8")):
                print(f"{file.relative_to(ROOT)}:{number}: {word!r}: say {say}")
                places += 1
    print(f"{places} words of the list" if places else "No word of the list")
    return 1 if places else 0


if __name__ == "__main__":
    sys.exit(main())
