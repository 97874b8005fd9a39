"""The contracts of import-linter (pyproject.toml): ``.venv/bin/python -m tools.imports``; in ``./run test lint``."""

from __future__ import annotations

import sys

from importlinter.cli import lint_imports

if __name__ == "__main__":
    sys.exit(lint_imports(no_cache=True))
