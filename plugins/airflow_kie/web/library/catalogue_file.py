"""Where a catalogue is kept: a file that a machine's api-servers share, and find again when they start.

It holds what the index in the bucket holds, and can be deleted at any time: it is made again then.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
import weakref
from pathlib import Path

UNUSED = 30 * 24 * 3600.0
"""Seconds after which a catalogue that nobody has asked is deleted."""


def shared_file(*names: str) -> Path | None:
    """Return the file of a catalogue, None where the folder for it is not this user's alone.

    :param names: what makes it another catalogue: where the archive is, and how the file is laid out.
    """
    folder = Path(tempfile.gettempdir()) / f"airflow-kie-library-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()  # the folder for temporary files is everybody's
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
            return None
        for old in folder.iterdir():
            if time.time() - old.stat().st_mtime > UNUSED:
                old.unlink(missing_ok=True)
    except OSError:
        return None
    return folder / f"{hashlib.sha256(repr(names).encode()).hexdigest()[:32]}.sqlite"


def own_file(owner: object) -> Path:
    """Return a file that is deleted together with its owner."""
    folder = tempfile.TemporaryDirectory(prefix=f"airflow-kie-library-{os.getpid()}-", ignore_cleanup_errors=True)
    weakref.finalize(owner, folder.cleanup)
    return Path(folder.name) / "catalogue.sqlite"
