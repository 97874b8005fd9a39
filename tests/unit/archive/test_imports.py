"""Loading the archive costs a task process nothing that it may not need."""

from __future__ import annotations

import subprocess
import sys


def test_loading_the_archive_loads_no_http_library_no_boto3_no_pillow_and_no_airflow() -> None:
    program = (
        "import sys, airflow_kie.archive.archiver, airflow_kie.archive.pending\n"
        "heavy = {'httpx', 'httpcore', 'boto3', 'botocore', 'PIL', 'tinytag', 'fastapi', 'airflow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
