"""What stands between podman-compose and podman waits for health, and not for what cannot come."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from compose import podman_front


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterator[int]], None]:
    monkeypatch.setattr(podman_front, "PACE", 0.0)
    return lambda found: monkeypatch.setattr(podman_front, "_check", lambda _: next(found))


def test_a_container_is_waited_for_until_its_check_passes_also_while_it_is_started_again(
    codes: Callable[[Iterator[int]], None],
) -> None:
    codes(iter([1] * 200 + [125] * 59 + [1] + [125] * 59 + [0] + [0]))
    assert podman_front.wait_healthy(["a", "b"]) == 0


def test_a_container_that_could_not_be_started_is_named_and_not_waited_for(
    codes: Callable[[Iterator[int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    codes(iter([1] + [125] * 60))
    assert podman_front.wait_healthy(["db"]) == 1
    assert "podman start db" in capsys.readouterr().err
