"""The memory that archiving takes does not depend on the size of the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "archive_memory.py"


def test_archiving_a_large_file_takes_less_than_40_mb_more() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "64"], capture_output=True, text=True, timeout=250, check=True
    )
    figures = json.loads(done.stdout)
    assert figures["megabytes"] == 64
    assert figures["peak_growth_mb"] < 40, figures
