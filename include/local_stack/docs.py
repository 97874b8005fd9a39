"""``./run docs``: the documentation's site, which opens from disk; a dead link or a missing reference fails it."""

from __future__ import annotations

import argparse
import subprocess
import sys

from local_stack.settings import PROJECT

SITE = ".local/site"
SPHINX = ("sphinx", "-q", "-W", "--keep-going", "-b", "html", "-c", "docs/site", ".", SITE)
"""Python's arguments after ``-m``; the project's root is the source, so that pages link to README and to code."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options: it has none."""


def run(options: argparse.Namespace) -> int:
    """Build the site and print where it is.

    :param options: none.
    :return: exit code of Sphinx.
    """
    code = subprocess.run([sys.executable, "-m", *SPHINX], cwd=PROJECT).returncode
    if code == 0:
        print(f"The documentation: {(PROJECT / SITE / 'docs' / 'index.html').as_uri()}")
    return code
