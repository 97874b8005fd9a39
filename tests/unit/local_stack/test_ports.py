"""A port that is held for a server: the server may listen on it again and again, and nobody else is given it."""

from __future__ import annotations

import socket
import sys

import pytest

from local_stack.ports import ReservedPort


def listen(port: int) -> socket.socket:
    """Listen as the stack's servers do."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()
    return server


def test_a_server_listens_on_its_port_again_after_it_was_gone() -> None:
    port = ReservedPort()
    for _ in range(2):
        with listen(port.number), socket.create_connection(("127.0.0.1", port.number)):
            pass
    port.release()


@pytest.mark.parametrize("server_was_there", [False, True])
def test_a_held_port_is_not_taken_by_somebody_else(server_was_there: bool) -> None:
    port = ReservedPort()
    if server_was_there:
        listen(port.number).close()
    with socket.socket() as other:
        if port.if_held:
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port.number))
    port.release()


def test_a_port_is_reported_as_held_where_it_is() -> None:
    port = ReservedPort()
    assert port.if_held == (port.number if sys.platform == "linux" else 0)
    port.release()
    assert port.if_held == 0
