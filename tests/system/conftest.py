"""One full stack for all system tests: simulator, S3 over a folder, and Airflow's real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local_stack.running import RunningStack, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Give a stack that is up, with the project's DAGs; its parts are started again when a test kills them."""
    with running_stack(tmp_path_factory.mktemp("stack"), speed=8.0) as running:
        yield running
